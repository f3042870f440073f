//! Which accelerator a machine runs on, and why. KVM is taken only where a guest was seen to run well under it: that
//! `/dev/kvm` can be opened proves nothing.

mod choose;
mod guests;
mod host;
mod memory;
mod probe;

pub use choose::Accel;
pub(crate) use choose::Choice;
