//! Every case that is kept: what a target learnt from, and what once failed.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test, outside of #[test]")]

use std::path::Path;

/// Feeds the target with each file of its corpus; which one fails stands in what it prints.
fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut cases: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 5, "{} has hardly a case", folder.display());
    for case in cases {
        println!("{}", case.display());
        run(&std::fs::read(&case).unwrap());
    }
    // Nothing, and hardly anything.
    for first in 0..=u8::MAX {
        run(&[first]);
        run(&[first, first, first]);
    }
    run(&[]);
}

macro_rules! targets {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name), fuzz::$name::run);
        })*
    };
}

targets!(check, configuration, http, mounts, proc, spool);
