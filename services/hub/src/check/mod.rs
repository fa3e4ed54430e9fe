//! Would the pattoo server take this body, and would it do harm there?
//!
//! The body is read once from front to end, as Python's `json` would read it, without building a tree. What
//! the server itself refuses is told apart from what it answers with 200 and then chokes on.

mod number;
mod pair;
mod read;
mod rules;
#[cfg(test)]
mod tests;
mod walk;

use std::borrow::Cow;
use std::time::Duration;

use agent::identity::is_agent_id;
use read::Text;
use walk::Walk;

/// Deeper nesting than this is no post; a real one has five levels.
const MAX_DEPTH: usize = 128;

/// What the hub needs to know of a post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// `pattoo_agent_id` of the body, which names its lane.
    pub agent_id: String,
    /// The latest of `pattoo_agent_timestamp` and its datapoints' `pattoo_timestamp`, in ms since 1970.
    pub stamp: u64,
    /// `pattoo_agent_polling_interval` of the body, in ms.
    pub interval: u64,
    /// How many of its datapoints the server takes. Of a post without any the server never gets rid.
    pub datapoints: usize,
    /// What the server leaves out of it.
    pub ignored: Ignored,
}

/// When a post was made, and how long it takes until its sender makes the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The latest of all its stamps, in milliseconds since 1970.
    pub ms: u64,
    /// The polling interval that it names.
    pub interval: Duration,
}

/// What the server leaves out of a post that it takes, in datapoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// Left out: one of the ten keys is missing.
    pub keys: usize,
    /// Left out: the data type is unknown.
    pub data_type: usize,
    /// Taken, without a metadata value that is no text.
    pub metadata: usize,
}

/// Why a body is not taken. The closed list is the log's word, the metric's label and part of a file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// No JSON, or not in UTF-8.
    #[error("the body is not JSON")]
    NotJson,
    /// JSON, but no object.
    #[error("the body is JSON, but not an object")]
    NotObject,
    /// An object with other keys than a post has.
    #[error("the body has not exactly the four keys of a post")]
    Keys,
    /// A value that is NaN: it hangs the server's ingester.
    #[error("a number is NaN")]
    Nan,
    /// A number that is infinite, or too large for 64 bits.
    #[error("a number is infinite")]
    Infinite,
    /// Nested beyond reason.
    #[error("the body is nested too deeply")]
    TooDeep,
    /// An agent id that could become a path, or none at all.
    #[error("pattoo_agent_id is not an agent id")]
    AgentId,
    /// It would be part of a file's name there, unread.
    #[error("pattoo_agent_timestamp is not a whole number of milliseconds")]
    AgentTimestamp,
    /// Of the post or of a datapoint: the server makes an integer of it, and stops where it cannot.
    #[error("a polling interval is not a whole number that the server can hold")]
    Interval,
    /// The server loses the whole post.
    #[error("pattoo_datapoints has not exactly a list datapoint_pairs and an object key_value_pairs")]
    Datapoints,
    /// A number there stops the server.
    #[error("an entry of datapoint_pairs is not a list")]
    Entry,
    /// Neither a whole number nor its digits: the server loses the whole post.
    #[error("a datapoint has something else than ids")]
    Id,
    /// The server loses the whole post.
    #[error("a datapoint has an id that key_value_pairs has not")]
    UnknownId,
    /// The server loses the whole post.
    #[error("a datapoint has a pair that is not a list of two")]
    Pair,
    /// The server can neither hash nor sort it, and stops.
    #[error("the key of a pair is not a text")]
    Key,
    /// The server compares it with a number, and stops where it cannot.
    #[error("a pattoo_timestamp is not a whole number of milliseconds")]
    Timestamp,
    /// The server cannot encode it, and stops.
    #[error("a text has half of a character (a lone surrogate)")]
    Surrogate,
    /// The server encodes it as a text, and stops where it is none.
    #[error("what names a series is not a text")]
    Name,
    /// It does not fit into the server's column of 512 bytes, and stops it.
    #[error("a text is too long for the server")]
    TooLong,
    /// It does not fit into the server's column of 40 digits, and stops it.
    #[error("a value is too large for the server")]
    OutOfRange,
    /// The server looks up the series of the first alone, and fails on the others' when a post comes twice.
    #[error("the datapoints of one post are of several agents")]
    MixedAgents,
}

/// What the pattoo server answers to a body that the hub does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerSays {
    /// 500: it refuses the body.
    Error,
    /// 404: it refuses JSON that is no object.
    NotFound,
    /// 200: it takes the body, to its own harm.
    Ok,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 21] = [
        Self::NotJson,
        Self::NotObject,
        Self::Keys,
        Self::Nan,
        Self::Infinite,
        Self::TooDeep,
        Self::AgentId,
        Self::AgentTimestamp,
        Self::Interval,
        Self::Datapoints,
        Self::Entry,
        Self::Id,
        Self::UnknownId,
        Self::Pair,
        Self::Key,
        Self::Timestamp,
        Self::Surrogate,
        Self::Name,
        Self::TooLong,
        Self::OutOfRange,
        Self::MixedAgents,
    ];

    /// The reason as one word.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::NotObject => "not_object",
            Self::Keys => "keys",
            Self::Nan => "nan",
            Self::Infinite => "infinite",
            Self::TooDeep => "too_deep",
            Self::AgentId => "agent_id",
            Self::AgentTimestamp => "agent_timestamp",
            Self::Interval => "interval",
            Self::Datapoints => "datapoints",
            Self::Entry => "entry",
            Self::Id => "id",
            Self::UnknownId => "unknown_id",
            Self::Pair => "pair",
            Self::Key => "key",
            Self::Timestamp => "timestamp",
            Self::Surrogate => "surrogate",
            Self::Name => "name",
            Self::TooLong => "too_long",
            Self::OutOfRange => "out_of_range",
            Self::MixedAgents => "mixed_agents",
        }
    }

    /// What the pattoo server answers to such a body.
    pub fn server_says(self) -> ServerSays {
        match self {
            Self::NotJson | Self::Keys => ServerSays::Error,
            Self::NotObject => ServerSays::NotFound,
            _ => ServerSays::Ok,
        }
    }
}

impl Post {
    /// When it was made.
    pub fn stamp(&self) -> Stamp {
        Stamp { ms: self.stamp, interval: Duration::from_millis(self.interval) }
    }
}

/// One number of a post.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    agent_id: Text<'a>,
    hostname: Text<'a>,
    key: Text<'a>,
    instance: Option<Text<'a>>,
    /// Whether it is of a partition that cannot be written to.
    pub is_read_only: bool,
    /// Whether it is of a counter, which only grows.
    pub is_counter: bool,
    /// The number.
    pub value: f64,
}

impl<'a> Seen<'a> {
    /// Whose it is.
    pub fn agent_id(&self) -> Cow<'a, str> {
        self.agent_id.decode().unwrap_or_default()
    }

    /// The name of the host that it is of.
    pub fn hostname(&self) -> Cow<'a, str> {
        self.hostname.decode().unwrap_or_default()
    }

    /// What it is, as `pattoo_key` says.
    pub fn key(&self) -> Cow<'a, str> {
        self.key.decode().unwrap_or_default()
    }

    /// The mount point, disk or interface that it is of; empty where there is none.
    pub fn instance(&self) -> Cow<'a, str> {
        self.instance.and_then(Text::decode).unwrap_or_default()
    }
}

/// Judges a body.
///
/// # Errors
/// Why it is not taken.
pub fn check(body: &[u8]) -> Result<Post, Reason> {
    check_with(body, |_| ())
}

/// Judges a body, and shows each of its numbers on the way: of a body that is not taken, too, as far as that goes.
///
/// # Errors
/// Why it is not taken. Where there are several reasons, what the server itself would refuse comes first,
/// since that is the answer that a sender gets.
pub fn check_with<'a>(body: &'a [u8], mut seen: impl FnMut(&Seen<'a>)) -> Result<Post, Reason> {
    let text = std::str::from_utf8(body).map_err(|_| Reason::NotJson)?;
    // Python skips a byte order mark; the server, given one, is content.
    let mut walk = Walk::new(text.strip_prefix('\u{feff}').unwrap_or(text));
    let found = walk.body().map_err(|_| Reason::NotJson)?.ok_or(Reason::NotObject)?;
    if found.other_key || found.seen.contains(&false) {
        return Err(Reason::Keys);
    }
    // Bad wherever they stand, also in what the server would not look at.
    if walk.nan {
        return Err(Reason::Nan);
    }
    if walk.infinite {
        return Err(Reason::Infinite);
    }
    if walk.deepest > MAX_DEPTH {
        return Err(Reason::TooDeep);
    }
    let agent_id = found.agent_id.filter(|id| is_agent_id(id)).ok_or(Reason::AgentId)?;
    let stamp = found.agent_timestamp.ok_or(Reason::AgentTimestamp)?;
    let interval = found.interval.ok_or(Reason::Interval)?;
    let judged = rules::judge(&found.datapoints, &mut seen)?;
    Ok(Post {
        agent_id,
        stamp: stamp.max(judged.stamp),
        interval,
        datapoints: judged.taken,
        ignored: judged.ignored,
    })
}
