//! The schema of a user's own QEMU, which `QEMU_TEST_SCHEMA` names at build time.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use proc_macro2::TokenStream;
use quote::quote;

use super::table::{dump, merge, text};

pub(super) const VARIABLE: &str = "QEMU_TEST_SCHEMA";
/// The first of the names: only what the dumps say counts.
const ONLY: &str = "only";

/// Where the table came from, for cargo and for the user.
#[derive(Default)]
pub(in crate::qmp) struct Own {
    /// The dumps that were read.
    files: Vec<PathBuf>,
    problem: Option<String>,
    told: AtomicBool,
}

impl Own {
    /// Whether the table is what the user wanted: else, complaints about names would be beside the point.
    pub(in crate::qmp) fn is_usable(&self) -> bool {
        self.problem.is_none()
    }

    /// What the first expansion of a crate holds beside its own: cargo then builds the crate again when the variable
    /// or one of the files changes. A problem with them is told there, too, and not at every `qmp!`.
    pub(in crate::qmp) fn tracking(&self) -> TokenStream {
        if self.told.swap(true, Ordering::Relaxed) {
            return TokenStream::new();
        }
        let problem = self
            .problem
            .iter()
            .map(|problem| quote!(::core::compile_error! { #problem }));
        let files = self.files.iter().filter_map(|file| file.to_str());
        quote! {
            const _: ::core::option::Option<&str> = ::core::option_env!(#VARIABLE);
            #(const _: &[u8] = ::core::include_bytes!(#files);)*
            #(#problem)*
        }
    }
}

/// The built-in table together with the dumps that `variable` names, of which there may be several, separated by `:`.
pub(super) fn extend(built_in: &'static str, variable: Option<OsString>) -> (&'static str, Own) {
    let mut own = Own::default();
    let Some(variable) = variable.filter(|value| !value.is_empty()) else {
        return (built_in, own);
    };
    match read(built_in, &variable, &mut own.files) {
        // It is needed as long as the compiler runs.
        Ok(text) => (String::leak(text), own),
        Err(problem) => {
            own.problem = Some(format!("{VARIABLE}: {problem}"));
            (built_in, own)
        }
    }
}

fn read(built_in: &str, variable: &OsString, files: &mut Vec<PathBuf>) -> Result<String, String> {
    let mut names = std::env::split_paths(variable).peekable();
    let only = names.next_if(|name| name.as_os_str() == ONLY).is_some();
    let mut tables = Vec::new();
    if !only {
        tables.push(text::read(built_in)?);
    }
    for name in names {
        // Cargo runs the compiler in the workspace's root: relative paths count from there.
        let cannot = |error| format!("cannot read `{}`: {error}", name.display());
        let file = std::path::absolute(&name).map_err(cannot)?;
        let dumps = std::fs::read_to_string(&file).map_err(cannot)?;
        let read = dump::tables(&dumps).map_err(|error| {
            let make = "`cargo xtask schema --dump` and `Machine::schema_dump` make one";
            format!("`{}` is no schema dump ({error}): {make}", name.display())
        })?;
        tables.extend(read);
        files.push(file);
    }
    if tables.is_empty() {
        return Err(format!("`{ONLY}` must be followed by a schema dump"));
    }
    Ok(text::write(&merge::merge(&tables)))
}
