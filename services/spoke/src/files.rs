//! The host's files as a spoke reads them: again and again, and at most once a round.
//!
//! On the kernel's own file systems a name never comes to mean another file, and reading from the start again
//! gives the content of now: there descriptors are kept. Elsewhere (a host that somebody made up) a file is
//! opened each time, since it may have been replaced. Buffers are kept either way.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, RawDir, SeekFrom};
use rustix::io::Errno;

use crate::host::{HostError, HostRoot};
use crate::surroundings::Surroundings;

/// What a file held in this round.
pub(crate) type Content = Arc<Vec<u8>>;

/// The numbers by which statfs tells procfs and sysfs (`linux/magic.h`).
const PROCFS: u64 = 0x9fa0;
const SYSFS: u64 = 0x6265_6572;

/// What a buffer begins with: most files fit, with room for the read that finds their end.
const FIRST_BYTES: usize = 8 * 1024;

/// Room for the names that one call lists.
const LISTING_BYTES: usize = 32 * 1024;

/// The host's files.
#[derive(Debug)]
pub(crate) struct Files {
    host: HostRoot,
    /// Whether the two places are the kernel's.
    proc_is_kernels: bool,
    sys_is_kernels: bool,
    surroundings: Surroundings,
    round: u64,
    kept: RefCell<Vec<Kept>>,
    processes: RefCell<Processes>,
}

/// Where a name stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Proc,
    OfInit,
    Sys,
}

/// One file, as it was read last.
#[derive(Debug)]
struct Kept {
    place: Place,
    name: &'static str,
    path: PathBuf,
    file: Option<File>,
    content: Content,
    /// The round in which it was read; 0 for none.
    round: u64,
}

/// `<proc>` as a folder.
#[derive(Debug, Default)]
struct Processes {
    folder: Option<OwnedFd>,
    listing: Vec<MaybeUninit<u8>>,
}

impl Files {
    pub(crate) fn new(host: &HostRoot) -> Self {
        let proc_is_kernels = is_of(&host.proc, PROCFS);
        Self {
            proc_is_kernels,
            sys_is_kernels: is_of(&host.sys, SYSFS),
            surroundings: if proc_is_kernels { Surroundings::of(host) } else { Surroundings::default() },
            host: host.clone(),
            round: 1,
            kept: RefCell::default(),
            processes: RefCell::default(),
        }
    }

    pub(crate) fn host(&self) -> &HostRoot {
        &self.host
    }

    /// Begins a round: from now on every file is read anew, once.
    pub(crate) fn next_round(&mut self) {
        self.round += 1;
    }

    /// `<proc>/<name>`.
    pub(crate) fn proc(&self, name: &'static str) -> Result<Content, HostError> {
        self.read(Place::Proc, name, false)
    }

    /// `<proc>/<name>` of a file that the kernel never changes while it runs. A made-up one is read as any.
    pub(crate) fn proc_constant(&self, name: &'static str) -> Result<Content, HostError> {
        self.read(Place::Proc, name, self.proc_is_kernels)
    }

    /// `<sys>/<name>`.
    pub(crate) fn sys(&self, name: &'static str) -> Result<Content, HostError> {
        self.read(Place::Sys, name, false)
    }

    /// `<proc>/1/<name>`: what the host's first process sees is the host's. On a bare host whose first
    /// process may not be looked at (hidepid), this process sees the same.
    pub(crate) fn of_init(&self, name: &'static str) -> Result<Content, HostError> {
        self.read(Place::OfInit, name, false)
    }

    /// Whether what is found below `<proc>` is the kernel's.
    pub(crate) fn proc_is_kernels(&self) -> bool {
        self.proc_is_kernels
    }

    /// Whether what is found below `<sys>` is the kernel's.
    pub(crate) fn sys_is_kernels(&self) -> bool {
        self.sys_is_kernels
    }

    /// Whether `<proc>` is that of a container which this process is in: what it tells of processes, network and
    /// mounts is the container's.
    pub(crate) fn proc_is_containers(&self) -> bool {
        self.surroundings.in_container
    }

    /// Whether `/` is another one than the host's.
    pub(crate) fn stands_elsewhere(&self) -> bool {
        self.surroundings.root_differs
    }

    /// Whether processes that `<proc>` does not list are hidden: the kernel's own is never without a first one. On a
    /// bare host, what this user sees is what is told.
    pub(crate) fn hides_processes(&self) -> bool {
        self.host.given && self.proc_is_kernels
    }

    /// Refuses to take the container's own for the host's.
    fn meant(&self, path: &Path) -> Result<(), HostError> {
        let wrong = self.surroundings.in_container && self.host.any_given;
        if wrong { Err(HostError::NoHostRoot { path: path.to_owned() }) } else { Ok(()) }
    }

    fn read(&self, place: Place, name: &'static str, constant: bool) -> Result<Content, HostError> {
        let mut kept = self.kept.borrow_mut();
        let known = kept.iter().position(|kept| kept.place == place && kept.name == name);
        let at = known.unwrap_or_else(|| {
            kept.push(Kept::new(place, name, &self.host));
            kept.len() - 1
        });
        let Some(file) = kept.get_mut(at) else { return Ok(Content::default()) };
        let is_known = file.round == self.round || (constant && file.round > 0);
        if !is_known {
            let kernels = if place == Place::Sys { self.sys_is_kernels } else { self.proc_is_kernels };
            file.round = 0;
            if place == Place::OfInit {
                self.meant(&file.path)?;
            }
            file.read_anew(&self.host, kernels && !constant).map_err(|error| self.named(place, error))?;
            file.round = self.round;
        }
        Ok(Arc::clone(&file.content))
    }

    /// What hidepid hides of the first process looks as if it were not there, or not permitted.
    fn named(&self, place: Place, error: HostError) -> HostError {
        match error {
            HostError::Read { path, source }
                if place == Place::OfInit
                    && self.hides_processes()
                    && matches!(Errno::from_io_error(&source), Some(Errno::NOENT | Errno::PERM)) =>
            {
                HostError::Hidepid { path }
            }
            error => error,
        }
    }

    /// Calls `each` for the names of all that is in `<proc>`.
    pub(crate) fn list_proc(&self, each: impl FnMut(&[u8])) -> Result<(), HostError> {
        self.meant(&self.host.proc)?;
        let failed = |source: Errno| HostError::Read { path: self.host.proc.clone(), source: source.into() };
        self.processes.borrow_mut().list(&self.host.proc, self.proc_is_kernels, each).map_err(failed)
    }
}

impl Processes {
    fn list(&mut self, path: &Path, keep: bool, mut each: impl FnMut(&[u8])) -> rustix::io::Result<()> {
        if self.listing.is_empty() {
            self.listing.resize(LISTING_BYTES, MaybeUninit::uninit());
        }
        let folder = match self.folder.take() {
            Some(folder) => {
                rustix::fs::seek(&folder, SeekFrom::Start(0))?;
                folder
            }
            None => {
                rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?
            }
        };
        let mut entries = RawDir::new(&folder, &mut self.listing);
        while let Some(entry) = entries.next() {
            each(entry?.file_name().to_bytes());
        }
        if keep {
            self.folder = Some(folder);
        }
        Ok(())
    }
}

impl Kept {
    fn new(place: Place, name: &'static str, host: &HostRoot) -> Self {
        let path = match place {
            Place::Proc => host.proc.join(name),
            Place::OfInit => host.proc.join("1").join(name),
            Place::Sys => host.sys.join(name),
        };
        Self { place, name, path, file: None, content: Content::default(), round: 0 }
    }

    fn read_anew(&mut self, host: &HostRoot, keep: bool) -> Result<(), HostError> {
        // Whoever still holds the content of the last round keeps it; the buffer is ours again otherwise.
        if Arc::get_mut(&mut self.content).is_none() {
            self.content = Content::default();
        }
        let Some(buffer) = Arc::get_mut(&mut self.content) else { return Ok(()) };
        if let Some(file) = &self.file {
            if fill(buffer, file).is_ok() {
                return Ok(());
            }
            self.file = None;
        }
        let opened = File::open(&self.path).and_then(|file| fill(buffer, &file).map(|()| file));
        match opened {
            Ok(file) => self.file = keep.then_some(file),
            Err(_) if self.place == Place::OfInit && !host.given => {
                let path = host.proc.join("self").join(self.name);
                let file = File::open(&path).and_then(|file| fill(buffer, &file));
                file.map_err(|source| HostError::Read { path, source })?;
            }
            Err(source) => return Err(HostError::Read { path: self.path.clone(), source }),
        }
        Ok(())
    }
}

/// Reads the whole file: the kernel may give its text in pieces, and only a read of nothing is the end.
fn fill(buffer: &mut Vec<u8>, file: &File) -> io::Result<()> {
    if buffer.capacity() == 0 {
        buffer.reserve(FIRST_BYTES);
    }
    buffer.resize(buffer.capacity(), 0);
    let mut len = 0;
    loop {
        if len == buffer.len() {
            buffer.resize(2 * len, 0);
        }
        let rest = buffer.get_mut(len..).unwrap_or_default();
        match file.read_at(rest, len as u64) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(len);
    Ok(())
}

fn is_of(path: &Path, magic: u64) -> bool {
    rustix::fs::statfs(path)
        .is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|number| number == magic))
}

#[cfg(test)]
mod tests {
    use testkit::MadeUpHost;

    use super::*;

    fn made_up(host: &MadeUpHost) -> HostRoot {
        HostRoot::new(Some(host.path("proc")), Some(host.path("sys")), Some(host.path("root")))
    }

    #[test]
    fn a_file_is_read_once_a_round_and_anew_in_the_next() {
        let host = MadeUpHost::new();
        let mut files = Files::new(&made_up(&host));
        host.write("proc/stat", b"one");
        let held = files.proc("stat").unwrap();
        host.write("proc/stat", b"two, and longer");
        assert_eq!(*files.proc("stat").unwrap(), b"one");
        files.next_round();
        assert_eq!(*files.proc("stat").unwrap(), b"two, and longer");
        assert_eq!(*held, b"one", "what somebody holds does not change");
    }

    #[test]
    fn a_made_up_file_may_be_replaced_and_come_and_go() {
        let host = MadeUpHost::new();
        let mut files = Files::new(&made_up(&host));
        assert_eq!(*files.proc_constant("sys/kernel/osrelease").unwrap(), b"6.1.0\n");
        host.write("proc/next", b"6.2.0\n");
        std::fs::rename(host.path("proc/next"), host.path("proc/sys/kernel/osrelease")).unwrap();
        files.next_round();
        assert_eq!(*files.proc_constant("sys/kernel/osrelease").unwrap(), b"6.2.0\n");
        host.remove("proc/sys/kernel/osrelease");
        files.next_round();
        assert!(files.proc_constant("sys/kernel/osrelease").unwrap_err().is_not_found());
        host.write("proc/sys/kernel/osrelease", b"6.3.0\n");
        assert_eq!(*files.proc_constant("sys/kernel/osrelease").unwrap(), b"6.3.0\n");
    }

    #[test]
    fn a_long_file_is_read_whole() {
        let host = MadeUpHost::new();
        let files = Files::new(&made_up(&host));
        let long = vec![b'x'; 5 * FIRST_BYTES];
        host.write("proc/vmstat", &long);
        assert_eq!(*files.proc("vmstat").unwrap(), long);
    }

    #[test]
    fn the_kernels_files_are_read_through_a_kept_descriptor_and_tell_of_now() {
        let mut files = Files::new(&HostRoot::new(None, None, None));
        let text = |content: Content| String::from_utf8(content.to_vec()).unwrap();
        let before = text(files.proc("self/stat").unwrap());
        assert!(files.kept.borrow().iter().all(|kept| kept.file.is_some()));
        // Time passes until the kernel says so: cpu time is in it.
        let limit = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            files.next_round();
            if text(files.proc("self/stat").unwrap()) != before {
                break;
            }
            assert!(std::time::Instant::now() < limit, "always the same: {before}");
        }
    }

    #[test]
    fn all_names_are_listed_again_and_again() {
        let host = MadeUpHost::new();
        for root in [made_up(&host), HostRoot::new(None, None, None)] {
            let files = Files::new(&root);
            for _ in 0..3 {
                let mut found = std::collections::BTreeSet::new();
                files.list_proc(|name| _ = found.insert(name.to_vec())).unwrap();
                assert!(found.contains(&b"1"[..]) && found.contains(&b"stat"[..]));
            }
        }
    }
}
