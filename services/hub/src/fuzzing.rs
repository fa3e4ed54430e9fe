//! For `services/fuzz` alone: what the hub answers over HTTP, without the program around it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use agent::clock::Clock;
use agent::http::Entrance;
use agent::http::answer::Answer;
use agent::http::health::Health;
use tokio::sync::watch;
use warp::Filter;

use crate::deliver::Watched;
use crate::http::Served;
use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::pages::Overview;
use crate::poller::Poller;
use crate::quarantine::Quarantine;
use crate::receive::Receiver;
use crate::settings::Settings;
use crate::store::Store;

/// Every route of a hub that polls and delivers nothing, and the way in. What it takes is on disk without waiting for more.
///
/// # Errors
/// The store or the quarantine cannot be opened.
#[allow(clippy::type_complexity, reason = "a filter has no name")]
pub fn routes(
    settings: Settings,
) -> anyhow::Result<(
    impl Filter<Extract = (Answer,), Error = Infallible, Future: Send> + Clone + Send + Sync + 'static,
    Entrance,
)> {
    let metrics = Metrics::new(false)?;
    let options = spool::Options { gather: Duration::ZERO, ..settings.bounds.options() };
    let (store, _filled) = Store::open_now(&settings.spool_folder(), options, metrics.clone())?;
    let quarantine = Quarantine::open(settings.quarantine_folder(), settings.quarantine_max_bytes)?;
    let intake = Intake::new(store.clone(), quarantine, metrics.clone());
    let entrance = Entrance::new(settings.rules.clone(), Vec::new(), &metrics.registry)?;
    let (_, in_force) = watch::channel(Arc::new(settings));
    let (health, clock) = (Health::starting(), Clock::of_this_program());
    let poller = Poller::new(in_force.clone(), intake.clone(), metrics.clone(), clock, health.clone());
    health.ready();
    let overview = Overview {
        settings: in_force.clone(),
        agent_id: "a-hub".to_owned(),
        targets: poller.targets(),
        store,
        upstream: Watched::default(),
    };
    let receiver = Receiver::new(intake, in_force);
    Ok((crate::http::routes(Arc::new(Served { health, metrics, overview, receiver })), entrance))
}
