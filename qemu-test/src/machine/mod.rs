//! A QEMU machine's life: from a builder over the running machine to its end.

mod builder;
mod ending;
mod extras;
mod failure;
mod fate;
mod handle;
mod home;
mod inner;
mod launch;
mod line;
mod log;
mod memory_killer;
mod parts;
mod processes;
mod schema;
mod screen;
mod shutdown;
mod stand_in;
mod verbs;
mod verdict;
mod watch;

pub(crate) use builder::CONSOLE;
pub use builder::{ExpectedExit, MachineBuilder, Monitor};
pub(crate) use ending::How;
pub(crate) use extras::Extras;
pub(crate) use handle::Lender;
pub use handle::Machine;
pub(crate) use home::{Aside, Home};
pub(crate) use inner::Inner;
pub(crate) use launch::{configuration, launch, launch_with};
