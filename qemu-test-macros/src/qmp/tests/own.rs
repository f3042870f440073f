//! Tables with a user's own QEMU.
