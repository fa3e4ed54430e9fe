//! Where this process stands: on the host, or in a container.

use std::fs;
use std::path::Path;

use crate::collect::root_mount;
use crate::host::HostRoot;

/// The first pid namespace, by the number that the kernel gives it (`PROC_PID_INIT_INO` in `linux/proc_ns.h`).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// As it was at start: a process does not change its namespaces.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Surroundings {
    /// Whether `<proc>` shows the processes of a container that this process is in, instead of the host's.
    pub(crate) in_container: bool,
    /// Whether `/` is another file system than the first process of `<proc>` has there.
    pub(crate) root_differs: bool,
}

impl Surroundings {
    /// For a `<proc>` that is the kernel's.
    pub(crate) fn of(host: &HostRoot) -> Self {
        Self { in_container: in_container(&host.proc), root_differs: root_differs(&host.proc) }
    }
}

/// A container has a pid namespace of its own, and in it we have another number than on the host. One that shares
/// the host's sees the host's processes.
fn in_container(proc: &Path) -> bool {
    let own = fs::read_link("/proc/self/ns/pid").is_ok_and(|name| name != Path::new(FIRST_PID_NAMESPACE));
    let number = fs::read_link(proc.join("self"));
    own && number.is_ok_and(|number| number == Path::new(&std::process::id().to_string()))
}

/// Only where both are known: a process with a changed root has no mount on its `/`.
fn root_differs(proc: &Path) -> bool {
    let root = |file: &Path| fs::read(file).ok().and_then(|mountinfo| root_mount(&mountinfo));
    match (root(&proc.join("1/mountinfo")), root(Path::new("/proc/self/mountinfo"))) {
        (Some(theirs), Some(ours)) => theirs != ours,
        _ => false,
    }
}
