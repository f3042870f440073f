//! Says which names are accepted, the one that was probably meant first.

/// The accepted name that `name` was probably meant to be.
pub(super) fn meant<'a>(name: &str, accepted: &[&'a str]) -> Option<&'a str> {
    let distance = |known: &str| strsim::osa_distance(name, known);
    let nearest = accepted.iter().copied().min_by_key(|known| distance(known))?;
    // A third of the letters wrong is a typo; more is another word.
    (distance(nearest) <= nearest.len().div_ceil(3)).then_some(nearest)
}

/// ``did you mean `args`? accepted are `args`, `arch`, ...`` for an unknown `name`.
pub(super) fn suggest(name: &str, accepted: &[&str]) -> String {
    let meant = meant(name, accepted);
    let others = accepted.iter().copied().filter(|known| Some(*known) != meant);
    let list: Vec<_> = meant
        .into_iter()
        .chain(others)
        .map(|known| format!("`{known}`"))
        .collect();
    let list = list.join(", ");
    match meant {
        Some(meant) => format!("did you mean `{meant}`? accepted are {list}"),
        None => format!("accepted are {list}"),
    }
}
