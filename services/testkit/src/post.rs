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
    rest.split(',').next().unwrap().trim().parse().unwrap()
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

/// Series of a host with some disks, interfaces and partitions.
const SERIES: usize = 150;

/// Keys of a real spoke that the first series have, so that what a hub wants of a post is in these.
const REAL: [&str; 14] = [
    "load_average_01min",
    "cpu_times_percent_idle",
    "cpu_times_percent_iowait",
    "memory_percent",
    "swap_memory_percent",
    "disk_partition_disk_usage_percent",
    "disk_io_read_bytes",
    "disk_io_write_bytes",
    "disk_io_busy_time",
    "network_io_bytes_sent",
    "network_io_bytes_recv",
    "network_io_errin",
    "network_io_errout",
    "network_io_dropin",
];

/// Stands in a template for the stamp.
const STAMP: &str = "{stamp}";

/// The posts of one host, as large as those of an original spoke on a host with some disks, interfaces and
/// partitions: 51 KB, which zstd packs to 9.5 KB. What cannot be packed in them are the checksums, as in real ones.
#[derive(Debug)]
pub struct HostPosts(Vec<String>);

impl HostPosts {
    /// Those of `agent_id`.
    pub fn of(agent_id: &str) -> Self {
        let mut noise = agent_id.bytes().fold(1_u64, |seed, byte| seed.wrapping_mul(257) + u64::from(byte));
        let mut hex = || {
            let digits: [u64; 4] = std::array::from_fn(|_| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (noise ^ (noise >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb)
            });
            digits.map(|part| format!("{part:016x}")).concat()
        };
        let shared = [
            ("pattoo_agent_polling_interval", "\"300000\""),
            ("pattoo_agent_hostname", &format!("\"{agent_id}\"")),
            ("pattoo_agent_id", &format!("\"{agent_id}\"")),
            ("pattoo_agent_polled_target", &format!("\"{agent_id}\"")),
            ("pattoo_agent_program", "\"pattoo_agent_os_spoked\""),
            ("pattoo_data_type", "99"),
            ("pattoo_timestamp", STAMP),
        ];
        let mut texts: Vec<String> =
            shared.iter().map(|(key, value)| format!("[\"{key}\",{value}]")).collect();
        let mut pairs = Vec::new();
        for series in 0..SERIES {
            let id = texts.len();
            let made_up = format!("pattoo_agent_os_disk_io_read_bytes_{series}");
            let key = REAL.get(series).map_or(made_up.as_str(), |key| key);
            texts.push(format!("[\"pattoo_key\",\"{key}\"]"));
            texts.push(format!("[\"pattoo_agent_os_partition_mountpoint\",\"/srv/volume-{series}\"]"));
            texts.push(format!("[\"pattoo_agent_os_partition_device\",\"volume-{series}\"]"));
            texts.push(format!("[\"pattoo_checksum\",\"{}\"]", hex()));
            texts.push(format!("[\"pattoo_value\",{}.5]", series * 7919));
            let own: Vec<String> = (id..texts.len()).map(|id| id.to_string()).collect();
            pairs.push(format!("[0,1,2,3,4,5,6,{}]", own.join(",")));
        }
        let texts: Vec<String> =
            texts.iter().enumerate().map(|(id, text)| format!("\"{id}\":{text}")).collect();
        let text = format!(
            "{{\"pattoo_agent_id\":\"{agent_id}\",\"pattoo_agent_polling_interval\":300000,\
             \"pattoo_agent_timestamp\":{STAMP},\"pattoo_datapoints\":{{\
             \"datapoint_pairs\":[{}],\"key_value_pairs\":{{{}}}}}}}\n",
            pairs.join(","),
            texts.join(",")
        );
        Self(text.split(STAMP).map(str::to_owned).collect())
    }

    /// The one with that stamp (ms).
    pub fn at(&self, stamp: u64) -> Vec<u8> {
        self.0.join(&stamp.to_string()).into_bytes()
    }
}
