//! What is JSON and what is not, as serde judges it.

use proptest::prelude::*;
use serde_json::Value;

use super::{GOOD, check};
use crate::check::Reason;
use crate::check::read::{Reader, Token};

/// Whether the body is JSON as the reader sees it.
fn is_json(body: &[u8]) -> bool {
    check(body) != Err(Reason::NotJson)
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_judged_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = check(&body);
    }

    #[test]
    fn what_serde_writes_is_json(value in json()) {
        prop_assert!(is_json(value.to_string().as_bytes()));
        prop_assert!(is_json(serde_json::to_string_pretty(&value).unwrap().as_bytes()));
    }

    #[test]
    fn what_looks_like_json_is_judged_as_serde_judges_it(body in "[\\[\\]{}:,\"\\\\ 0-9eE.+\\-tfnurl\u{1}é]{0,24}") {
        let serde = serde_json::from_str::<Value>(&body);
        // serde refuses what Python reads: lone surrogates, and numbers beyond 64 bits.
        let dialect = serde.as_ref().is_err_and(|error| {
            let text = error.to_string();
            text.contains("out of range") || text.contains("surrogate") || text.contains("hex escape")
        });
        prop_assert!(dialect || is_json(body.as_bytes()) == serde.is_ok(), "{body:?}: {serde:?}");
    }

    #[test]
    fn a_damaged_post_is_judged_as_serde_judges_it(at in 0..GOOD.len(), byte in any::<u8>()) {
        let mut body = GOOD.as_bytes().to_vec();
        body[at] = byte;
        let serde = serde_json::from_slice::<Value>(&body);
        if serde.is_ok() {
            prop_assert!(is_json(&body));
        } else if is_json(&body) {
            let text = serde.unwrap_err().to_string();
            prop_assert!(text.contains("out of range"), "{text}");
        }
    }

    // What is written without white space is read in short ways, what is written with it never.
    #[test]
    fn short_and_long_ways_judge_alike(
        ids in prop::collection::vec(prop_oneof![Just(0), 0..20_u64, any::<u64>()], 0..6),
        key in prop_oneof![Just("pattoo_value".to_owned()), "[ -~é]{0,12}", any::<String>()],
        value in prop_oneof![
            any::<String>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<u32>().prop_map(Value::from),
            json(),
        ],
        pair in 0..12_u64,
    ) {
        let mut post: Value = serde_json::from_str(GOOD).unwrap();
        let datapoints = &mut post["pattoo_datapoints"];
        datapoints["datapoint_pairs"].as_array_mut().unwrap().push(ids.into());
        datapoints["key_value_pairs"][pair.to_string()] = vec![key.into(), value].into();
        prop_assert_eq!(check(post.to_string().as_bytes()), check(serde_json::to_string_pretty(&post).unwrap().as_bytes()));
    }

    #[test]
    fn texts_decode_as_serde_decodes_them(text in any::<String>()) {
        let written = serde_json::to_string(&text).unwrap();
        let mut reader = Reader::new(&written);
        let Ok(Some(Token::String(read))) = reader.next() else { panic!("{written}") };
        let decoded = read.decode();
        prop_assert_eq!(decoded.as_deref(), Some(text.as_str()));
    }
}
