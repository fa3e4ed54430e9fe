# shellcheck shell=bash disable=SC2034 # the variables are for those who source it
# What deploy/install and deploy/uninstall share: where things are on a bare host. For bash, to be sourced.

# Configuration management and a machine's first boot call without one.
export HOME=${HOME:-/root}

programs=(pattoo_agent_os_spoked pattoo_agent_os_hubd)
user=pattoo

# In front of every path, for packages and images: nothing outside of it is touched then.
destdir=${DESTDIR:-}
destdir=${destdir%/}
prefix=${PREFIX:-/usr/local}
prefix=${prefix%/}
config=${PATTOO_CONFIGDIR:-/etc/pattoo}
config=${config%/}
library=$prefix/lib/pattoo
units=/etc/systemd/system

# What install has made, a line each: "file", "config", "folder" or "user", a blank, the path or name.
manifest=$destdir$library/installed

# Prints what the manifest has of a kind.
made() { [ ! -f "$manifest" ] || sed -n "s/^$1 //p" "$manifest"; }

# Whether systemd is this machine's first process, and this machine is meant.
systemd_runs() { [ -z "$destdir" ] && [ -d /run/systemd/system ]; }
