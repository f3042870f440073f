//! QMP, QEMU's monitor protocol.
//!
//! [`Client`] talks to a monitor; [`Command`] and [`EventFilter`] say what to ask and what to wait for, most
//! pleasantly by way of `qmp!`.
//!
//! From the caller down to the socket: `client` has the methods, `session` and `reading` let threads share one
//! connection, `state` knows what is under way, `message` and `decoder` read what came, `transport` moves bytes and
//! descriptors.

mod address;
mod client;
mod command;
mod connect;
mod credentials;
mod decoder;
mod error;
mod event;
mod filter;
#[cfg(fuzzing)]
pub mod fuzzing;
mod listener;
pub(crate) mod macro_support;
mod message;
mod reading;
mod reply;
mod schema_dump;
mod session;
mod state;
#[cfg(test)]
mod tests;
mod transcript;
mod transport;
mod value;

pub use address::Address;
pub use client::Client;
pub use command::Command;
pub use error::{ErrorClass, QmpError};
pub use event::Event;
pub use filter::EventFilter;
pub use listener::Listener;
pub use reply::Reply;
pub(crate) use schema_dump::Properties;
pub(crate) use session::{Connection, Options};
pub(crate) use transcript::Transcript;
pub(crate) use transport::pair;
