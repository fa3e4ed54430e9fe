//! How many files are open, from `<proc>/sys/fs/file-nr`.

use super::page::Kind;
use super::{Done, Round};
use crate::collect::text;

const FILE: &str = "sys/fs/file-nr";

pub(super) fn collect(round: &mut Round<'_>) -> Done {
    let bytes = round.files.proc(FILE)?;
    let numbers = text::numbers::<3>(bytes.trim_ascii()).filter(|(_, count)| *count == 3);
    let ([allocated, _, most], _) = numbers.ok_or_else(|| round.files.host().lacks(FILE, "three numbers"))?;
    round.page.one("node_filefd_allocated", Kind::Gauge, "Open files.", allocated);
    round.page.one("node_filefd_maximum", Kind::Gauge, "Files that may be open.", most);
    Ok(())
}
