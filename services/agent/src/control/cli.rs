//! The command line: the original's six options, and those that are new.

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command};

use super::More;
use crate::Program;

/// The original's options; only these may be shortened.
const ORIGINAL: [&str; 6] = ["--help", "--start", "--stop", "--status", "--restart", "--force"];

/// What to do.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Start,
    Stop,
    Status,
    Restart,
    Check,
    Once,
    Health,
    /// What `--start` calls again as the daemon itself.
    BecomeDaemon,
    /// An option of this program alone, with its values.
    More(&'static More, Vec<String>),
}

#[derive(Debug)]
pub(super) struct Arguments {
    pub(super) action: Action,
    pub(super) force: bool,
    pub(super) foreground: bool,
}

/// Reads the arguments; prints and ends the program where they are wrong, or for `--help` and `--version`.
pub(super) fn read(
    program: &'static Program,
    more: &'static [More],
) -> Result<Arguments, std::process::ExitCode> {
    let mut command = command(program, more);
    let given = std::env::args().map(expand).collect::<Vec<_>>();
    let matches = command.try_get_matches_from_mut(given).map_err(|error| {
        // That the terminal is gone is no reason to say anything else.
        let _ = error.print();
        std::process::ExitCode::from(if error.use_stderr() { 2 } else { 0 })
    })?;
    let Some(action) = action(&matches, more) else {
        let _ = command.print_help();
        return Err(std::process::ExitCode::from(2));
    };
    Ok(Arguments { action, force: matches.get_flag("force"), foreground: matches.get_flag("foreground") })
}

const ACTIONS: [(&str, Action); 8] = [
    ("start", Action::Start),
    ("stop", Action::Stop),
    ("status", Action::Status),
    ("restart", Action::Restart),
    ("check", Action::Check),
    ("once", Action::Once),
    ("health", Action::Health),
    ("become-daemon", Action::BecomeDaemon),
];

fn action(matches: &ArgMatches, more: &'static [More]) -> Option<Action> {
    let flag = || ACTIONS.into_iter().find(|(name, _)| matches.get_flag(name)).map(|(_, action)| action);
    let valued = |more: &'static More| {
        let mut values: Vec<String> = matches.get_many(more.name)?.cloned().collect();
        let flag = more.flag.map(|(name, _)| name).filter(|name| matches.get_flag(name));
        values.extend(flag.map(|name| format!("--{name}")));
        Some(Action::More(more, values))
    };
    flag().or_else(|| more.iter().find_map(valued))
}

fn command(program: &'static Program, more: &'static [More]) -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    Command::new(program.name)
        .about(program.about)
        .version(program.version)
        .disable_version_flag(true)
        .arg(flag("start", "Start the agent daemon."))
        .arg(flag("stop", "Stop the agent daemon."))
        .arg(flag("status", "Get daemon daemon status."))
        .arg(flag("restart", "Restart the agent daemon."))
        .arg(flag(
            "force",
            "Stops or restarts the agent daemon ungracefully when used with --stop or --restart.",
        ))
        .arg(flag(
            "foreground",
            "With --start: stay in the foreground and log to standard output, for systemd and containers.",
        ))
        .arg(flag("check", "Read the configuration, print what is in force, and end."))
        .arg(flag("once", program.once))
        .arg(flag("health", "Ask the running program's /livez; exit status 0 if it answers within 2 s."))
        .arg(flag("become-daemon", "").hide(true))
        .arg(Arg::new("version").long("version").action(ArgAction::Version).help("Print the version."))
        .args(more.iter().map(|more| {
            Arg::new(more.name).long(more.name).value_name(more.value).num_args(1..).help(more.about)
        }))
        .args(more.iter().filter_map(|more| {
            let (name, about) = more.flag?;
            Some(flag(name, about).requires(more.name))
        }))
        .group(
            ArgGroup::new("action")
                .args(ACTIONS.map(|(name, _)| name))
                .args(more.iter().map(|more| more.name)),
        )
}

/// Completes a shortened option of the original's where just one is meant.
fn expand(argument: String) -> String {
    if argument.len() < 3 || !argument.starts_with("--") || argument == "--foreground" {
        return argument;
    }
    let mut meant = ORIGINAL.iter().filter(|option| option.starts_with(&argument));
    match (meant.next(), meant.next()) {
        (Some(one), None) => (*one).to_owned(),
        _ => argument,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_original_options_may_be_shortened_and_no_other() {
        let expanded = |text: &str| expand(text.to_owned());
        assert_eq!(expanded("--stat"), "--status");
        assert_eq!(expanded("--f"), "--force");
        assert_eq!(expanded("--h"), "--help");
        assert_eq!(expanded("--r"), "--restart");
        assert_eq!(expanded("--start"), "--start");
        for ambiguous_or_other in
            ["--st", "--sta", "--s", "--", "-h", "--che", "--fore", "--foreground", "--on"]
        {
            assert_eq!(expanded(ambiguous_or_other), ambiguous_or_other);
        }
    }
}
