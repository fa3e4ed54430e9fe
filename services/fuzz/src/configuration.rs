//! Configuration: two files of YAML and an environment, for either program.
//!
//! What is refused is refused with the place where it stands. What is taken keeps to its bounds, and says the same when it is
//! read from what `--check` prints of it.

use std::path::PathBuf;

use agent::config::{ConfigError, Configuration, Mode};
use hub::settings::Settings as HubSettings;
use spoke::settings::Settings as SpokeSettings;

/// Reads `data`: a byte that chooses program and mode, then `pattoo.yaml`, the program's own file and the environment, line by
/// line, with a byte 0 between them.
pub fn run(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut texts = text.splitn(3, '\0');
    let mut next = || texts.next().unwrap_or_default();
    let (shared, own, environment) = (next(), next(), next());
    let mode = if choice & 2 == 0 { Mode::Foreground } else { Mode::Daemon };
    let lines = || environment.lines().filter_map(|line| line.split_once('='));
    let get = |name: &str| lines().find(|(known, _)| *known == name).map(|(_, value)| value.to_owned());
    let hub = choice & 1 == 0;
    let program = if hub { &hub::PROGRAM } else { &spoke::PROGRAM };
    let file = format!("{}.yaml", program.name);
    let configuration = Configuration::of_texts(program, mode, &[("pattoo.yaml", shared), (&file, own)], get);
    let read = configuration.and_then(|configuration| {
        let mut configuration = configuration;
        assert!(configuration.warnings.iter().all(|warning| !warning.is_empty()));
        configuration.warnings.clear();
        if hub {
            HubSettings::read(&configuration).map(|settings| of_hub(&settings))
        } else {
            SpokeSettings::read(&configuration).map(|settings| of_spoke(&settings))
        }
    });
    if let Err(error) = read {
        names_its_place(&error);
    }
}

fn names_its_place(error: &ConfigError) {
    let said = error.to_string();
    let placed =
        ["/made-up", "environment variable ", "environment"].iter().any(|place| said.contains(place));
    assert!(placed, "{said}");
    if let ConfigError::Value { section, key, reason, .. } = error {
        assert!(!section.is_empty() && !reason.is_empty(), "{said}");
        assert!(said.contains(key.as_str()), "{said}");
    }
}

fn of_hub(settings: &HubSettings) {
    assert!(!settings.devices.is_empty() || settings.receive);
    assert!(settings.poll_timeout <= settings.interval);
    assert!(settings.allowed_clock_skew <= settings.max_future);
    assert!(settings.devices.iter().all(|device| device.target.port > 0));
    let mut settings = settings.clone();
    // As on a machine where no agent_id is kept.
    settings.pattoo.daemon_directory = PathBuf::from("/made-up");
    let said = settings.report().unwrap();
    let again = Configuration::of_texts(&hub::PROGRAM, Mode::Foreground, &[("said.yaml", &said)], |_| None);
    let again =
        again.and_then(|again| HubSettings::read(&again)).unwrap_or_else(|error| panic!("{error}\n{said}"));
    // An id that was found otherwise is configured now.
    let plain = |text: &str| {
        text.lines().map(|line| line.split(" # ").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(plain(&again.report().unwrap()), plain(&said));
}

fn of_spoke(settings: &SpokeSettings) {
    assert!(settings.cpus != Some(0));
    assert!(settings.hostname.as_ref().is_none_or(|name| !name.trim().is_empty() && name.len() <= 512));
}
