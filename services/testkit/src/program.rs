use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{LIMIT, wait_until};

/// A `PATTOO_CONFIGDIR` and the directories that it names, gone when dropped.
#[derive(Debug)]
pub struct Folder {
    root: tempfile::TempDir,
    cache: PathBuf,
}

impl Folder {
    /// A folder whose `pattoo.yaml` names directories of its own; `more` is appended to that file.
    pub fn new(more: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let cache = root.path().join("cache");
        Self::made(root, cache, more)
    }

    /// As [`Folder::new`], in memory where there is such a place: for tests that are not about disks.
    pub fn in_memory(more: &str) -> Self {
        let shm = Path::new("/dev/shm");
        let root =
            if shm.is_dir() { tempfile::tempdir_in(shm).unwrap() } else { tempfile::tempdir().unwrap() };
        let cache = root.path().join("cache");
        Self::made(root, cache, more)
    }

    /// As [`Folder::new`], with its `cache_directory` elsewhere.
    pub fn with_cache(cache: &Path, more: &str) -> Self {
        Self::made(tempfile::tempdir().unwrap(), cache.to_owned(), more)
    }

    fn made(root: tempfile::TempDir, cache: PathBuf, more: &str) -> Self {
        let folder = Self { root, cache };
        let (root, cache) = (folder.root.path().display(), folder.cache.display());
        std::fs::create_dir(folder.config()).unwrap();
        let pattoo = format!(
            "pattoo:\n  log_level: debug\n  log_directory: {root}/log\n  cache_directory: {cache}\n  \
             daemon_directory: {root}/daemon\n  system_daemon_directory: {root}/run\n{more}"
        );
        folder.write("pattoo.yaml", &pattoo);
        folder
    }

    /// Writes a file of the configuration.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.config().join(name), text).unwrap();
    }

    /// The configuration directory.
    pub fn config(&self) -> PathBuf {
        self.root.path().join("config")
    }

    /// The cache directory.
    pub fn cache(&self) -> PathBuf {
        self.cache.clone()
    }

    /// The daemon directory.
    pub fn daemon(&self) -> PathBuf {
        self.root.path().join("daemon")
    }

    /// The system daemon directory.
    pub fn run_directory(&self) -> PathBuf {
        self.root.path().join("run")
    }

    /// Runs a program to its end, in the folder's environment.
    pub fn run(&self, binary: &str, arguments: &[&str]) -> Output {
        self.command(binary).args(arguments).output().unwrap()
    }

    /// Starts a program in the foreground and waits until it listens.
    ///
    /// # Panics
    /// It ends, or does not listen in time.
    pub fn start(&self, binary: &str) -> Program {
        self.start_command(self.command(binary))
    }

    /// As [`Folder::start`], with a clock that [`Folder::shift_clock`] sets, also later on.
    ///
    /// # Panics
    /// It ends, or does not listen in time.
    pub fn start_with_shifted_clock(&self, binary: &str) -> Program {
        let mut command = self.command(binary);
        command.env("PATTOO_TEST_CLOCK_SHIFT_MS", self.shift_file());
        self.start_command(command)
    }

    /// Sets by how much such clocks are ahead of the system's, in milliseconds; behind it, where negative.
    pub fn shift_clock(&self, ms: i64) {
        // In one step, since it may be read at any moment.
        let next = self.shift_file().with_extension("next");
        std::fs::write(&next, ms.to_string()).unwrap();
        std::fs::rename(next, self.shift_file()).unwrap();
    }

    fn shift_file(&self) -> PathBuf {
        self.root.path().join("clock.shift")
    }

    /// Starts a program in the foreground and does not wait for it; its clock is as
    /// [`Folder::start_with_shifted_clock`] says.
    pub fn spawn(&self, binary: &str) -> Program {
        let mut command = self.command(binary);
        command.env("PATTOO_TEST_CLOCK_SHIFT_MS", self.shift_file());
        Program::spawn(command)
    }

    fn start_command(&self, command: Command) -> Program {
        let mut program = Program::spawn(command);
        wait_until("the program listens", LIMIT, || program.listens());
        program
    }

    fn command(&self, binary: &str) -> Command {
        let mut command = Command::new(binary);
        // Nothing of the caller's environment: what a test means it says.
        command.env_clear().env("PATTOO_CONFIGDIR", self.config()).stdin(Stdio::null()).current_dir("/");
        // A proxy that nobody must use.
        command.env("http_proxy", "http://127.0.0.1:9").env("HTTP_PROXY", "http://127.0.0.1:9");
        command
    }

    /// The files below a directory, by name, whole.
    pub fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> = std::fs::read_dir(directory)
            .map(|entries| entries.map(Result::unwrap).collect::<Vec<_>>())
            .unwrap_or_default()
            .into_iter()
            .filter(|entry| entry.path().is_file())
            .map(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                (name, std::fs::read(entry.path()).unwrap())
            })
            .collect();
        files.sort();
        files
    }
}

fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening address=")?;
    rest.split(' ').next()?.trim_matches('"').parse().ok()
}

/// A real program at work, killed when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    reading: Option<JoinHandle<()>>,
    lines: Arc<Mutex<Vec<String>>>,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Program {
    fn spawn(mut command: Command) -> Self {
        command.args(["--start", "--foreground"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let written = lines.clone();
        let reading = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                written.lock().unwrap().push(line);
            }
        });
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { child, reading: Some(reading), lines, address }
    }

    /// Whether it listens already; then [`Program::address`] says where.
    ///
    /// # Panics
    /// It has ended.
    pub fn listens(&mut self) -> bool {
        let ended = self.child.try_wait().unwrap();
        let address = self.lines.lock().unwrap().iter().find_map(|line| address_in(line));
        assert!(ended.is_none() || address.is_some(), "the program ended ({ended:?}):\n{}", self.log());
        self.address = address.unwrap_or(self.address);
        address.is_some()
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// How many lines of its log contain `text`.
    pub fn logged(&self, text: &str) -> usize {
        self.lines.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// Kills it at once. Returns its whole log.
    pub fn kill(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.whole_log()
    }

    /// The log of a program that has ended.
    pub fn whole_log(&mut self) -> String {
        if let Some(reading) = self.reading.take() {
            reading.join().unwrap();
        }
        self.log()
    }

    /// Waits for its end and returns how it ended and how long that took.
    ///
    /// # Panics
    /// It does not end.
    pub fn wait(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        let mut ended = None;
        wait_until("the program ends", LIMIT, || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        (ended.unwrap(), began.elapsed())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            // The harness shows this with the test that failed.
            let log = self.log();
            eprintln!("--- log of the program:\n{log}");
        }
    }
}

/// What a process takes of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its memory, in KiB.
    pub memory_kib: u64,
    /// The most that it took of memory since [`Taken::measure_anew`], or ever, in KiB.
    pub most_memory_kib: u64,
    /// Its threads.
    pub threads: u64,
    /// Its open descriptors.
    pub descriptors: usize,
}

impl Taken {
    /// By this program now.
    ///
    /// # Panics
    /// It is gone.
    pub fn by(program: &Program) -> Self {
        let place = format!("/proc/{}", program.pid());
        let status = std::fs::read_to_string(format!("{place}/status")).unwrap();
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        Self {
            memory_kib: number("VmRSS:"),
            most_memory_kib: number("VmHWM:"),
            threads: number("Threads:"),
            descriptors: std::fs::read_dir(format!("{place}/fd")).unwrap().count(),
        }
    }

    /// Lets the most that this program takes of memory be measured from now on.
    ///
    /// # Panics
    /// It is gone.
    pub fn measure_anew(program: &Program) {
        // proc(5): 5 sets the peak to what is resident now.
        std::fs::write(format!("/proc/{}/clear_refs", program.pid()), "5").unwrap();
    }
}
