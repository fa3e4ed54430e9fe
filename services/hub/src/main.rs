//! `pattoo_agent_os_hubd`: the life cycle of the hub, in order.

use std::process::ExitCode;
use std::time::Duration;

use agent::config::Configuration;
use agent::control::{self, Actions, More, Running};
use agent::http::Sockets;
use agent::shutdown;
use hub::files;
use hub::hub::Hub;
use hub::settings::Settings;
use tokio::runtime::Builder;

/// What a thread that hangs in the file system may still hold up the end.
const LAST_THREADS: Duration = Duration::from_millis(200);

/// How many things may wait for the disk at once: each for its file, and none for another of them.
const DISK_THREADS: usize = 16;

const MORE: &[More] = &[More {
    name: "queue",
    value: "COMMAND",
    about: "Look at what waits and what was set aside: list | verify | purge LANE ... | requeue FILE ...",
    flag: Some(("anyway", "With --queue requeue: also where the server would drop the post.")),
    lenient: false,
    act: hub::queue::main,
}];

fn main() -> ExitCode {
    control::main(&hub::PROGRAM, &Actions { judge, check, once, run, more: MORE })
}

fn judge(configuration: &Configuration) -> anyhow::Result<()> {
    let settings = Settings::read(configuration)?;
    settings.identity().find()?;
    // In the foreground, too: without a place for posts there is no hub.
    Ok(configuration.check_directory("cache_directory", &settings.pattoo.cache_directory)?)
}

fn check(configuration: &Configuration) -> anyhow::Result<String> {
    let settings = Settings::read(configuration)?;
    let warnings = settings.warnings().into_iter().map(|warning| format!("\nwarning: {warning}"));
    Ok(settings.report()? + &warnings.collect::<String>())
}

fn once(configuration: &Configuration) -> anyhow::Result<()> {
    let settings = Settings::read(configuration)?;
    Builder::new_current_thread().enable_all().build()?.block_on(hub::once::once(&settings))
}

fn run(configuration: &Configuration, running: &mut Running) -> anyhow::Result<()> {
    let settings = Settings::read(configuration)?;
    files::raise_limit();
    // One thread serves ten thousand targets; what waits for the disk has threads of its own, and a second one for
    // this would mostly wake the first.
    let runtime = Builder::new_current_thread()
        .thread_name("disk")
        .max_blocking_threads(DISK_THREADS)
        .enable_all()
        .build()?;
    let ended = runtime.block_on(live(settings, configuration, running));
    runtime.shutdown_timeout(LAST_THREADS);
    ended
}

async fn live(
    settings: Settings,
    configuration: &Configuration,
    running: &mut Running,
) -> anyhow::Result<()> {
    let mut stop = shutdown::on_signals()?;
    let reload = running.reload(configuration)?;
    settings.warn(&[]);
    let agent_id = settings.identity().find_and_keep()?.id;
    let sockets = Sockets::bind(settings.listen, settings.rules.health_port())?;
    let (address, health) = (sockets.address, sockets.health_address);
    let hub = Hub::open(settings, agent_id).await?;
    let work = hub.start(sockets)?;
    work.follow(reload)?;
    running.listening(address, health);
    stop.wait().await;
    work.drain().await;
    Ok(())
}
