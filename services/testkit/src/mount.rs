//! File systems of our own: mounted for one test, gone after it, however it ends.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system.
#[derive(Debug)]
pub struct Mount {
    at: PathBuf,
    /// Where its image is: unmounted after it.
    _image: Option<Box<Mount>>,
}

fn run(program: &str, arguments: &[&str]) {
    let told = format!("`{program} {}`", arguments.join(" "));
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("failed to run {told}: {error}; this test mounts file systems and needs root, e2fsprogs and btrfs-progs"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told} failed: {text}; this test mounts file systems and needs root");
}

impl Mount {
    /// A tmpfs of so many bytes.
    pub fn tmpfs(bytes: u64) -> Mount {
        let at = tempfile::tempdir().unwrap().keep();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs", at.to_str().unwrap()]);
        Mount { at, _image: None }
    }

    /// A file system of this kind in a file of its own, in memory: it is about space, and not about the disk below.
    pub fn image(kind: &str, bytes: u64) -> Mount {
        let image = Mount::tmpfs(bytes + (1 << 20));
        let mut mount = Mount::image_at(kind, bytes, &image.path().join("image"));
        mount._image = Some(Box::new(image));
        mount
    }

    /// A file system of this kind in this file.
    pub fn image_at(kind: &str, bytes: u64, file: &Path) -> Mount {
        std::fs::File::create(file).unwrap().set_len(bytes).unwrap();
        run(&format!("mkfs.{kind}"), &["-q", file.to_str().unwrap()]);
        Mount::open(file)
    }

    /// What is in this file.
    pub fn open(file: &Path) -> Mount {
        let at = tempfile::tempdir().unwrap().keep();
        run("mount", &["-o", "loop", file.to_str().unwrap(), at.to_str().unwrap()]);
        Mount { at, _image: None }
    }

    /// A view of a folder through which syncs do nothing: what is written below it reaches the disk when the
    /// kernel likes. The files stand in `upper` below the folder.
    pub fn unsynced(folder: &Path) -> Mount {
        let at = tempfile::tempdir().unwrap().keep();
        let below = |name: &str| {
            std::fs::create_dir(folder.join(name)).unwrap();
            folder.join(name).display().to_string()
        };
        let (lower, upper, work) = (below("lower"), below("upper"), below("work"));
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work},volatile");
        run("mount", &["-t", "overlay", "-o", &options, "overlay", at.to_str().unwrap()]);
        Mount { at, _image: None }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.at
    }
}

/// Clones a file as it is at one moment: cloning locks it against writing. Both are on one btrfs.
pub fn clone_at_once(from: &Path, to: &Path) {
    run("cp", &["--reflink=always", from.to_str().unwrap(), to.to_str().unwrap()]);
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily where something still has a file open: a test that failed must leave nothing behind.
        let plain = Command::new("umount").arg(&self.at).output();
        if !plain.is_ok_and(|output| output.status.success()) {
            let _ = Command::new("umount").arg("-l").arg(&self.at).output();
        }
        let _ = std::fs::remove_dir(&self.at);
    }
}
