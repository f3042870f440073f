//! A private view of the distribution's packages through apt: lists, versions and downloads for any architecture,
//! without root and without a change to the system.
//!
//! It reads the system's own sources (so its mirrors, keys and proxies hold) and keeps everything else under cargo's
//! target directory. What installs packages into the system is `packages`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::command::Program;
use crate::{paths, ui};

/// How long the lists of packages count as fresh: one setup reads them once.
const FRESH: Duration = Duration::from_secs(15 * 60);

/// A private apt for one architecture.
pub(crate) struct Apt {
    architecture: &'static str,
    dir: PathBuf,
}

impl Apt {
    /// Opens the view with fresh lists of packages. `architecture` is in Debian's spelling.
    pub(crate) fn open(architecture: &'static str) -> Result<Apt> {
        let dir = paths::target().join("apt").join(architecture);
        let apt = Apt { architecture, dir };
        apt.prepare()
            .with_context(|| format!("cannot prepare `{}`", apt.dir.display()))?;
        apt.update()?;
        Ok(apt)
    }

    /// Reads the lists of packages, unless they were read a short while ago.
    fn update(&self) -> Result<()> {
        let stamp = self.dir.join("updated");
        let age = fs::metadata(&stamp)
            .and_then(|stamp| stamp.modified())
            .ok()
            .and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age < FRESH) {
            return Ok(());
        }
        // Without this, apt is content with lists that it could not fetch.
        let all = ["-o", "APT::Update::Error-Mode=any"];
        let update = self
            .program("apt-get")
            .args(all)
            .args(["--quiet", "update"])
            .called("apt-get update");
        match update.step(
            &format!("reading the lists of packages for {}", self.architecture),
            &self.dir,
        ) {
            Ok(()) => fs::write(&stamp, "").with_context(|| format!("cannot write `{}`", stamp.display())),
            Err(error) if !self.has_lists() => Err(error.context(
                "no list of packages can be read: is there a network, and a proxy where it needs one?",
            )),
            // One of the user's sources may be down or lack this architecture: what counts is whether the packages
            // that are wanted can be found, and that comes next.
            Err(error) => {
                ui::note(format_args!("{error:#}"));
                Ok(())
            }
        }
    }

    /// Removes what root's apt leaves beside the lists: an empty folder that is not the user's.
    pub(crate) fn tidy(&self) {
        // One that is not there or not empty is as good.
        let _ = fs::remove_dir(self.lists().join("auxfiles"));
    }

    /// Whether there are lists of packages, new or old.
    fn has_lists(&self) -> bool {
        let lists = fs::read_dir(self.lists()).into_iter().flatten().flatten();
        lists
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .any(|name| name.contains("_Packages"))
    }

    fn prepare(&self) -> Result<()> {
        fs::create_dir_all(self.dir.join("lists/partial"))?;
        fs::create_dir_all(self.dir.join("cache/archives/partial"))?;
        // No package is installed in this view, so that none is held back by one that is.
        fs::write(self.dir.join("status"), "")?;
        let sources = self.sources();
        let _ = fs::remove_dir_all(&sources);
        fs::create_dir_all(&sources)?;
        let system = system_sources();
        for (index, (file, text)) in system.iter().enumerate() {
            let extension = file.extension().unwrap_or_default().to_string_lossy();
            fs::write(sources.join(format!("system-{index}.{extension}")), text)?;
        }
        if let Some(backports) = backports(&system) {
            fs::write(sources.join("backports.sources"), backports)?;
        }
        Ok(())
    }

    /// The folder with copies of the system's sources, and the backports of its release where it has none of them.
    pub(crate) fn sources(&self) -> PathBuf {
        self.dir.join("sources.list.d")
    }

    /// The lists of packages, fresh since `open`.
    pub(crate) fn lists(&self) -> PathBuf {
        self.dir.join("lists")
    }

    /// The options that let the system's own apt install from these sources and lists, without a trace of them
    /// in the system.
    pub(crate) fn system_options(&self) -> Vec<OsString> {
        let mut options = Vec::new();
        options.extend(option("Dir::Etc::SourceList", Path::new("/dev/null")));
        options.extend(option("Dir::Etc::SourceParts", &self.sources()));
        options.extend(option("Dir::State::Lists", &self.lists()));
        // No cache is written: it would describe other sources than the system's.
        options.extend(option("Dir::Cache::pkgcache", Path::new("")));
        options.extend(option("Dir::Cache::srcpkgcache", Path::new("")));
        options
    }

    fn program(&self, name: &str) -> Program {
        Program::new(name)
            .args(option("Dir::Etc::SourceList", Path::new("/dev/null")))
            .args(option("Dir::Etc::SourceParts", &self.sources()))
            .args(option("Dir::State", &self.dir))
            .args(option("Dir::State::Lists", &self.lists()))
            .args(option("Dir::State::Status", &self.dir.join("status")))
            .args(option("Dir::Cache", &self.dir.join("cache")))
            .args(["-o", &format!("APT::Architecture={}", self.architecture)])
            .args(["-o", &format!("APT::Architectures={}", self.architecture)])
            // As root, apt downloads as a user who cannot write here.
            .args(["-o", "APT::Sandbox::User=root"])
            .args(["-o", "Acquire::Languages=none", "-o", "Acquire::Retries=3"])
            .args(["-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false"])
            .args(["-o", "Acquire::IndexTargets::deb::CNF::DefaultEnabled=false"])
            .called(name)
    }

    /// The versions of `package`, the one that apt would take first; none where there is no such package.
    pub(crate) fn versions(&self, package: &str) -> Result<Vec<String>> {
        let policy = self.program("apt-cache").args(["policy", package]).output()?;
        let candidate = policy
            .lines()
            .find_map(|line| line.trim().strip_prefix("Candidate: "));
        let Some(candidate) = candidate.filter(|version| *version != "(none)") else {
            return Ok(Vec::new());
        };
        let table = self.program("apt-cache").args(["madison", package]).output()?;
        let mut versions = vec![candidate.to_owned()];
        for version in table
            .lines()
            .filter_map(|line| line.split('|').nth(1))
            .map(str::trim)
        {
            if !versions.iter().any(|known| known == version) {
                versions.push(version.to_owned());
            }
        }
        Ok(versions)
    }

    /// The names of the packages that `package` in `version` depends on, each first alternative only.
    pub(crate) fn depends(&self, package: &str, version: &str) -> Result<Vec<String>> {
        let record = self
            .program("apt-cache")
            .args(["show", &format!("{package}={version}")])
            .output()?;
        let field = record
            .lines()
            .find_map(|line| line.strip_prefix("Depends: "))
            .unwrap_or_default();
        let name = |dependency: &str| {
            let end = dependency.find([' ', ':', '(', '|']).unwrap_or(dependency.len());
            dependency[..end].to_owned()
        };
        Ok(field
            .split(',')
            .map(|dependency| name(dependency.trim()))
            .filter(|name| !name.is_empty())
            .collect())
    }

    /// What apt would install for `packages` into an empty system, from `suite` (as options).
    pub(crate) fn plan(&self, suite: &[String], packages: &[&str]) -> Result<Vec<Planned>> {
        let install = ["--quiet", "--simulate", "--no-install-recommends", "install"];
        let plan = self
            .program("apt-get")
            .args(install)
            .args(suite)
            .args(packages)
            .output()?;
        Ok(plan.lines().filter_map(Planned::parse).collect())
    }

    /// Downloads `packages` (`name` or `name=version`), their checksums verified, into the folder `downloads`, and
    /// unpacks their files into `tree`: nothing is installed, none of their scripts run.
    pub(crate) fn fetch(&self, packages: &[String], downloads: &Path, tree: &Path) -> Result<()> {
        let _ = fs::remove_dir_all(downloads);
        fs::create_dir_all(downloads).with_context(|| format!("cannot create `{}`", downloads.display()))?;
        let download = self
            .program("apt-get")
            .args(["--quiet", "download"])
            .args(packages)
            .called(format!("apt-get download {}", list(packages)));
        download.step(&format!("downloading {}", list(packages)), downloads)?;
        let files = fs::read_dir(downloads)?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<_>>>()?;
        if files.len() != packages.len() {
            bail!("apt-get downloaded {} files for {}", files.len(), list(packages));
        }
        // One after the other in a shell, so that it is one step to see.
        let script = "tree=$1; shift; for package; do echo \"${package##*/}\"; dpkg -x \"$package\" \"$tree\" || exit; done";
        let unpack = Program::new("sh")
            .args(["-c", script, "sh"])
            .arg(tree)
            .args(files);
        unpack.step(&format!("unpacking {}", list(packages)), downloads)
    }
}

/// Many names would fill the screen: the first few say enough.
pub(crate) fn list(packages: &[impl AsRef<str>]) -> String {
    let (first, rest) = packages.split_at(packages.len().min(3));
    let name = |package: &str| package.split('=').next().unwrap_or_default().to_owned();
    let first = first
        .iter()
        .map(|package| name(package.as_ref()))
        .collect::<Vec<_>>()
        .join(", ");
    if rest.is_empty() {
        first
    } else {
        format!("{first} and {} more", rest.len())
    }
}

/// A package that apt would install.
pub(crate) struct Planned {
    pub(crate) name: String,
    pub(crate) version: String,
}

impl Planned {
    /// Reads a line of `apt-get --simulate`: `Inst name (version suite [architecture])`.
    fn parse(line: &str) -> Option<Planned> {
        let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
        let version = rest.split_once('(')?.1.split(' ').next()?;
        Some(Planned {
            name: name.to_owned(),
            version: version.to_owned(),
        })
    }

    /// The package in exactly this version, as apt wants it named.
    pub(crate) fn exact(&self) -> String {
        format!("{}={}", self.name, self.version)
    }

    /// The version that the program's authors gave it: without Debian's epoch and revision.
    pub(crate) fn upstream(&self) -> &str {
        let version = self
            .version
            .split_once(':')
            .map_or(self.version.as_str(), |(_, version)| version);
        &version[..version.find(['+', '-', '~']).unwrap_or(version.len())]
    }
}

fn option(key: &str, value: &Path) -> [OsString; 2] {
    let mut option = OsString::from(format!("{key}="));
    option.push(value);
    [OsString::from("-o"), option]
}

/// The system's own source files with their text: those that apt itself reads.
fn system_sources() -> Vec<(PathBuf, String)> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let parts = fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .flatten();
    files.extend(parts.map(|entry| entry.path()));
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "list" || extension == "sources")
    });
    files.sort();
    files
        .into_iter()
        .filter_map(|file| fs::read_to_string(&file).ok().map(|text| (file, text)))
        .collect()
}

/// The name of the suite of this Debian release's backports; none on other distributions.
pub(crate) fn backports_suite() -> Option<String> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    let field = |key: &str| {
        release
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .map(|value| value.trim_matches('"'))
    };
    (field("ID=")? == "debian").then_some(())?;
    Some(format!("{}-backports", field("VERSION_CODENAME=")?))
}

/// A source for the backports of this Debian release, from the mirror that serves the release itself; none on other
/// distributions, and none where the system already has that suite.
fn backports(system: &[(PathBuf, String)]) -> Option<String> {
    let suite = backports_suite()?;
    let codename = suite.strip_suffix("-backports")?.to_owned();
    let entries: Vec<Source> = system
        .iter()
        .flat_map(|(file, text)| Source::parse(file, text))
        .collect();
    if entries.iter().any(|entry| entry.suites.contains(&suite)) {
        return None;
    }
    let main =
        |entry: &&Source| entry.suites.contains(&codename) && entry.components.iter().any(|c| c == "main");
    let entry = entries.iter().find(main)?;
    let mut text = format!(
        "Types: deb\nURIs: {}\nSuites: {suite}\nComponents: main\n",
        entry.uris
    );
    if let Some(key) = &entry.signed_by {
        text.push_str(&format!("Signed-By: {key}\n"));
    }
    Some(text)
}

/// One entry of a source file, in either of apt's two formats (sources.list(5)); only what `backports` needs.
#[derive(Debug, Default, PartialEq)]
struct Source {
    uris: String,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<String>,
}

impl Source {
    fn parse(file: &Path, text: &str) -> Vec<Source> {
        if file.extension().is_some_and(|extension| extension == "sources") {
            text.split("\n\n").filter_map(Source::stanza).collect()
        } else {
            text.lines().filter_map(Source::one_line).collect()
        }
    }

    fn stanza(stanza: &str) -> Option<Source> {
        let lines = || stanza.lines().filter(|line| !line.starts_with('#'));
        let field = |key: &str| {
            let (_, value) = lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case(key))?;
            Some(value.trim().to_owned())
        };
        let words = |value: Option<String>| {
            value
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect()
        };
        if field("Enabled").is_some_and(|enabled| enabled == "no")
            || !field("Types")?.split(' ').any(|kind| kind == "deb")
        {
            return None;
        }
        // A key that is written out in the file spans lines; one that is named by its file is what Debian has.
        let signed_by = field("Signed-By").filter(|key| key.starts_with('/'));
        Some(Source {
            uris: field("URIs")?,
            suites: words(field("Suites")),
            components: words(field("Components")),
            signed_by,
        })
    }

    fn one_line(line: &str) -> Option<Source> {
        let rest = line.trim().strip_prefix("deb ")?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let signed_by = options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="));
        let mut words = rest.split_whitespace().map(str::to_owned);
        Some(Source {
            uris: words.next()?,
            suites: vec![words.next()?],
            components: words.collect(),
            signed_by: signed_by.map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planned_package_tells_its_name_and_its_authors_version() {
        let line = "Inst qemu-system-x86 (1:7.2+dfsg-7+deb12u18+b3 Debian:12.14/stable [amd64])";
        let planned = Planned::parse(line).unwrap();
        assert_eq!(planned.name, "qemu-system-x86");
        assert_eq!(planned.version, "1:7.2+dfsg-7+deb12u18+b3");
        assert_eq!(planned.upstream(), "7.2");
        assert!(Planned::parse("Conf qemu-system-x86 (1:7.2)").is_none());
    }

    #[test]
    fn both_formats_of_sources_name_mirror_suites_and_key() {
        let stanzas = "Types: deb\n# a comment\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n\
                       Components: main\nSigned-By: /keys/debian.gpg\n\nTypes: deb-src\nURIs: x\nSuites: y\n";
        let lines = "# deb http://off.example x main\ndeb [arch=amd64 signed-by=/keys/debian.gpg] http://mirror.example/debian bookworm main contrib\n";
        let deb822 = Source::parse(Path::new("debian.sources"), stanzas);
        let list = Source::parse(Path::new("sources.list"), lines);
        assert_eq!(deb822.len(), 1);
        assert_eq!(deb822[0].suites, ["bookworm", "bookworm-updates"]);
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].components, ["main", "contrib"]);
        for source in [&deb822[0], &list[0]] {
            assert_eq!(source.uris, "http://mirror.example/debian");
            assert_eq!(source.signed_by.as_deref(), Some("/keys/debian.gpg"));
        }
    }
}
