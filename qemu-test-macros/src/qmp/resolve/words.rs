//! How to say what is wrong: what there is instead, in the form that the user would write, and the way around.

use super::super::ast::Name;
use super::super::schema::Schema;
use super::super::schema::table::has_identifier;
use super::super::schema::table::model::Strings;
use super::literal::Kind;
use super::place::{Place, View};

/// More names than these are no help.
const LISTED: usize = 12;

pub(super) fn no_command(schema: &Schema, name: &Name) -> String {
    let names = schema.command_names();
    let nearest = did_you_mean(&name.written.plain(), names);
    format!(
        "QEMU ({}) has no command `{}`{nearest} {}",
        schema.versions(),
        name.source(),
        unchecked(name)
    )
}

pub(super) fn no_event(schema: &Schema, name: &Name) -> String {
    let nearest = did_you_mean(&name.written.plain(), schema.event_names());
    // Parsing takes what is in quotes for a command.
    format!(
        "QEMU ({}) has no event `{}`{nearest} unchecked, it is `EventFilter::new({:?})`",
        schema.versions(),
        name.source(),
        name.written.plain()
    )
}

pub(super) fn ambiguous(name: &Name, spellings: &[&str]) -> String {
    let written = name.source();
    let quoted: Vec<_> = spellings
        .iter()
        .map(|spelling| format!("`{spelling:?}`"))
        .collect();
    format!(
        "QEMU has both {}, and nothing here says which of them `{written}` is: quote the one that is meant",
        quoted.join(" and ")
    )
}

pub(super) fn no_key(path: &str, view: &View, key: &Name, event: bool) -> String {
    let (what, has) = (whole(path, view), if event { "has" } else { "takes" });
    let written = key.written.plain();
    let elsewhere = view.elsewhere(&written);
    if let (false, Some((tag, _))) = (elsewhere.is_empty(), view.chosen.first()) {
        let values: Vec<_> = elsewhere.iter().map(|value| format!("`{value:?}`")).collect();
        return format!(
            "{what} {has} no `{written}`: it goes with the {tag} {}; {}",
            listed(&values),
            unchecked(key)
        );
    }
    let names = view.names();
    let hint = if !nearest(&written, names.iter().copied()).is_empty() {
        did_you_mean(&written, names.into_iter())
    } else if names.is_empty() {
        format!(": it {has} nothing;")
    } else {
        let names: Vec<_> = names
            .iter()
            .map(|name| format!("`{}`", as_written(name)))
            .collect();
        format!(": it {has} {};", listed(&names))
    };
    format!("{what} {has} no `{written}`{hint} {}", unchecked(key))
}

pub(super) fn missing(path: &str, view: &View, names: &[&str]) -> String {
    let names: Vec<_> = names
        .iter()
        .map(|name| format!("`{}`", as_written(name)))
        .collect();
    let them = if names.len() == 1 { "it" } else { "them" };
    format!(
        "{} needs {}: write {them}, or `..` and an object that has {them}",
        whole(path, view),
        listed(&names)
    )
}

pub(super) fn wrong_value(path: &str, place: &Place, kind: &Kind) -> String {
    let strings = place.types().iter().filter_map(|takes| takes.string.as_ref());
    let values: Vec<&str> = strings
        .filter_map(|strings| match strings {
            Strings::Of(values) => Some(values.iter().map(String::as_str)),
            Strings::Any => None,
        })
        .flatten()
        .collect();
    let around = "in parentheses it goes unchecked";
    match kind {
        Kind::Str(text) if !values.is_empty() => {
            let meant: Vec<_> = nearest(text, values.iter().copied())
                .iter()
                .map(|value| format!("{value:?}"))
                .collect();
            let hint = if meant.is_empty() {
                let values: Vec<_> = values.iter().map(|value| format!("{value:?}")).collect();
                format!("it is one of {};", listed(&values))
            } else {
                format!("did you mean {}?", meant.join(" or "))
            };
            format!("`{path}` is never {text:?}: {hint} {around}: `({text:?})`")
        }
        Kind::Null => format!(
            "`{path}` is {}, and never `null`: an optional key is left out instead, at run time with `key?: option`",
            accepted(place)
        ),
        _ => format!("`{path}` is {}, not {}; {around}", accepted(place), article(kind)),
    }
}

fn article(kind: &Kind) -> &'static str {
    match kind {
        Kind::Null => "null",
        Kind::Bool => "a boolean",
        Kind::Int => "an integer",
        Kind::Float => "a number with a fraction",
        Kind::Str(_) => "a string",
        Kind::Array => "an array",
        Kind::Object => "an object",
    }
}

/// What a place takes.
fn accepted(place: &Place) -> String {
    let has = |test: fn(&super::super::schema::table::model::Type) -> bool| {
        place.types().iter().any(|takes| test(takes))
    };
    let kinds = [
        (has(|takes| takes.null), "null"),
        (has(|takes| takes.bool), "a boolean"),
        (has(|takes| takes.int && !takes.number), "an integer"),
        (has(|takes| takes.number), "a number"),
        (has(|takes| takes.string.is_some()), "a string"),
        (has(|takes| takes.array.is_some()), "an array"),
        (has(|takes| takes.object.is_some()), "an object"),
    ];
    let kinds = kinds.iter().filter(|(has, _)| *has).map(|(_, kind)| *kind);
    kinds.collect::<Vec<_>>().join(" or ")
}

/// The object, with what its tags select.
fn whole(path: &str, view: &View) -> String {
    let chosen = view.chosen.iter();
    let chosen: Vec<_> = chosen.map(|(tag, value)| format!("{tag} {value:?}")).collect();
    let with = if chosen.is_empty() { "" } else { " with " };
    format!("`{path}`{with}{}", chosen.join(", "))
}

/// The way to a name that the table does not know.
fn unchecked(name: &Name) -> String {
    let wire = name.written.plain().replace('_', "-");
    format!("in quotes it goes unchecked: `{wire:?}`")
}

/// `: did you mean ...?`, or what ends the sentence without it.
fn did_you_mean<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> String {
    let meant: Vec<_> = nearest(written, names)
        .iter()
        .map(|name| format!("`{}`", as_written(name)))
        .collect();
    if meant.is_empty() {
        String::from(";")
    } else {
        format!(": did you mean {}?", meant.join(" or "))
    }
}

/// The name that was probably meant, or the few that are equally near.
fn nearest<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    const FEW: usize = 3;
    let plain = |name: &str| name.replace(['-', '.'], "_").to_lowercase();
    let written = plain(written);
    let names: Vec<_> = names
        .map(|name| (strsim::osa_distance(&written, &plain(name)), name))
        .collect();
    let Some(best) = names.iter().map(|(distance, _)| *distance).min() else {
        return Vec::new();
    };
    let mut nearest: Vec<&str> = Vec::new();
    for (distance, name) in names {
        // A third of the letters wrong is a typo; more is another word. Several branches may have the same name.
        if distance == best && best <= name.len().div_ceil(3) && !nearest.contains(&name) {
            nearest.push(name);
        }
    }
    nearest.truncate(FEW);
    nearest
}

/// A name as the user would write it.
fn as_written(name: &str) -> String {
    if has_identifier(name) {
        name.replace(['-', '.'], "_")
    } else {
        format!("{name:?}")
    }
}

fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        _ if items.len() > LISTED => {
            let more = items.len() - LISTED;
            format!("{} and {more} more", items[..LISTED].join(", "))
        }
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
