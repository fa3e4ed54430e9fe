//! What the server would do with the datapoints of a post.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{GOOD, good, judged, reason, with, with_value};
use crate::check::pair::NAMES;
use crate::check::{Ignored, Post, Reason};

fn assert_reason(wanted: Reason, bodies: &[String]) {
    for body in bodies {
        assert_eq!(reason(body), Some(wanted), "{}", body.chars().take(900).collect::<String>());
    }
}

fn assert_taken(bodies: &[String]) {
    for body in bodies {
        assert_eq!(judged(body), Ok(good()), "{}", body.chars().take(900).collect::<String>());
    }
}

/// [`GOOD`] with another value in the pair of `key`.
fn with_pair(key: &str, value: &str) -> String {
    let begin = GOOD.find(&format!("[\"{key}\",")).unwrap();
    let end = begin + GOOD[begin..].find(']').unwrap();
    format!("{}[\"{key}\",{value}{}", &GOOD[..begin], &GOOD[end..])
}

const AGENT_STAMP: &str = "1795349433125";
const INTERVAL: &str = "\"pattoo_agent_polling_interval\":300000";
const STAMP: &str = "1795349433000";
const ROW: &str = "[[0,1,2,3,4,5,6,7,8,9,10]]";

#[test]
fn a_stamp_of_the_post_is_a_whole_number() {
    let stamp = |value: &str| with(AGENT_STAMP, value);
    assert_reason(
        Reason::AgentTimestamp,
        &[
            "\"1795349433125\"",
            "\"../x\"",
            "1.5",
            "1e3",
            "1795349433125.0",
            "-1",
            "9223372036854775808",
            "null",
            "true",
            "[1]",
        ]
        .map(stamp),
    );
    assert_eq!(judged(&stamp("0")).unwrap().stamp, 1_795_349_433_000, "the datapoint's is later");
    assert_eq!(judged(&stamp("9223372036854775807")).unwrap().stamp, i64::MAX as u64);
}

#[test]
fn an_interval_is_a_whole_number() {
    let post = |value: &str| with(INTERVAL, &format!("\"pattoo_agent_polling_interval\":{value}"));
    let pair = |value: &str| with_pair("pattoo_agent_polling_interval", value);
    assert_reason(Reason::Interval, &["\"300000\"", "1.5", "-1", "null", "true", "{}"].map(post));
    assert_reason(
        Reason::Interval,
        &[
            "\"\"",
            "\"x\"",
            "\"1.5\"",
            "1.5",
            "\"-1\"",
            "-1",
            "\"+1\"",
            "null",
            "true",
            "4294967296",
            "\"4294967296\"",
            "[]",
            "\"\\ud800\"",
        ]
        .map(pair),
    );
    assert_eq!(["0", "31536000000"].map(|value| judged(&post(value)).unwrap().interval), [0, 31_536_000_000]);
    assert_taken(&["0", "300000", "\"0\"", "\"0300\"", "\"4294967295\"", "\"\\u0031\""].map(pair));
}

#[test]
fn a_timestamp_is_a_whole_number() {
    let stamp = |value: &str| with(STAMP, value);
    assert_reason(
        Reason::Timestamp,
        &["\"1795349433000\"", "1.5", "1e3", "null", "false", "[]", "-1", "9223372036854775808"].map(stamp),
    );
    assert_taken(&["0", "1795349433125"].map(stamp));
    assert_eq!(judged(&stamp("1795349433126")).unwrap().stamp, 1_795_349_433_126);
}

#[test]
fn pattoo_datapoints_has_its_two_keys() {
    let of = |value: &str| {
        let (front, _) = GOOD.split_once("{\"datapoint_pairs\"").unwrap();
        format!("{front}{value}}}")
    };
    assert_reason(
        Reason::Datapoints,
        &[
            of("[]"),
            of("null"),
            of("{}"),
            of("{\"datapoint_pairs\":[]}"),
            of("{\"key_value_pairs\":{}}"),
            of("{\"datapoint_pairs\":{},\"key_value_pairs\":{}}"),
            of("{\"datapoint_pairs\":[],\"key_value_pairs\":[]}"),
            of("{\"datapoint_pairs\":[],\"key_value_pairs\":{},\"more\":1}"),
            of("{\"datapoint_pairs\":\"\",\"key_value_pairs\":{}}"),
        ],
    );
    assert_eq!(judged(&of("{\"datapoint_pairs\":[],\"key_value_pairs\":{}}")).unwrap().datapoints, 0);
    assert_eq!(judged(&of("{\"key_value_pairs\":{},\"datapoint_pairs\":[]}")).unwrap().datapoints, 0);
}

#[test]
fn pairs_may_stand_before_the_datapoints() {
    let (front, rest) = GOOD.split_once(&format!("\"datapoint_pairs\":{ROW},")).unwrap();
    let pairs = rest.strip_suffix("}}\n").unwrap();
    assert_taken(&[format!("{front}{pairs},\"datapoint_pairs\":{ROW}}}}}")]);
}

#[test]
fn a_datapoint_is_a_list_of_ids_that_are_there() {
    let row = |value: &str| with(ROW, value);
    assert_reason(Reason::Entry, &["[7]", "[\"0\"]", "[null]", "[{}]", "[{\"0\":1}]", "[true]"].map(row));
    assert_reason(
        Reason::Id,
        &[
            "[[1.0]]",
            "[[true]]",
            "[[null]]",
            "[[\"\"]]",
            "[[\"01\"]]",
            "[[\"+1\"]]",
            "[[-1]]",
            "[[\"a\"]]",
            "[[[1]]]",
            "[[1e0]]",
            "[[4294967296]]",
            "[[{}]]",
            "[[-0]]",
            "[[\"\\ud800\"]]",
        ]
        .map(row),
    );
    assert_reason(Reason::UnknownId, &["[[11]]", "[[\"77\"]]", "[[0,1,2,3,4,5,6,7,8,9,10],[11]]"].map(row));
    assert_taken(&[
        row("[[\"0\",\"1\",2,3,4,5,6,7,8,9,\"\\u0031\\u0030\"]]"),
        row("[[10,9,8,7,6,5,4,3,2,1]]"),
    ]);
    // Ids that are not contiguous, and not in order.
    let (front, pairs) = GOOD.split_once("{\"0\":").unwrap();
    let pairs = format!("{{\"4000000000\":{pairs}").replace("\"9\":", "\"11\":").replace("\"1\":", "\"12\":");
    let front = front.replace(ROW, "[[4000000000,12,2,3,4,5,6,7,8,11,10]]");
    assert_taken(&[format!("{front}{pairs}")]);
}

#[test]
fn a_pair_is_a_list_of_two() {
    let pair = |value: &str| with("[\"release\",\"6.1\"]", value);
    assert_reason(
        Reason::Pair,
        &["[]", "[\"a\"]", "[\"a\",\"b\",\"c\"]", "{\"a\":\"b\"}", "\"ab\"", "7", "null", "[[],[],[]]"]
            .map(pair),
    );
    assert_reason(
        Reason::Key,
        &["[7,\"b\"]", "[null,\"b\"]", "[true,\"b\"]", "[1.5,\"b\"]", "[[],\"b\"]", "[{\"a\":[1]},\"b\"]"]
            .map(pair),
    );
    // What no datapoint has harms nobody.
    let unused = |value: &str| with("{\"0\":", &format!("{{\"77\":{value},\"x\":{value},\"0\":"));
    assert_taken(&["[]", "7", "[[],1]", "[1,2]", "[\"a\",\"\\ud800\"]"].map(unused));
}

#[test]
fn half_a_character_is_no_text() {
    for text in ["\"\\ud800\"", "\"x\\udfffy\"", "\"\\udc00\\ud800\""] {
        assert_reason(Reason::Surrogate, &NAMES.map(|key| with_pair(key, text)));
        let metadata = [with_pair("release", text), with("\"release\"", text)];
        assert_reason(Reason::Surrogate, &metadata);
        assert_taken(&[with_value(text)]); // no number: the server leaves the value out
    }
    assert_taken(&[with_pair("release", "\"\\ud83d\\ude00\"")]);
}

#[test]
fn what_names_a_series_is_a_text_that_fits() {
    for value in ["7", "null", "true", "[]", "{}"] {
        assert_reason(Reason::Name, &NAMES.map(|key| with_pair(key, value)));
    }
    for (length, taken) in [(512, true), (513, false)] {
        let bodies = NAMES.map(|key| with_pair(key, &format!("\"{}\"", "x".repeat(length))));
        if taken { assert_taken(&bodies) } else { assert_reason(Reason::TooLong, &bodies) }
    }
}

#[test]
fn metadata_is_cut_to_characters_and_kept_in_bytes() {
    let value = |text: &str| with_pair("release", &format!("\"{text}\""));
    let key = |text: &str| with("\"release\"", &format!("\"{text}\""));
    let long = "x".repeat(5000);
    assert_taken(&[
        value(&long),
        key(&long),
        value(&"é".repeat(256)),
        key(&"é".repeat(256)),
        value(&format!("{}é", "x".repeat(512))),
    ]);
    assert_reason(
        Reason::TooLong,
        &[
            value(&"é".repeat(257)),
            key(&"é".repeat(257)),
            value(&format!("{}é", "x".repeat(511))),
            key(&"İ".repeat(256)),
        ],
    );
}

#[test]
fn values_are_numbers_that_the_server_can_keep() {
    assert_taken(
        &[
            "-0",
            "1e-999",
            "9.9e29",
            "-9.9e29",
            "12345678901234567890",
            "null",
            "true",
            "[]",
            "{\"a\":[1e300]}",
            "\"\"",
            "\"1.5\"",
            "\"nano\"",
            "\"N a N\"",
            "\"12é\"",
            "\"1e29\"",
        ]
        .map(with_value),
    );
    assert_reason(
        Reason::OutOfRange,
        &["1e30", "-1e30", "1e308", "\"1e40\"", "\"-1_0e3_1\"", "\"٣e٩٩٩\""].map(with_value),
    );
    assert_reason(Reason::Nan, &["\"NaN\"", "\" nan\\n\"", "\"-nAn\"", "\"+NAN\\u001c\""].map(with_value));
    assert_reason(
        Reason::Infinite,
        &["\"inf\"", "\"-Infinity\"", "\"1e999\"", "\" infinity \"", &format!("\"{}\"", "9".repeat(400))]
            .map(with_value),
    );
    // The server does not look at the value of a text's type.
    for kind in ["2", "2.0", "null"] {
        let text = |value: &str| with_pair("pattoo_data_type", kind).replace("1.5", value);
        assert_taken(&["\"NaN\"", "\"inf\"", "1e300", "\"\\ud800\""].map(text));
        assert_reason(Reason::Nan, &[text("NaN")]);
    }
}

#[test]
fn datapoints_that_the_server_leaves_out_are_counted() {
    let two = |second: &str| with(ROW, &format!("[[0,1,2,3,4,5,6,7,8,9,10],{second}]"));
    let without = |ignored: Ignored| Ok(Post { ignored, ..good() });
    for row in ["[]", "[0]", "[1,2,3,4,5,6,7,8,9]", "[0,2,3,4,5,6,7,8,9,10]"] {
        assert_eq!(judged(&two(row)), without(Ignored { keys: 1, ..Ignored::default() }), "{row}");
    }
    for kind in ["7", "\"99\"", "true", "[99]", "99.5", "-99"] {
        let body = two("[0,1,2,3,4,5,6,77,8,9,10]")
            .replace("{\"0\":", &format!("{{\"77\":[\"pattoo_data_type\",{kind}],\"0\":"));
        assert_eq!(judged(&body), without(Ignored { data_type: 1, ..Ignored::default() }), "{kind}");
    }
    for kind in ["101", "64", "32", "99.0", "0.99e2"] {
        assert_taken(&[with_pair("pattoo_data_type", kind)]);
    }
    for value in ["7", "null", "true", "[\"a\"]", "{}"] {
        let bare = Ignored { metadata: 1, ..Ignored::default() };
        assert_eq!(judged(&with_pair("release", value)), without(bare), "{value}");
    }
    // What is wrong with a datapoint that is left out harms nobody; that its ids lead nowhere does.
    let faulty = with(ROW, "[[0,1,2,3,4,5,6,7,8,9,10],[77,78,79]]").replace(
        "{\"0\":",
        "{\"77\":[7,\"\"],\"78\":[\"pattoo_timestamp\",\"x\"],\"79\":[\"a\",\"\\ud800\"],\"0\":",
    );
    assert_eq!(judged(&faulty), without(Ignored { keys: 1, ..Ignored::default() }));
    assert_eq!(judged(&with(ROW, "[[0],[1]]")).unwrap().datapoints, 0);
}

#[test]
fn of_a_key_that_a_datapoint_has_twice_the_last_counts() {
    let row = |ids: &str| {
        with(ROW, &format!("[[{ids}]]")).replace("{\"0\":", "{\"77\":[\"pattoo_timestamp\",\"x\"],\"0\":")
    };
    assert_taken(&[row("77,0,1,2,3,4,5,6,7,8,9,10"), row("0,0,1,1,2,3,4,5,6,7,8,9,10")]);
    assert_reason(Reason::Timestamp, &[row("0,1,2,3,4,5,6,7,8,9,10,77")]);
}

#[test]
fn all_datapoints_are_of_one_agent() {
    let two = |id: &str| {
        with(ROW, "[[0,1,2,3,4,5,6,7,8,9,10],[0,1,2,77,4,5,6,7,8,9,10]]")
            .replace("{\"0\":", &format!("{{\"77\":[\"pattoo_agent_id\",\"{id}\"],\"0\":"))
    };
    assert_reason(Reason::MixedAgents, &[two("a2")]);
    assert_eq!(judged(&two("\\u00611")), Ok(Post { datapoints: 2, ..good() }));
    // Another than the post's is the sender's own affair.
    assert_taken(&[with_pair("pattoo_agent_id", "\"b\"")]);
}

/// Any small JSON in the place of any part of a post.
fn odd() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        Just(json!(true)),
        Just(json!([])),
        Just(json!([[]])),
        Just(json!({})),
        Just(json!("x")),
        Just(json!("1")),
        (-2..20_i64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
    ]
}

proptest! {
    #[test]
    fn a_post_changed_anywhere_is_judged_without_a_panic(
        row in prop::collection::vec(0..13_u32, 0..16),
        at in 0..11_usize,
        key in odd(),
        value in odd(),
        pretty in any::<bool>(),
    ) {
        let mut post: Value = serde_json::from_str(GOOD).unwrap();
        let datapoints = &mut post["pattoo_datapoints"];
        datapoints["datapoint_pairs"].as_array_mut().unwrap().push(json!(row));
        datapoints["key_value_pairs"]["11"] = json!([key, value]);
        datapoints["key_value_pairs"][at.to_string()][1] = value;
        let text = if pretty { serde_json::to_string_pretty(&post) } else { serde_json::to_string(&post) };
        let verdict = judged(&text.unwrap());
        prop_assert!(verdict.is_err() || !row.contains(&12), "an id that leads nowhere");
        if let Ok(post) = verdict {
            prop_assert_eq!(post.datapoints + post.ignored.keys + post.ignored.data_type, 2);
        }
    }
}
