//! Everything a start needs that takes memory or locks, made before the fork: the strings of exec, the places where
//! the program may be, the descriptors' way to their numbers.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use super::Spec;
use super::sys::CStringArray;

/// Where the C libraries look when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// A descriptor, and the number under which the program gets it.
pub(super) struct Move {
    pub(super) source: RawFd,
    pub(super) target: RawFd,
    /// Where it is kept while the targets are filled, for one descriptor's target may be another's source.
    pub(super) aside: RawFd,
}

pub(super) struct Plan {
    /// What `execve` is tried on, in this order.
    pub(super) candidates: Vec<CString>,
    pub(super) argv: CStringArray,
    pub(super) envp: CStringArray,
    pub(super) cwd: Option<CString>,
    /// See [`Spec::scratch`].
    pub(super) scratch: Option<CString>,
    /// Whether it is to be made.
    pub(super) makes_scratch: bool,
    /// Sorted by target: 0, 1, 2 and those the caller chose.
    pub(super) moves: Vec<Move>,
    /// The targets, and room for one more number, which is above them all.
    pub(super) kept: Vec<RawFd>,
    /// The sources, to be closed in this process once the program has them.
    _sources: Vec<OwnedFd>,
}

impl Plan {
    pub(super) fn new(spec: Spec, null: OwnedFd) -> io::Result<Self> {
        let program = spec
            .argv
            .first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "there is no program to start"))?;
        let environment = environment(std::env::vars_os(), &spec.env);
        let path = environment.get(OsStr::new("PATH")).map(OsString::as_os_str);
        let candidates = candidates(program, path)?;
        let envp = environment
            .into_iter()
            .map(|(mut name, value)| {
                name.push("=");
                name.push(value);
                nul_terminated(name)
            })
            .collect::<io::Result<_>>()?;
        let argv = spec
            .argv
            .into_iter()
            .map(nul_terminated)
            .collect::<io::Result<_>>()?;

        let mut moves = vec![
            (null.as_raw_fd(), 0),
            (spec.output.as_raw_fd(), 1),
            (spec.output.as_raw_fd(), 2),
        ];
        moves.extend(spec.fds.iter().map(|(fd, target)| (fd.as_raw_fd(), *target)));
        moves.sort_by_key(|&(_, target)| target);
        if let Some(pair) = moves.windows(2).find(|pair| pair[0].1 == pair[1].1) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("two descriptors are to get the number {}", pair[0].1),
            ));
        }
        if let Some((_, target)) = moves.first().filter(|(_, target)| *target < 0) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{target} is no descriptor number"),
            ));
        }
        let mut kept: Vec<RawFd> = moves.iter().map(|&(_, target)| target).collect();
        kept.reserve(1);
        Ok(Self {
            candidates,
            argv: CStringArray::new(argv),
            envp: CStringArray::new(envp),
            cwd: spec.cwd.map(|cwd| nul_terminated(cwd.into())).transpose()?,
            makes_scratch: spec.scratch.as_ref().is_some_and(|scratch| !scratch.made),
            scratch: spec
                .scratch
                .map(|scratch| nul_terminated(scratch.path.into()))
                .transpose()?,
            moves: moves
                .into_iter()
                .map(|(source, target)| Move {
                    source,
                    target,
                    aside: -1,
                })
                .collect(),
            kept,
            _sources: spec
                .fds
                .into_iter()
                .map(|(fd, _)| fd)
                .chain([null, spec.output])
                .collect(),
        })
    }

    /// The lowest number above all targets.
    pub(super) fn above(&self) -> RawFd {
        self.moves.last().map_or(0, |last| last.target.saturating_add(1))
    }
}

fn nul_terminated(string: OsString) -> io::Result<CString> {
    CString::new(string.into_vec()).map_err(|e| {
        let string = String::from_utf8_lossy(&e.clone().into_vec()).into_owned();
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{string:?} has a nul byte, which no argument, variable or path can have"),
        )
    })
}

/// The variables of the program: those of this process, with `changes` applied in order.
fn environment(
    inherited: impl Iterator<Item = (OsString, OsString)>,
    changes: &[(OsString, Option<OsString>)],
) -> BTreeMap<OsString, OsString> {
    let mut environment: BTreeMap<_, _> = inherited.collect();
    for (name, value) in changes {
        match value {
            Some(value) => environment.insert(name.clone(), value.clone()),
            None => environment.remove(name),
        };
    }
    environment
}

/// The files that `execvp(3)` would try for this name: itself where it has a slash, else one in each folder of
/// `PATH`, of which an empty one is the current folder.
fn candidates(program: &OsStr, path: Option<&OsStr>) -> io::Result<Vec<CString>> {
    if program.as_bytes().contains(&b'/') || program.is_empty() {
        return Ok(vec![nul_terminated(program.to_owned())?]);
    }
    path.unwrap_or(OsStr::new(DEFAULT_PATH))
        .as_bytes()
        .split(|&byte| byte == b':')
        .map(|folder| nul_terminated(Path::new(OsStr::from_bytes(folder)).join(program).into()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(candidates: Vec<CString>) -> Vec<String> {
        candidates.into_iter().map(|c| c.into_string().unwrap()).collect()
    }

    #[test]
    fn a_name_is_looked_for_in_each_folder_of_path() {
        let found = |program: &str, path: Option<&str>| {
            strings(candidates(OsStr::new(program), path.map(OsStr::new)).unwrap())
        };
        assert_eq!(found("q", Some("/a::b/")), ["/a/q", "q", "b/q"]);
        assert_eq!(found("q", None), ["/bin/q", "/usr/bin/q"]);
        assert_eq!(found("./q", Some("/a")), ["./q"]);
        assert_eq!(found("", Some("/a")), [""]);
    }

    #[test]
    fn changes_apply_to_the_inherited_environment_in_order() {
        let inherited = [("A", "1"), ("B", "2")].map(|(k, v)| (k.into(), v.into()));
        let changes = [
            ("A".into(), None),
            ("C".into(), Some("3".into())),
            ("C".into(), Some("4".into())),
        ];
        let environment = environment(inherited.into_iter(), &changes);
        assert_eq!(
            environment.into_iter().collect::<Vec<_>>(),
            [("B".into(), "2".into()), ("C".into(), "4".into())]
        );
    }
}
