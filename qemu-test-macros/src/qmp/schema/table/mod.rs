//! The table of the names that QEMU knows: what is in it, how it is written to a file, and how it is made of what
//! QEMU says of itself.
//!
//! `cargo xtask schema` compiles this folder, too: it makes the table with it. So nothing here needs more than `std`.

pub(crate) mod dump;
pub(crate) mod json;
pub(crate) mod merge;
pub(crate) mod model;
#[cfg(test)]
mod tests;
pub(crate) mod text;

/// A name with every character that an identifier cannot have turned into `_`: how a user writes it.
pub(crate) fn folded(name: &str) -> impl Iterator<Item = u8> + '_ {
    name.bytes().map(|byte| match byte {
        b'-' | b'.' => b'_',
        other => other,
    })
}

/// Whether a name can be written as an identifier at all: `node-name` can, `3dnow` and `gpio[0]` cannot.
pub(crate) fn has_identifier(name: &str) -> bool {
    let mut bytes = folded(name);
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name != "_"
}
