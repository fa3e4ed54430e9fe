//! What the kernel's random numbers are drawn from, from `<proc>/sys/kernel/random`.

use super::page::Kind;
use super::{Done, Round, absent_if_missing};
use crate::collect::text;

/// File, family, and what it says.
const FILES: [(&str, &str, &str); 2] = [
    ("sys/kernel/random/entropy_avail", "node_entropy_available_bits", "Bits of entropy that are there."),
    ("sys/kernel/random/poolsize", "node_entropy_pool_size_bits", "Bits of entropy that there may be."),
];

pub(super) fn collect(round: &mut Round<'_>) -> Done {
    for (file, name, help) in FILES {
        let bytes = absent_if_missing(round.files.proc(file))?;
        let bits =
            text::number(bytes.trim_ascii()).ok_or_else(|| round.files.host().lacks(file, "number"))?;
        round.page.one(name, Kind::Gauge, help, bits);
    }
    Ok(())
}
