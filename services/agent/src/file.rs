//! Writing a file so that it is either the old one or the new one, whatever dies in between.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Writes `content` beside `path`, syncs it, renames it over `path`, and syncs the folder.
///
/// # Errors
/// Whatever the file system says; `path` is unchanged then, or holds the new content.
pub fn write_atomic(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::other("a path without a folder"))?;
    let mut name = path.file_name().ok_or_else(|| io::Error::other("a path without a name"))?.to_owned();
    name.push(".tmp");
    let temporary = folder.join(name);
    let written = write_synced(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // The half-written file is of no use to anyone; that it cannot be removed changes nothing.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_folder(folder)
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Syncs a folder, so that names made or removed in it outlive a power cut.
///
/// # Errors
/// Whatever the file system says.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes a folder and those above it, readable for the owner and the group.
///
/// # Errors
/// Whatever the file system says.
pub fn make_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o750).create(path)
}
