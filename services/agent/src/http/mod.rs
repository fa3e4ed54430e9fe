//! Serving HTTP: an own listener and loop around warp's filters, health, and the shape of answers.
//!
//! warp's own server panics on a taken port, waits for ever on a half-sent request when it stops, and has no
//! limit on the time for headers; so its filters are served by hyper here.

pub mod answer;
pub mod assets;
pub mod client;
pub mod draw;
pub mod health;
pub mod html;
mod listen;
mod serve;
pub mod words;

pub use listen::bind;
pub use serve::{Limits, serve};
