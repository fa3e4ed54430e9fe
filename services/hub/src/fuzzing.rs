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

use crate::api::{self, Api};
use crate::deliver::Watched;
use crate::fleet::Fleet;
use crate::history::Recorder;
use crate::http::Served;
use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::pages::Pages;
use crate::poller::Poller;
use crate::quarantine::Quarantine;
use crate::receive::Receiver;
use crate::settings::Settings;
use crate::sources::Sources;
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
    let intake = Intake::new(store.clone(), quarantine.clone(), metrics.clone());
    let entrance = Entrance::new(settings.rules.clone(), Vec::new(), &metrics.registry)?;
    let (_, in_force) = watch::channel(Arc::new(settings));
    let (health, clock) = (Health::starting(), Clock::of_this_program());
    let recorder = Recorder::new(in_force.borrow().clone(), metrics.clone(), clock);
    let (sources, reading) = (Sources::default(), api::places());
    let receiver = Receiver::new(intake.clone(), recorder.clone(), sources.clone(), in_force.clone());
    let poller =
        Poller::new(in_force.clone(), intake, recorder.clone(), metrics.clone(), clock, health.clone());
    health.ready();
    let fleet = Fleet { settings: in_force, targets: poller.targets(), sources, recorder };
    let api =
        Api { fleet, store, quarantine, upstream: Watched::default(), metrics: metrics.clone(), reading };
    let pages = Pages::new(api, "a-hub".to_owned());
    Ok((crate::http::routes(Arc::new(Served { health, metrics, pages, receiver })), entrance))
}
