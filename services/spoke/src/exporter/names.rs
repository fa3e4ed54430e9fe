//! Names that the kernel gives, as they stand in labels and in names of metrics.

use std::collections::HashMap;
use std::sync::Arc;

/// How many names are remembered: beyond, all are forgotten and learnt anew.
const MOST: usize = 20_000;

/// What becomes of a name, worked out once: regular expressions cost more than all else of a page.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<Vec<u8>, Option<Arc<str>>>);

impl Names {
    /// What `work_out` makes of the name; none where it is left out.
    pub(super) fn get(
        &mut self,
        name: &[u8],
        work_out: impl FnOnce(&[u8]) -> Option<String>,
    ) -> Option<Arc<str>> {
        if let Some(known) = self.0.get(name) {
            return known.clone();
        }
        if self.0.len() >= MOST {
            self.0.clear();
        }
        let found = work_out(name).map(Arc::from);
        self.0.insert(name.to_vec(), found.clone());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_worked_out_once_and_not_all_are_remembered() {
        let mut names = Names::default();
        assert_eq!(names.get(b"a", |_| Some("A".to_owned())).as_deref(), Some("A"));
        assert_eq!(names.get(b"a", |_| None).as_deref(), Some("A"));
        assert_eq!(names.get(b"b", |_| None), None);
        for at in 0..2 * MOST {
            names.get(at.to_string().as_bytes(), |_| None);
        }
        assert!(names.0.len() <= MOST);
    }
}
