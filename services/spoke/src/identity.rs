//! What names the host's series besides the agent_id. Each can be told in configuration; `--check` prints
//! where each came from.

use std::process::Command;
use std::sync::OnceLock;

use agent::identity::Sources;
use agent::post::{Pair, Sender, fitting};
use sysinfo::System;

use crate::PROGRAM;
use crate::collect::text;
use crate::files::Files;
use crate::host::HostRoot;
use crate::hostname::{Told, node_name};
use crate::settings::Settings;

/// What does not change while the spoke runs.
#[derive(Clone, Debug)]
pub struct HostIdentity {
    /// Found when it is first asked for: it may cost a process, and the agent_id wants none.
    processor: OnceLock<Told>,
    host: HostRoot,
    /// Python's `platform.system()`.
    pub system: Told,
    cpus: Option<u32>,
    machine_id: Option<String>,
    node: String,
}

impl HostIdentity {
    /// Finds it out.
    pub fn find(settings: &Settings) -> Self {
        let host = &settings.host;
        let configured =
            |value: &Option<String>| value.as_ref().map(|value| Told::new(value.trim(), "configuration"));
        let machine_id = ["etc/machine-id", "var/lib/dbus/machine-id"]
            .iter()
            .find_map(|file| std::fs::read_to_string(host.root.join(file)).ok());
        Self {
            processor: configured(&settings.processor).map_or_else(OnceLock::new, OnceLock::from),
            host: host.clone(),
            system: configured(&settings.system)
                .unwrap_or_else(|| Told::new("Linux", "this program's system")),
            cpus: settings.cpus,
            machine_id,
            // Not the name that DNS gives: an id must not hang on whether DNS answered.
            node: settings.hostname.clone().unwrap_or_else(node_name),
        }
    }

    /// Python's `platform.processor()`.
    pub fn processor(&self) -> &Told {
        self.processor.get_or_init(|| processor(&self.host))
    }

    /// What the agent_id can be made from.
    pub fn agent_id<'a>(&'a self, settings: &'a Settings) -> Sources<'a> {
        Sources {
            program: PROGRAM.name,
            daemon_directory: &settings.pattoo.daemon_directory,
            configured: settings.agent_id.as_deref(),
            machine_id: self.machine_id.as_deref(),
            node: &self.node,
        }
    }

    /// The number of online cpus now.
    pub(crate) fn cpus(&self, files: &Files) -> Told {
        let configured = self.cpus.map(|cpus| Told::new(cpus.to_string(), "configuration"));
        configured.unwrap_or_else(|| online_cpus(files))
    }

    /// Who sends the post now: kernel and cpus may change while the spoke runs.
    pub(crate) fn sender(&self, agent_id: &str, hostname: &str, files: &Files) -> Sender {
        Sender {
            agent_id: agent_id.to_owned(),
            program: PROGRAM.name,
            hostname: hostname.to_owned(),
            polled_target: hostname.to_owned(),
            host: self.metadata(hostname, files),
        }
    }

    fn metadata(&self, hostname: &str, files: &Files) -> Vec<Pair> {
        let kernel = |file| {
            let bytes = files.proc_constant(file).unwrap_or_default();
            text::printable(bytes.trim_ascii())
        };
        vec![
            ("release", kernel("sys/kernel/osrelease")),
            ("version", kernel("sys/kernel/version")),
            ("processor", fitting(self.processor().value.clone())),
            ("type", fitting(self.system.value.clone())),
            ("cpus", self.cpus(files).value),
            ("hostname", hostname.to_owned()),
        ]
    }
}

/// What `uname -p` prints on the host, `unknown` counting as empty. Debian's prints nothing of use; Ubuntu
/// and the Red Hat family print the machine's name.
fn processor(host: &HostRoot) -> Told {
    if !host.given
        && let Ok(output) = Command::new("uname").arg("-p").output()
    {
        let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        return Told::new(if printed == "unknown" { String::new() } else { printed }, "uname -p");
    }
    let release = ["etc/os-release", "usr/lib/os-release"]
        .iter()
        .find_map(|file| std::fs::read_to_string(host.root.join(file)).ok());
    let printed = release.is_some_and(|text| prints_the_machine(&text));
    Told::new(if printed { System::cpu_arch() } else { String::new() }, "the host's os-release")
}

/// Whether the distribution's `uname -p` prints the machine's name, judged by its `os-release`.
fn prints_the_machine(os_release: &str) -> bool {
    const FAMILIES: [&str; 4] = ["ubuntu", "rhel", "fedora", "centos"];
    let names = os_release.lines().filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        matches!(key.trim(), "ID" | "ID_LIKE").then(|| value.trim().trim_matches(['"', '\'']))
    });
    names.flat_map(str::split_whitespace).any(|name| FAMILIES.contains(&name))
}

/// The host's online cpus, whatever this process may use of them.
fn online_cpus(files: &Files) -> Told {
    let online = files.sys("devices/system/cpu/online").ok();
    let online = online.and_then(|bytes| count_ranges(std::str::from_utf8(&bytes).ok()?.trim()));
    if let Some(online) = online {
        return Told::new(online.to_string(), "devices/system/cpu/online");
    }
    let stat = files.proc("stat").unwrap_or_default();
    let numbered =
        |line: &&[u8]| line.strip_prefix(b"cpu").and_then(<[u8]>::first).is_some_and(u8::is_ascii_digit);
    Told::new(text::lines(&stat).filter(numbered).count().to_string(), "the cpu lines of stat")
}

/// How many numbers a list such as `0-3,6` names.
fn count_ranges(list: &str) -> Option<usize> {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    list.split(',').map(count).try_fold(0_usize, |sum, count| sum.checked_add(count?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn online_cpus_are_counted() {
        assert_eq!(count_ranges("0"), Some(1));
        assert_eq!(count_ranges("0-1"), Some(2));
        assert_eq!(count_ranges("0-3,6,8-9"), Some(7));
        for odd in ["", "a", "3-1", "0-", ","] {
            assert_eq!(count_ranges(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn debian_prints_nothing_and_ubuntu_and_red_hat_print_the_machine() {
        assert!(!prints_the_machine("PRETTY_NAME=\"Debian\"\nID=debian\n"));
        assert!(prints_the_machine("ID=ubuntu\nID_LIKE=debian\n"));
        assert!(prints_the_machine("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"));
        assert!(prints_the_machine("ID=fedora\n"));
        assert!(!prints_the_machine(""));
    }

    proptest! {
        #[test]
        fn whatever_the_texts_hold_reading_them_ends(text in "\\PC*|[0-9,\\-]{0,40}|(ID(_LIKE)?=.{0,20}\n){0,4}") {
            let _ = count_ranges(&text);
            let _ = prints_the_machine(&text);
        }
    }
}
