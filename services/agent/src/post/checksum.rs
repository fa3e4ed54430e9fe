//! The checksum of a series: with agent_id and target it is the series' name at the server, so it must come
//! out as the original's to the last digit.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{DataType, Pair, Sender};
use crate::identity::hex;

/// Metadata that changes without making another series: updates of the kernel, and who polls.
const LEFT_OUT: [&str; 2] = ["release", "version"];

/// What a datapoint measures: all of its identity that is not the sender's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Series {
    /// The key, `cpu_times_user` say.
    pub key: &'static str,
    /// The type.
    pub data_type: DataType,
    /// The instance's metadata that stands before the host's (partitions).
    pub leading: Arc<[Pair]>,
    /// The instance's metadata that stands behind the host's (disks, interfaces).
    pub trailing: Arc<[Pair]>,
}

impl Series {
    /// A series of the host as a whole.
    pub fn of_host(key: &'static str, data_type: DataType) -> Self {
        Self { key, data_type, leading: Arc::default(), trailing: Arc::default() }
    }

    /// The metadata of instance and host in the contract's order, stripped as the original strips it.
    pub(super) fn metadata<'a>(
        &'a self,
        sender: &'a Sender,
    ) -> impl Iterator<Item = (&'static str, &'a str)> {
        let all = self.leading.iter().chain(&sender.host).chain(self.trailing.iter());
        all.map(|(key, value)| (*key, strip(value)))
    }

    /// Works the checksum out: a chain of SHA-256 over the texts of key, type and metadata, in order.
    fn checksum(&self, sender: &Sender) -> String {
        let start = Sha256::digest(format!("{}{}", self.key, self.data_type as u8));
        let metadata = self.metadata(sender).chain(sender.metadata());
        metadata.filter(|(key, _)| !LEFT_OUT.contains(key)).fold(hex(&start), |sum, (key, value)| {
            hex(&Sha256::new().chain_update(sum).chain_update(key).chain_update(value).finalize())
        })
    }
}

/// What Python's `str.strip` leaves: it takes four control characters for white space that Unicode does not.
fn strip(text: &str) -> &str {
    text.trim_matches(|letter: char| letter.is_whitespace() || ('\x1c'..='\x1f').contains(&letter))
}

/// The checksums of the series seen last: a poll only looks them up.
#[derive(Debug, Default)]
pub(super) struct Checksums(HashMap<Series, Arc<str>>);

impl Checksums {
    pub(super) fn of(&mut self, sender: &Sender, series: &Series) -> Arc<str> {
        if let Some(known) = self.0.get(series) {
            return Arc::clone(known);
        }
        let checksum: Arc<str> = series.checksum(sender).into();
        self.0.insert(series.clone(), Arc::clone(&checksum));
        checksum
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets what is gone from the host once it outweighs what is there, so that mounts that come and go
    /// do not fill the memory.
    pub(super) fn keep_only(&mut self, seen: &HashSet<Arc<str>>) {
        if self.0.len() > 2 * seen.len() + 64 {
            self.0.retain(|_, checksum| seen.contains(checksum));
        }
    }
}
