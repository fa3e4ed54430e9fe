//! What is left out of the post on purpose: interfaces, partitions and disks that come and go, such as a
//! container host's, would make series without end.

use regex_lite::Regex;

/// The patterns; none leaves nothing out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exclude {
    /// Matched against the names of interfaces.
    pub network: Option<Pattern>,
    /// Matched against mount points.
    pub partition: Option<Pattern>,
    /// Matched against the names of disks.
    pub disk: Option<Pattern>,
}

/// A regular expression that must match a whole name.
#[derive(Clone, Debug)]
pub struct Pattern {
    written: String,
    regex: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(written: &str) -> Result<Self, regex_lite::Error> {
        Ok(Self { written: written.to_owned(), regex: Regex::new(&format!(r"\A(?s:{written})\z"))? })
    }

    /// The pattern as it was written.
    pub fn written(&self) -> &str {
        &self.written
    }
}

impl Exclude {
    pub(super) fn network(&self, name: &str) -> bool {
        matches(&self.network, name)
    }

    pub(super) fn partition(&self, point: &str) -> bool {
        matches(&self.partition, point)
    }

    pub(super) fn disk(&self, name: &str) -> bool {
        matches(&self.disk, name)
    }
}

fn matches(pattern: &Option<Pattern>, name: &str) -> bool {
    pattern.as_ref().is_some_and(|pattern| pattern.regex.is_match(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names() {
        let network = Some(Pattern::new("veth.*|cali[0-9a-f]+").unwrap());
        let exclude = Exclude { network, ..Exclude::default() };
        assert!(exclude.network("veth12") && exclude.network("cali0f"));
        assert!(!exclude.network("myveth12") && !exclude.network("calico") && !exclude.network("eth0"));
        assert!(!exclude.disk("veth12"));
        let partition = Some(Pattern::new("/mnt/.*").unwrap());
        assert!(Exclude { partition, ..Exclude::default() }.partition("/mnt/a\nb"));
        assert!(Pattern::new("(").is_err());
    }
}
