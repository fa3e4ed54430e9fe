//! Serving HTTP: own listeners and loops around warp's filters, who may ask and how much, health, and the shape of
//! answers.
//!
//! warp's own server panics on a taken port, waits for ever on a half-sent request when it stops, and knows no limits;
//! so its filters are served by hyper here. The way of a request: [`serve`] accepts it where [`Rules`] let its address
//! in and the connections have a place for it; it waits for its address's turn; it is judged; a page answers.

mod access;
pub mod answer;
pub mod assets;
pub mod client;
mod connections;
pub mod draw;
mod entrance;
mod guard;
pub mod health;
mod hosts;
pub mod html;
mod limits;
mod listen;
mod networks;
pub mod packing;
mod refusal;
mod rules;
mod serve;
mod watched;
pub mod words;

pub use entrance::{Entrance, Place, Reservation};
pub use guard::Visitor;
pub use listen::Sockets;
pub use refusal::Refusal;
pub use rules::{KEYS, Rules};
pub use serve::{serve, serve_one};
