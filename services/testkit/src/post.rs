//! Made-up posts.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, as stamps count.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// A whole post of `agent_id` with one datapoint, told apart by its stamp (ms), with `filler` bytes more than
/// it needs. The server would take it.
pub fn post(agent_id: &str, stamp: u64, filler: usize) -> Vec<u8> {
    post_with(agent_id, stamp, &"x".repeat(filler))
}

/// As [`post`], with a filler that a test chooses: one of chance is packed to half of its length.
pub fn post_with(agent_id: &str, stamp: u64, filler: &str) -> Vec<u8> {
    let texts = [
        ("filler", filler),
        ("pattoo_agent_polling_interval", "1000"),
        ("pattoo_agent_hostname", agent_id),
        ("pattoo_agent_id", agent_id),
        ("pattoo_agent_polled_target", agent_id),
        ("pattoo_agent_program", "pattoo_agent_os_spoked"),
        ("pattoo_key", "memory_used"),
        ("pattoo_checksum", agent_id),
    ];
    let texts = texts.iter().enumerate().map(|(id, (key, text))| format!("\"{id}\":[\"{key}\",\"{text}\"],"));
    let texts = texts.collect::<String>();
    format!(
        "{{\"pattoo_agent_id\":\"{agent_id}\",\"pattoo_agent_polling_interval\":1000,\
         \"pattoo_agent_timestamp\":{stamp},\"pattoo_datapoints\":{{\
         \"datapoint_pairs\":[[0,1,2,3,4,5,6,7,8,9,10]],\"key_value_pairs\":{{{texts}\
         \"8\":[\"pattoo_data_type\",99],\"9\":[\"pattoo_timestamp\",{stamp}],\
         \"10\":[\"pattoo_value\",1.5]}}}}}}\n"
    )
    .into_bytes()
}

/// The stamp of a post that [`post`] made.
///
/// # Panics
/// It is none.
pub fn stamp(body: &[u8]) -> u64 {
    let text = std::str::from_utf8(body).unwrap();
    let (_, rest) = text.split_once("\"pattoo_agent_timestamp\":").expect("a post has a stamp");
    rest.split(',').next().unwrap().parse().unwrap()
}

/// The agent id of a post that [`post`] made.
///
/// # Panics
/// It is none.
pub fn agent_id(body: &[u8]) -> String {
    let text = std::str::from_utf8(body).unwrap();
    let (_, rest) = text.split_once("\"pattoo_agent_id\":\"").expect("a post has an agent id");
    rest.split('"').next().unwrap().to_owned()
}
