//! What is known of a name of which every address is a target: no I/O, so that every course of events can be tried.
//!
//! - An address that is gone from the answer is gone.
//! - A question that failed says nothing: its family's addresses stay.
//! - That a name has no address at all is believed the second time in a row. A server that was just restarted says so
//!   of every name, and dropping a whole fleet for it would be a gap; with two questions in an interval, what is
//!   really gone is still gone within one.
//! - There is a cap. Who is known already is kept before who is new.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::IpAddr;

/// How the last lookup went. The closed list is the metric's label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Said {
    /// Nothing was asked yet.
    #[default]
    Nothing,
    /// There are addresses.
    Found,
    /// There is none.
    Empty,
    /// At least one family's question failed, for this reason.
    Failed(String),
}

impl Said {
    /// The labels of what can come of a lookup.
    pub(crate) const LABELS: [&'static str; 3] = ["ok", "empty", "failed"];

    /// The result as one word.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Nothing | Self::Found => "ok",
            Self::Empty => "empty",
            Self::Failed(_) => "failed",
        }
    }
}

/// A name's addresses, as far as they are known.
#[derive(Debug, Default)]
pub(crate) struct Known {
    v4: BTreeSet<IpAddr>,
    v6: BTreeSet<IpAddr>,
    /// What is polled of them.
    polled: BTreeSet<IpAddr>,
    said: Said,
    /// How many are beyond the cap.
    left_out: usize,
    /// The last answer was that there is none, and it is not believed yet.
    doubted: bool,
}

/// What a lookup changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) gone: Vec<IpAddr>,
    pub(crate) found: Vec<IpAddr>,
}

impl Known {
    /// Takes what was answered; `most` addresses are polled.
    pub(crate) fn take<E: Display>(
        &mut self,
        v4: Result<Vec<IpAddr>, E>,
        v6: Result<Vec<IpAddr>, E>,
        most: usize,
    ) -> Change {
        let failed = v4.as_ref().err().or(v6.as_ref().err()).map(ToString::to_string);
        let is = |empty: bool| {
            let answered =
                |family: &Result<Vec<IpAddr>, E>| family.as_ref().is_ok_and(|all| all.is_empty() == empty);
            answered(&v4) || answered(&v6)
        };
        let (some, none) = (is(false), is(true));
        let believed = some || (none && self.doubted);
        self.doubted = none && !some;
        if believed {
            for (known, answered) in [(&mut self.v4, v4), (&mut self.v6, v6)] {
                if let Ok(answered) = answered {
                    *known = answered.into_iter().collect();
                }
            }
        }
        self.said = match failed {
            Some(reason) => Said::Failed(reason),
            None if !some => Said::Empty,
            None => Said::Found,
        };
        self.cap(most)
    }

    /// As if the same had been answered again, with this cap.
    pub(crate) fn cap(&mut self, most: usize) -> Change {
        let all = || self.v4.iter().chain(&self.v6);
        let stay = all().filter(|address| self.polled.contains(address)).take(most);
        let mut polled: BTreeSet<IpAddr> = stay.copied().collect();
        let room = most.saturating_sub(polled.len());
        let found: Vec<IpAddr> =
            all().filter(|address| !self.polled.contains(address)).take(room).copied().collect();
        polled.extend(&found);
        let gone = self.polled.difference(&polled).copied().collect();
        self.left_out = (self.v4.len() + self.v6.len()).saturating_sub(polled.len());
        self.polled = polled;
        Change { gone, found }
    }

    /// How the last lookup went.
    pub(crate) fn said(&self) -> &Said {
        &self.said
    }

    /// The addresses that are polled, in order.
    pub(crate) fn polled(&self) -> &BTreeSet<IpAddr> {
        &self.polled
    }

    /// How many addresses the cap leaves out.
    pub(crate) fn left_out(&self) -> usize {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn ok(texts: &[&str]) -> Result<Vec<IpAddr>, &'static str> {
        Ok(ips(texts))
    }

    fn change(gone: &[&str], found: &[&str]) -> Change {
        Change { gone: ips(gone), found: ips(found) }
    }

    #[test]
    fn the_set_follows_the_answer_and_the_same_answer_changes_nothing() {
        let mut known = Known::default();
        assert_eq!(
            known.take(ok(&["10.0.0.2", "10.0.0.1"]), ok(&["fd00::1"]), 9),
            change(&[], &["10.0.0.1", "10.0.0.2", "fd00::1"])
        );
        assert_eq!(known.take(ok(&["10.0.0.1", "10.0.0.2"]), ok(&["fd00::1"]), 9), Change::default());
        assert_eq!(
            known.take(ok(&["10.0.0.3", "10.0.0.2"]), ok(&[]), 9),
            change(&["10.0.0.1", "fd00::1"], &["10.0.0.3"])
        );
        assert_eq!(known.said(), &Said::Found);
    }

    #[test]
    fn a_family_whose_question_failed_stays() {
        let mut known = Known::default();
        known.take(ok(&["10.0.0.1"]), ok(&["fd00::1"]), 9);
        assert_eq!(known.take(Err("late"), Err("late"), 9), Change::default());
        assert_eq!(known.take(ok(&["10.0.0.2"]), Err("late"), 9), change(&["10.0.0.1"], &["10.0.0.2"]));
        assert_eq!(known.said(), &Said::Failed("late".to_owned()));
        // That one family has none says as little where the other's question failed.
        assert_eq!(known.take(Err("late"), ok(&[]), 9), Change::default());
        assert_eq!(known.take(Err("late"), Err("late"), 9), Change::default());
        assert_eq!(known.take(Err("late"), ok(&[]), 9), Change::default());
        assert_eq!(known.take(Err("late"), ok(&[]), 9), change(&["fd00::1"], &[]));
        assert_eq!(known.polled().len(), 1);
    }

    #[test]
    fn that_there_is_none_is_believed_the_second_time_in_a_row() {
        let mut known = Known::default();
        known.take(ok(&["10.0.0.1"]), ok(&[]), 9);
        for _ in 0..3 {
            assert_eq!(known.take(ok(&[]), ok(&[]), 9), Change::default());
            assert_eq!(known.said(), &Said::Empty);
            assert_eq!(known.take(ok(&["10.0.0.1"]), ok(&[]), 9), Change::default());
        }
        known.take(ok(&[]), ok(&[]), 9);
        assert_eq!(known.take(ok(&[]), ok(&[]), 9), change(&["10.0.0.1"], &[]));
    }

    #[test]
    fn beyond_the_cap_those_that_are_polled_stay() {
        let mut known = Known::default();
        assert_eq!(known.take(ok(&["10.0.0.5", "10.0.0.6"]), ok(&[]), 2).found.len(), 2);
        assert_eq!(
            known.take(ok(&["10.0.0.1", "10.0.0.6", "10.0.0.5"]), ok(&["fd00::1"]), 2),
            Change::default()
        );
        assert_eq!(known.left_out(), 2);
        assert_eq!(
            known.take(ok(&["10.0.0.1", "10.0.0.6"]), ok(&["fd00::1"]), 2),
            change(&["10.0.0.5"], &["10.0.0.1"])
        );
        assert_eq!(known.cap(1), change(&["10.0.0.6"], &[]));
        assert_eq!(known.cap(9), change(&[], &["10.0.0.6", "fd00::1"]));
        assert_eq!(known.left_out(), 0);
    }
}
