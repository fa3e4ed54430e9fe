//! A model under random actions, opened again after every step.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use spool::{DropReason, Options, Spool};
use tempfile::TempDir;

use crate::support::{SOON, body, folder, long, read_body, small};

#[derive(Clone, Debug)]
enum Action {
    Append { lane: u8, length: u16 },
    Acknowledge { lane: u8, records: u8 },
    PutBack { lane: u8 },
    Purge { lane: u8 },
    Later { ms: u16 },
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (0..6_u8, 0..9000_u16).prop_map(|(lane, length)| Action::Append { lane, length }),
        3 => (0..6_u8, 1..6_u8).prop_map(|(lane, records)| Action::Acknowledge { lane, records }),
        1 => (0..6_u8).prop_map(|lane| Action::PutBack { lane }),
        1 => (0..6_u8).prop_map(|lane| Action::Purge { lane }),
        1 => (0..3000_u16).prop_map(|ms| Action::Later { ms }),
    ]
}

/// Lanes by name; a record is when it was taken, and its number.
type Model = BTreeMap<String, VecDeque<(u64, u64)>>;

const MAX_AGE_MS: u64 = 10_000;

fn crash(from: &Path) -> TempDir {
    let to = folder();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.path().join(file.file_name())).unwrap();
    }
    to
}

fn check(spool: &Spool, model: &Model) {
    for (lane, records) in model {
        let there: Vec<u64> = spool.records(lane, usize::MAX).unwrap().iter().map(|r| r.taken_ms).collect();
        assert_eq!(there, records.iter().map(|(taken, _)| *taken).collect::<Vec<_>>(), "{lane}");
        let oldest = spool.oldest(lane).unwrap().map(|record| read_body(&record.body).unwrap().1);
        assert_eq!(oldest, records.front().map(|(_, number)| *number), "{lane}");
    }
    let waiting: usize = model.values().map(VecDeque::len).sum();
    let stats = spool.stats();
    assert_eq!(stats.waiting.records, waiting as u64);
    assert_eq!(stats.dropped_for(DropReason::Damaged).records, 0);
    assert!(stats.balances(), "{stats:?}");
}

fn expire(model: &mut Model, now: u64) {
    for records in model.values_mut() {
        while records.front().is_some_and(|(taken, _)| *taken < now - MAX_AGE_MS) {
            records.pop_front();
        }
    }
}

fn play(actions: &[(Action, bool)]) {
    let now = Arc::new(AtomicU64::new(1_700_000_000_000));
    let clock = Arc::clone(&now);
    let options = Options {
        segment_bytes: 16 << 10,
        max_lanes: 20,
        max_age: Duration::from_millis(MAX_AGE_MS),
        clock: Arc::new(move || clock.load(Ordering::SeqCst)),
        ..small()
    };
    let mut place = folder();
    let mut spool = Spool::open(place.path(), options.clone()).unwrap().0;
    let mut model = Model::new();
    let mut newest = 0;
    for (number, (action, crashes)) in actions.iter().enumerate() {
        let number = number as u64;
        let taken = now.fetch_add(1, Ordering::SeqCst);
        let name = |lane: &u8| format!("lane-{lane}");
        match action {
            Action::Append { lane, length } => {
                let lane = name(lane);
                let sequence = spool.append(&lane, taken, body(&lane, number, (*length).into())).unwrap();
                assert!(sequence > newest);
                newest = sequence;
                model.entry(lane).or_default().push_back((taken, number));
            }
            Action::Acknowledge { lane, records } => {
                let lane = name(lane);
                let heads = spool.records(&lane, usize::from(*records)).unwrap();
                let Some(last) = heads.last() else { continue };
                assert_eq!(spool.acknowledge(&lane, last.sequence).unwrap(), heads.len() as u64);
                model.get_mut(&lane).unwrap().drain(..heads.len());
            }
            Action::PutBack { lane } => {
                let lane = name(lane);
                let Some(record) = spool.oldest(&lane).unwrap() else { continue };
                newest = spool.append(&lane, record.taken_ms, record.body).unwrap();
                spool.acknowledge(&lane, record.sequence).unwrap();
                model.get_mut(&lane).unwrap().rotate_left(1);
            }
            Action::Purge { lane } => {
                let records = model.entry(name(lane)).or_default();
                assert_eq!(spool.purge(&name(lane)).unwrap(), records.len() as u64);
                records.clear();
            }
            Action::Later { ms } => {
                now.fetch_add(u64::from(*ms), Ordering::SeqCst);
            }
        }
        spool.tend(SOON).unwrap();
        expire(&mut model, now.load(Ordering::SeqCst));
        check(&spool, &model);
        if *crashes {
            spool.flush(SOON).unwrap();
            let copy = crash(place.path());
            drop(spool);
            place = copy;
        } else {
            spool.close(SOON).unwrap();
            drop(spool);
        }
        let (reopened, report) = Spool::open(place.path(), options.clone()).unwrap();
        assert!(!report.damage.any() && report.torn_bytes == 0, "{report:?}");
        spool = reopened;
        spool.tend(SOON).unwrap();
        check(&spool, &model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if long() { 2000 } else { 60 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn it_does_what_the_model_does(actions in prop::collection::vec((action(), any::<bool>()), 1..50)) {
        play(&actions);
    }
}
