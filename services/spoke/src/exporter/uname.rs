//! What the host calls itself, as `uname` says it.

use sysinfo::System;

use super::page::Kind;
use super::{Done, Round};
use crate::collect::text;

pub(super) fn collect(round: &mut Round<'_>) -> Done {
    let Round { files, page, hostname, .. } = round;
    let line = |name: &'static str| -> Result<String, crate::host::HostError> {
        Ok(text::printable(files.proc_constant(name)?.trim_ascii()))
    };
    let (release, version) = (line("sys/kernel/osrelease")?, line("sys/kernel/version")?);
    // Kernels before 6.1 do not tell it there; it is the same for all on one machine.
    let machine = line("sys/kernel/arch").unwrap_or_else(|_| System::cpu_arch());
    let uname = rustix::system::uname();
    // Node and domain are this process' own: a container's are not the host's.
    let (node, domain) = if files.host().given {
        ((*hostname).to_owned(), "(none)".to_owned())
    } else {
        (text::printable(uname.nodename().to_bytes()), text::printable(uname.domainname().to_bytes()))
    };
    let labels = [
        ("domainname", &*domain),
        ("machine", &machine),
        ("nodename", &node),
        ("release", &release),
        ("sysname", "Linux"),
        ("version", &version),
    ];
    page.family("node_uname_info", Kind::Gauge, "What uname says.").add(&labels, 1_u64);
    Ok(())
}
