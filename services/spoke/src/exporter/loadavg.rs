//! The load averages, from `<proc>/loadavg`.

use super::page::Kind;
use super::{Done, Round};
use crate::collect::load;

const FAMILIES: [(&str, &str); 3] = [
    ("node_load1", "Load average of 1 minute."),
    ("node_load5", "Load average of 5 minutes."),
    ("node_load15", "Load average of 15 minutes."),
];

pub(super) fn collect(round: &mut Round<'_>) -> Done {
    for ((name, help), average) in FAMILIES.into_iter().zip(load::read(round.files)?) {
        round.page.one(name, Kind::Gauge, help, average);
    }
    Ok(())
}
