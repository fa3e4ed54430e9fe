//! `pattoo_agent_os_spoked`: the life cycle of the spoke.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use agent::config::Configuration;
use agent::control::{self, Actions, More, Running};
use agent::http::{Sockets, serve};
use agent::shutdown;
use spoke::settings::Settings;
use spoke::spoke::Spoke;
use spoke::{PROGRAM, compare, hostname, http};
use tokio::runtime::Runtime;

/// The interval for which `--once` answers: the hub's default.
const ONCE_INTERVAL_S: u64 = 300;

/// Time that requests under way have to end once the spoke stops.
const DRAIN: Duration = Duration::from_secs(2);

const MORE: &[More] = &[More {
    name: "compare",
    value: "URL or file",
    about: "Read an original spoke's answer, print which series continue here, and end; exit status 0 if all do.",
    flag: None,
    lenient: true,
    act: compare,
}];

fn main() -> ExitCode {
    control::main(&PROGRAM, &Actions { judge, check, once, run, more: MORE })
}

fn judge(configuration: &Configuration) -> anyhow::Result<()> {
    Ok(Settings::read(configuration)?.find_identity().map(drop)?)
}

fn check(configuration: &Configuration) -> anyhow::Result<String> {
    let settings = Settings::read(configuration)?;
    let hostname = runtime()?.block_on(hostname::at_start(&settings));
    Ok(settings.describe(&hostname)?)
}

fn once(configuration: &Configuration) -> anyhow::Result<()> {
    std::io::stdout().write_all(&spoke(configuration)?.post(ONCE_INTERVAL_S)?)?;
    Ok(())
}

fn compare(configuration: &Configuration, places: &[String]) -> anyhow::Result<u8> {
    let [original] = places else {
        anyhow::bail!("--compare takes one address or file, not {}", places.len())
    };
    let original = runtime()?.block_on(compare::read(original))?;
    let comparison = compare::Comparison::of(&original, &spoke(configuration)?.post(ONCE_INTERVAL_S)?)?;
    write!(std::io::stdout(), "{comparison}")?;
    Ok(u8::from(!comparison.all_continue()))
}

/// A spoke that answers this process alone.
fn spoke(configuration: &Configuration) -> anyhow::Result<Spoke> {
    let settings = Settings::read(configuration)?;
    let hostname = runtime()?.block_on(hostname::at_start(&settings));
    Spoke::new(&settings, hostname)
}

/// One thread serves; reading the host, which may wait for a disk, goes to few others.
fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .thread_name("disk")
        .max_blocking_threads(4)
        .enable_all()
        .build()
}

fn run(configuration: &Configuration, running: &mut Running) -> anyhow::Result<()> {
    let settings = Settings::read(configuration)?;
    let runtime = runtime()?;
    runtime.block_on(async {
        // Before anybody can know that the program runs, so that a stop never finds it deaf.
        let stop = shutdown::on_signals()?;
        let reload = running.reload(configuration)?;
        let sockets = Sockets::bind(settings.listen, settings.rules.health_port())?;
        let hostname = hostname::at_start(&settings).await;
        let spoke = Arc::new(Spoke::keeping_identity(&settings, hostname)?);
        spoke.clone().sample_until(stop.clone());
        spoke.clone().follow_hostname(settings, stop.clone());
        spoke.clone().follow(reload, stop.clone())?;
        spoke.health.ready();
        running.listening(sockets.address, sockets.health_address);

        let mut draining = stop.clone();
        let health = spoke.health.clone();
        tokio::spawn(async move {
            draining.wait().await;
            health.not_ready("stopping");
        });
        let entrance = spoke.entrance.clone();
        serve(sockets, http::routes(spoke), entrance, DRAIN, stop).await;
        anyhow::Ok(())
    })?;
    // A read that hangs on a dead disk must not hold the end.
    runtime.shutdown_background();
    Ok(())
}
