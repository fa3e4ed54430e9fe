//! How full file systems are, from the mounts of the host's first process and statvfs.
//!
//! Which of the host's mounts are seen from here is judged as for the post ([`crate::collect::filesystem`]), and a
//! mount that hangs holds the same one thread.

use std::path::PathBuf;

use super::page::{Kind, Page};
use super::settings::Settings;
use super::{Done, Round};
use crate::collect::filesystem::{Mount, mountinfo, seen_alike, unseen};
use crate::collect::statvfs::{Answer, Patience};
use crate::collect::text;
use crate::files::{Content, Files};
use crate::host::HostError;

#[derive(Debug, Default)]
pub(super) struct Known {
    told_by: Option<ToldBy>,
    mounts: Vec<Labels>,
    paths: Vec<PathBuf>,
    /// Mounts that are not seen from here, and why.
    unseen: Vec<(String, String)>,
}

#[derive(Debug, PartialEq, Eq)]
struct ToldBy {
    mounts: Content,
    /// The host's mountinfo and our own; none where all mounts are seen.
    mountinfo: Option<(Content, Vec<u8>)>,
}

#[derive(Debug, PartialEq, Eq)]
struct Labels {
    device: String,
    point: String,
    fstype: String,
    readonly: bool,
}

pub(super) fn collect(round: &mut Round<'_>) -> Done {
    let Round { files, page, known, settings, askers, .. } = round;
    let known = &mut known.filesystem;
    known.follow(files, settings)?;
    let answers = askers.ask_for(&known.paths, Patience::Little, files.host())?.answers();
    for (what, reason) in &known.unseen {
        page.leave_out(what.clone(), reason.clone());
    }
    write(&known.mounts, &answers, page);
    Ok(())
}

impl Known {
    /// Works out anew what follows from the host's mounts, where these read otherwise.
    fn follow(&mut self, files: &Files, settings: &Settings) -> Result<(), HostError> {
        let told_by = ToldBy { mounts: files.of_init("mounts")?, mountinfo: mountinfo(files)? };
        if self.told_by.as_ref() == Some(&told_by) {
            return Ok(());
        }
        let host = files.host();
        let visible = told_by.mountinfo.as_ref().map(|(theirs, ours)| seen_alike(theirs, ours, &host.root));
        let mut found = Self::default();
        for mount in text::lines(&told_by.mounts).filter_map(Mount::parse) {
            let labels = Labels::of(&mount);
            if settings.partitions.leaves_out(&labels.point) || settings.types.leaves_out(&labels.fstype) {
                continue;
            }
            if visible.as_ref().is_some_and(|points| !points.contains(&mount.point)) {
                found.unseen.push((format!("partition {}", labels.point), unseen(host).text));
                continue;
            }
            found.paths.push(host.path(&mount.path()));
            found.mounts.push(labels);
        }
        found.told_by = Some(told_by);
        *self = found;
        Ok(())
    }
}

impl Labels {
    fn of(mount: &Mount) -> Self {
        Self {
            device: text::printable(&mount.device),
            point: text::printable(&mount.point),
            fstype: text::printable(&mount.fstype),
            readonly: mount.options.split(|byte| *byte == b',').any(|option| option == b"ro"),
        }
    }

    fn pairs(&self) -> [(&str, &str); 3] {
        [("device", &self.device), ("fstype", &self.fstype), ("mountpoint", &self.point)]
    }
}

fn write(mounts: &[Labels], answers: &[Answer], page: &mut Page) {
    let all = || mounts.iter().zip(answers);
    let answered = || {
        all().filter_map(|(labels, answer)| match answer {
            Answer::Usage(usage) => Some((labels, usage)),
            Answer::Refused(_) | Answer::Hangs | Answer::NotAsked => None,
        })
    };
    let name = "node_filesystem_device_error";
    let mut family = page.family(name, Kind::Gauge, "Whether the file system did not answer, or refused to.");
    for (labels, answer) in all() {
        family.add(&labels.pairs(), !matches!(answer, Answer::Usage(_)));
    }
    drop(family);
    let mut family = page.family("node_filesystem_readonly", Kind::Gauge, "Whether it is mounted read-only.");
    for (labels, _) in answered() {
        family.add(&labels.pairs(), labels.readonly);
    }
    drop(family);
    type Number = fn(&rustix::fs::StatVfs) -> u64;
    let numbers: [(&str, &str, Number); 5] = [
        ("avail_bytes", "Bytes that a user may still take.", |it| it.f_bavail.saturating_mul(it.f_frsize)),
        ("free_bytes", "Bytes that are free, for root too.", |it| it.f_bfree.saturating_mul(it.f_frsize)),
        ("size_bytes", "Bytes that there are.", |it| it.f_blocks.saturating_mul(it.f_frsize)),
        ("files", "Inodes that there are.", |it| it.f_files),
        ("files_free", "Inodes that are free.", |it| it.f_ffree),
    ];
    for (name, help, number) in numbers {
        let mut family = page.family(&format!("node_filesystem_{name}"), Kind::Gauge, help);
        for (labels, usage) in answered() {
            family.add(&labels.pairs(), number(usage));
        }
    }
}
