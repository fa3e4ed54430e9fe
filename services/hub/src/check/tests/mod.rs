//! Each rule with its reason, and what is harmless.

mod json;
mod rules;

use super::*;

/// A post with one datapoint, the ids of its pairs as [`pairs`] gives them.
const GOOD: &str = r#"{"pattoo_agent_id":"a1","pattoo_agent_polling_interval":300000,"pattoo_agent_timestamp":1795349433125,"pattoo_datapoints":{"datapoint_pairs":[[0,1,2,3,4,5,6,7,8,9,10]],"key_value_pairs":{"0":["release","6.1"],"1":["pattoo_agent_polling_interval","300000"],"2":["pattoo_agent_hostname","h"],"3":["pattoo_agent_id","a1"],"4":["pattoo_agent_polled_target","h"],"5":["pattoo_agent_program","pattoo_agent_os_spoked"],"6":["pattoo_key","memory_used"],"7":["pattoo_data_type",99],"8":["pattoo_value",1.5],"9":["pattoo_timestamp",1795349433000],"10":["pattoo_checksum","c"]}}}
"#;

/// [`GOOD`] with one piece replaced, which must be there.
fn with(piece: &str, by: &str) -> String {
    assert_eq!(GOOD.matches(piece).count(), 1, "{piece}");
    GOOD.replace(piece, by)
}

fn with_value(value: &str) -> String {
    with("1.5", value)
}

fn judged(body: &str) -> Result<Post, Reason> {
    check(body.as_bytes())
}

fn reason(body: &str) -> Option<Reason> {
    judged(body).err()
}

fn good() -> Post {
    Post {
        agent_id: "a1".to_owned(),
        stamp: 1_795_349_433_125,
        interval: 300_000,
        datapoints: 1,
        ignored: Ignored::default(),
    }
}

#[test]
fn a_post_is_taken_and_names_its_agent() {
    assert_eq!(judged(GOOD), Ok(good()));
    let captured =
        check(include_bytes!("../../../../../.ci/checks/fixtures/original-spoke-300.json")).unwrap();
    assert_eq!((captured.agent_id.len(), captured.stamp), (64, 1_795_349_433_125));
    assert_eq!((captured.datapoints, captured.ignored), (103, Ignored::default()));
}

#[test]
fn keys_and_ids_are_decoded() {
    let escaped = with(r#""pattoo_agent_id":"a1""#, r#""\u0070attoo_agent_id":"\u0061\u0031""#)
        .replace(r#"["pattoo_value""#, r#"["p\u0061ttoo_value""#)
        .replace(r#""datapoint_pairs""#, r#""datapoint\u005fpairs""#)
        .replace(r#""8":"#, r#""\u0038":"#);
    assert_eq!(judged(&escaped), Ok(good()));
}

#[test]
fn of_a_key_given_twice_the_last_counts() {
    let first = |text: &str| GOOD.replacen('{', &format!("{{{text},"), 1);
    let last = |text: &str| GOOD.trim_end().strip_suffix('}').unwrap().to_owned() + "," + text + "}";
    for text in [
        r#""pattoo_agent_id":"first""#,
        r#""pattoo_agent_id":7"#,
        r#""pattoo_agent_timestamp":"x""#,
        r#""pattoo_agent_polling_interval":[]"#,
        r#""pattoo_datapoints":{"datapoint_pairs":[7,[77]],"key_value_pairs":{"0":1},"more":1}"#,
    ] {
        assert_eq!(judged(&first(text)), Ok(good()), "{text}");
    }
    for (text, wanted) in [
        (r#""pattoo_agent_id":7"#, Reason::AgentId),
        (r#""pattoo_agent_id":["b"]"#, Reason::AgentId),
        (r#""pattoo_agent_timestamp":"x""#, Reason::AgentTimestamp),
        (r#""pattoo_agent_polling_interval":1.5"#, Reason::Interval),
        (r#""pattoo_datapoints":[]"#, Reason::Datapoints),
    ] {
        assert_eq!(reason(&last(text)), Some(wanted), "{text}");
    }
    assert_eq!(judged(&last(r#""pattoo_agent_id":"b""#)).unwrap().agent_id, "b");
    // Within pattoo_datapoints, and among the pairs.
    let bad_first = [
        with(r#"{"datapoint_pairs""#, r#"{"datapoint_pairs":[{}],"datapoint_pairs""#),
        with(r#""key_value_pairs":"#, r#""key_value_pairs":7,"key_value_pairs":"#),
        with(r#"{"0":"#, r#"{"8":["pattoo_value",1e40],"0":7,"10":[],"0":"#),
    ];
    for body in &bad_first {
        assert_eq!(judged(body), Ok(good()), "{body}");
    }
    assert_eq!(reason(&with(r#""c"]}"#, r#""c"],"0":["release"]}"#)), Some(Reason::Pair));
}

#[test]
fn each_bad_body_has_its_reason() {
    let deep = |depth: usize| with_value(&format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
    let cases: &[(&str, Reason)] = &[
        ("", Reason::NotJson),
        ("hello", Reason::NotJson),
        (&GOOD[..GOOD.len() / 2], Reason::NotJson),
        (&format!("{GOOD}x"), Reason::NotJson),
        (&with_value("01"), Reason::NotJson),
        (&with_value("1."), Reason::NotJson),
        (&with_value("-"), Reason::NotJson),
        (&with_value("+1"), Reason::NotJson),
        (&with_value("-NaN"), Reason::NotJson),
        (&with_value("[1,]"), Reason::NotJson),
        (&with_value("{\"a\":1,}"), Reason::NotJson),
        (&with_value("\"\t\""), Reason::NotJson),
        (&with_value("\"\\x\""), Reason::NotJson),
        (&with_value("\"\\u12g4\""), Reason::NotJson),
        ("[]", Reason::NotObject),
        ("[{\"a\":1}]", Reason::NotObject),
        ("7", Reason::NotObject),
        ("NaN", Reason::NotObject),
        ("null", Reason::NotObject),
        ("{}", Reason::Keys),
        (&GOOD.replacen('{', "{\"more\":1,", 1), Reason::Keys),
        (&GOOD.replace("pattoo_agent_timestamp", "stamp"), Reason::Keys),
        (&with_value("NaN"), Reason::Nan),
        (&with("6.1\"]", "6.1\"],\"77\":[\"nobody\",[NaN]]"), Reason::Nan),
        (&with_value("Infinity"), Reason::Infinite),
        (&with_value("-Infinity"), Reason::Infinite),
        (&with_value("1e999"), Reason::Infinite),
        (&with_value("-1E+400"), Reason::Infinite),
        (&with_value(&"9".repeat(400)), Reason::Infinite),
        (&deep(200), Reason::TooDeep),
        (&deep(100_000), Reason::TooDeep),
        (&with("{\"pattoo_agent_id\":\"a1\"", "{\"pattoo_agent_id\":\"../a\""), Reason::AgentId),
        (&with("{\"pattoo_agent_id\":\"a1\"", "{\"pattoo_agent_id\":\"\\ud800\""), Reason::AgentId),
        (&with("{\"pattoo_agent_id\":\"a1\"", "{\"pattoo_agent_id\":null"), Reason::AgentId),
        (&with("{\"pattoo_agent_id\":\"a1\"", "{\"pattoo_agent_id\":\"\""), Reason::AgentId),
        // Several faults: what the server itself refuses comes first.
        (&with_value("NaN").replace("pattoo_agent_timestamp", "stamp"), Reason::Keys),
        (&format!("[{}]", with_value("NaN")), Reason::NotObject),
        (&(with_value("NaN") + "x"), Reason::NotJson),
    ];
    for (body, wanted) in cases {
        assert_eq!(reason(body), Some(*wanted), "{}", body.chars().take(200).collect::<String>());
    }
    assert_eq!(check(b"\xff").unwrap_err(), Reason::NotJson);
}

#[test]
fn each_reason_has_a_label_of_its_own() {
    let mut labels = Reason::ALL.map(Reason::label).to_vec();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), Reason::ALL.len());
    assert!(labels.iter().all(|label| label.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase())));
}
