//! The fleet as one list: every target, and every source that posts here, with its state and its last numbers.

use std::cmp::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use crate::api::ask::Ask;
use crate::history::{Last, Recorder};
use crate::lookup::Said;
use crate::poll::State;
use crate::settings::InForce;
use crate::sources::Sources;
use crate::target::Target;
use crate::targets::{Row, Targets};

/// How somebody is doing. The closed list is the API's word and the page's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    Failing,
    Late,
    Unknown,
    Up,
}

impl Standing {
    pub(crate) const ALL: [Self; 4] = [Self::Failing, Self::Late, Self::Unknown, Self::Up];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Late => "late",
            Self::Unknown => "unknown",
            Self::Up => "up",
        }
    }
}

/// A target, or a source that posts here.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// The host's name where it is known, else the target's or the agent id.
    pub(crate) host: String,
    /// What is polled; none for a source that posts here.
    pub(crate) target: Option<Target>,
    pub(crate) agent_id: Option<String>,
    pub(crate) standing: Standing,
    /// Why it is not up, in words; empty where it is.
    pub(crate) reason: String,
    /// For how long it is as it is.
    pub(crate) since: Option<Duration>,
    /// How long ago the last poll ended, or the last post came.
    pub(crate) last: Option<Duration>,
    /// How long the last poll took.
    pub(crate) took: Option<Duration>,
    /// How large the last post was.
    pub(crate) bytes: Option<usize>,
    /// The last numbers, where history knows any that are not too old.
    pub(crate) row: Option<crate::history::Row>,
}

/// A name of which every address is a target.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) name: Target,
    pub(crate) addresses: usize,
    pub(crate) left_out: usize,
    pub(crate) said: Said,
}

/// What a question brought.
#[derive(Debug)]
pub(crate) struct Found {
    /// How many there are in each state, in the order of [`Standing::ALL`], whatever was asked.
    pub(crate) counts: [usize; 4],
    /// How many match.
    pub(crate) matched: usize,
    /// Those that were asked for, in order.
    pub(crate) members: Vec<Member>,
}

/// From what the list is put together.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    pub(crate) settings: InForce,
    pub(crate) targets: Targets,
    pub(crate) sources: Sources,
    pub(crate) recorder: Recorder,
}

/// Numbers of a host that was silent for longer than this, and than three intervals, are none any more.
const STALE: Duration = Duration::from_secs(60);

impl Fleet {
    /// Everybody, and the names that stand for several.
    pub(crate) fn all(&self) -> (Vec<Member>, Vec<Name>) {
        let settings = self.settings.borrow().clone();
        let late = settings.interval * 2 + settings.poll_timeout;
        let (mut members, mut names) = (Vec::new(), Vec::new());
        for row in self.targets.rows() {
            match row {
                Row::Target { target, state, since, last, gave } => {
                    let (polled, took) = last.map(|last| (last.ended, last.took)).unzip();
                    let member = of_target(target, &state, (since, polled, took), late);
                    // Who fails is who it was.
                    let gave = gave.filter(|_| matches!(state, State::Failing(_)));
                    let agent_id = member.agent_id.or_else(|| gave.map(|gave| gave.to_string()));
                    members.push(Member { agent_id, ..member });
                }
                Row::Name { name, addresses, left_out, said } => {
                    names.push(Name { name, addresses, left_out, said });
                }
            }
        }
        for (agent_id, heard) in self.sources.all() {
            let is_late = heard.is_late();
            members.push(Member {
                host: agent_id.clone(),
                target: None,
                agent_id: Some(agent_id),
                standing: if is_late { Standing::Late } else { Standing::Up },
                reason: if is_late { "it posts no more".to_owned() } else { String::new() },
                since: Some(heard.since().elapsed()),
                last: Some(heard.last.elapsed()),
                took: None,
                bytes: Some(heard.bytes),
                row: None,
            });
        }
        let stale = STALE.max(settings.interval * 3);
        let lasts = self.recorder.lasts(members.iter().map(|member| member.agent_id.as_deref()), stale);
        for (member, last) in members.iter_mut().zip(lasts) {
            let Some(Last { hostname, row }) = last else { continue };
            if !hostname.is_empty() {
                member.host = hostname;
            }
            // What an agent that fails said last says nothing about now.
            member.row = row.filter(|_| member.standing != Standing::Failing);
        }
        (members, names)
    }

    /// Those that are asked for.
    pub(crate) fn find(&self, ask: &Ask) -> (Found, Vec<Name>) {
        let (mut members, names) = self.all();
        let counts =
            Standing::ALL.map(|standing| members.iter().filter(|member| member.standing == standing).count());
        let q = ask.q.trim().to_lowercase();
        members.retain(|member| {
            (ask.state.is_empty() || ask.state == member.standing.label())
                && (q.is_empty() || member.texts().any(|text| text.to_lowercase().contains(&q)))
        });
        let matched = members.len();
        // Stable: who is equal stays in the configuration's order.
        members.sort_by(|one, other| {
            let order = one.compare(other, &ask.sort);
            if ask.falling { order.reverse() } else { order }
        });
        let members = members.into_iter().skip(ask.offset).take(ask.limit()).collect();
        (Found { counts, matched, members }, names)
    }
}

fn of_target(
    target: Target,
    state: &State,
    (since, polled, took): (Option<Instant>, Option<Instant>, Option<Duration>),
    late: Duration,
) -> Member {
    let last = polled.map(|polled| polled.elapsed());
    let is_late = last.is_some_and(|last| last > late);
    let standing = match state {
        State::Unknown => Standing::Unknown,
        _ if state.failure().is_some() => Standing::Failing,
        _ if is_late => Standing::Late,
        _ => Standing::Up,
    };
    let (agent_id, bytes) = match state {
        State::Up { agent_id, bytes, .. } => (Some(agent_id.clone()), Some(*bytes)),
        // The posts of this id are another target's.
        State::Contested { goes_up: true, agent_id, .. } => (Some(agent_id.clone()), None),
        _ => (None, None),
    };
    let reason = match (standing, state) {
        (Standing::Late, _) => "its polls are overdue".to_owned(),
        (Standing::Unknown, _) => "not polled yet".to_owned(),
        _ => why(state),
    };
    Member {
        host: target.host.to_string(),
        target: Some(target),
        agent_id,
        standing,
        reason,
        since: since.map(|since| since.elapsed()),
        last,
        took,
        bytes,
        row: None,
    }
}

/// What is worth saying of a state beside its word.
fn why(state: &State) -> String {
    match state {
        State::Failing(failure) => failure.to_string(),
        State::Contested { agent_id, first, goes_up } => {
            let what = if *goes_up { "go up as well" } else { "are set aside, the newest of them is kept" };
            format!("two targets, one spoke: {agent_id} is taken from {first}; the posts of this one {what}")
        }
        State::Unknown | State::Up { .. } => String::new(),
    }
}

impl Member {
    fn texts(&self) -> impl Iterator<Item = std::borrow::Cow<'_, str>> {
        let target = self.target.as_ref().map(|target| target.to_string().into());
        [Some(self.host.as_str().into()), target, self.agent_id.as_deref().map(Into::into)]
            .into_iter()
            .flatten()
    }

    /// A number of its last row.
    pub(crate) fn number(&self, name: &str) -> Option<f32> {
        let at = history::HEADLINE.iter().position(|series| series.name == name)?;
        self.row.as_ref()?.get(at).copied().filter(|value| value.is_finite())
    }

    /// What both directions of the network carry.
    pub(crate) fn network(&self) -> Option<f32> {
        let numbers = ["network_received_bytes", "network_sent_bytes"].map(|name| self.number(name));
        numbers.into_iter().flatten().reduce(|one, other| one + other)
    }

    fn compare(&self, other: &Self, by: &str) -> Ordering {
        let numbers = |of: fn(&Self) -> Option<f32>| {
            // Who has none comes first where the smallest does.
            of(self).unwrap_or(-1.0).total_cmp(&of(other).unwrap_or(-1.0))
        };
        match by {
            "host" => self.host.to_lowercase().cmp(&other.host.to_lowercase()),
            "target" => {
                let text = |member: &Self| member.target.as_ref().map(ToString::to_string);
                text(self).cmp(&text(other))
            }
            "state" => self.standing.cmp(&other.standing),
            "since" => self.since.cmp(&other.since),
            "last" => self.last.cmp(&other.last),
            "duration" => self.took.cmp(&other.took),
            "cpu" => numbers(|member| member.number("cpu_used_percent")),
            "memory" => numbers(|member| member.number("memory_used_percent")),
            "partition" => numbers(|member| member.number("fullest_partition_percent")),
            "network" => numbers(Self::network),
            _ => Ordering::Equal,
        }
    }
}
