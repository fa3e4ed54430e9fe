//! What the original hub left behind: `<cache_directory>/<hub agent_id>/<ms>_<hub agent_id>.json`, one post a
//! file, some perhaps half written. At start they go the way of every other body, oldest first; a file is
//! removed once its post is safe.

use std::io;
use std::path::{Path, PathBuf};

use agent::shutdown::Stop;
use bytes::Bytes;

use crate::check;
use crate::intake::Intake;
use crate::metrics::From;

/// Takes over what is in `folder`, if there is such a folder. Whatever cannot be taken stays where it is and
/// is tried again at the next start; `stop` ends it between two posts.
pub(crate) async fn take_over(folder: PathBuf, agent_id: &str, intake: &Intake, stop: &Stop) {
    let listed = {
        let (folder, agent_id) = (folder.clone(), agent_id.to_owned());
        tokio::task::spawn_blocking(move || posts(&folder, &agent_id)).await.map_err(io::Error::other)
    };
    let paths = match listed.and_then(|listed| listed) {
        Ok(paths) if paths.is_empty() => return,
        Ok(paths) => paths,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "failed to look for posts of the original hub");
            return;
        }
    };
    let found = paths.len();
    let mut taken = 0_usize;
    for path in paths {
        if stop.is_now() {
            break;
        }
        match take(&path, intake).await {
            Ok(()) => taken += 1,
            Err(error) => {
                tracing::error!(file = %path.display(), %error,
                    "failed to take over a post of the original hub; it stays there until the next start");
            }
        }
    }
    tracing::info!(folder = %folder.display(), found, taken, "took over what the original hub had not delivered");
    // Gone only if empty: whatever else is in it is somebody else's.
    let _ = tokio::fs::remove_dir(&folder).await;
}

async fn take(path: &Path, intake: &Intake) -> io::Result<()> {
    let body = Bytes::from(tokio::fs::read(path).await?);
    match check::check(&body) {
        Ok(post) => intake.keep(&post, body, From::Takeover).await?,
        Err(reason) => intake.set_aside(body, reason, From::Takeover).await?,
    }
    tokio::fs::remove_file(path).await
}

/// The original's files, oldest first.
fn posts(folder: &Path, agent_id: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if let Some(stamp) = path.file_name().and_then(|name| stamp(name.to_str()?, agent_id)) {
            found.push((stamp, path));
        }
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// The milliseconds in the name of an original's file; none for any other file.
fn stamp(name: &str, agent_id: &str) -> Option<u64> {
    let (stamp, rest) = name.strip_suffix(".json")?.split_once('_')?;
    if rest == agent_id { stamp.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_originals_files_are_taken_in_the_order_of_their_stamps() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["1000_h.json", "999_h.json", "1000_h.json.tmp", "x_h.json", "5_other.json", "notes"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let names = |paths: Vec<PathBuf>| {
            paths
                .iter()
                .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(posts(folder.path(), "h").unwrap()), ["999_h.json", "1000_h.json"]);
    }
}
