//! The Linux guests that the tests and examples boot: a distribution's kernel and a static busybox, unpacked under
//! cargo's target directory without a change to the system.

mod cpio;
mod initramfs;
mod modules;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::apt::Apt;
use crate::{command, paths};

/// One guest: a kernel and an initramfs in a folder of their own.
pub(crate) struct Guest {
    /// Where in the folder of guests its files lie; empty for the default one.
    folder: &'static str,
    /// What it is, in the words that setup says before it fetches it.
    pub(crate) name: &'static str,
    /// The architecture in Debian's spelling.
    architecture: &'static str,
    /// Packages that depend on the newest kernel, by distribution: the first that exists is taken.
    kernels: &'static [&'static str],
}

/// What setup makes.
pub(crate) const GUESTS: &[Guest] = &[
    Guest {
        folder: "",
        name: "the Linux guest for x86_64 (the kernel that Debian makes for virtual machines: it boots fast)",
        architecture: "amd64",
        kernels: &["linux-image-cloud-amd64", "linux-image-virtual"],
    },
    Guest {
        folder: "generic",
        name: "the same with Debian's ordinary kernel (it boots slower, and has vmgenid and 9p)",
        architecture: "amd64",
        kernels: &["linux-image-amd64", "linux-image-generic"],
    },
    Guest {
        folder: "aarch64",
        name: "the Linux guest for aarch64",
        architecture: "arm64",
        kernels: &["linux-image-cloud-arm64", "linux-image-virtual"],
    },
];

const KERNEL: &str = "vmlinuz";
const INITRAMFS: &str = "initramfs.cpio.gz";
/// Says what the files were made from; written last, so that its content vouches for the others.
const RECIPE: &str = "recipe.txt";

/// Why no guest can be made on this system, and what to do; `None` where they can.
pub(crate) fn unavailable() -> Option<String> {
    command::find("apt-get").is_none().then(|| {
        format!(
            "the Linux guests are made from packages of Debian or Ubuntu by apt-get, which is not here; by hand: run `cargo \
             xtask setup` on a system that has it, and copy its `target/guest` to `{}`",
            paths::guests().display()
        )
    })
}

impl Guest {
    fn dir(&self) -> PathBuf {
        paths::guests().join(self.folder)
    }

    /// Whether its files are there and made as this program would make them.
    pub(crate) fn is_ready(&self) -> bool {
        let dir = self.dir();
        fs::read_to_string(dir.join(RECIPE)).is_ok_and(|made| made.starts_with(&initramfs::recipe()))
            && dir.join(KERNEL).is_file()
            && dir.join(INITRAMFS).is_file()
    }

    /// Fetches kernel and busybox and builds the initramfs.
    pub(crate) fn make(&self) -> Result<()> {
        let dir = self.dir();
        let apt = Apt::open(self.architecture)?;
        fs::create_dir_all(&dir).with_context(|| format!("cannot create `{}`", dir.display()))?;
        let scratch = paths::partial(&dir.join("unpacked"));
        let _ = fs::remove_dir_all(&scratch);
        fs::create_dir_all(&scratch)?;
        let packages = self.packages(&apt)?;
        apt.fetch(&packages, &scratch.join("packages"), &scratch)?;
        let kernel = find_kernel(&scratch).context("the kernel's package has no kernel in `boot/`")?;
        let modules = modules::wanted(&scratch.join("lib/modules"))?;
        let busybox = fs::read(find_busybox(&scratch)?)?;
        let archive = initramfs::build(&busybox, &modules)?;
        // Each file appears whole or not at all, and the recipe last of all.
        let _ = fs::remove_file(dir.join(RECIPE));
        publish(&dir.join(KERNEL), &fs::read(kernel)?)?;
        publish(&dir.join(INITRAMFS), &archive)?;
        let names: Vec<&str> = modules.iter().map(|module| module.name.as_str()).collect();
        let recipe = format!(
            "{}packages: {}\nmodules: {}\n",
            initramfs::recipe(),
            packages.join(" "),
            names.join(" ")
        );
        publish(&dir.join(RECIPE), recipe.as_bytes())?;
        fs::remove_dir_all(&scratch)?;
        Ok(())
    }

    /// The packages to fetch, with their versions.
    fn packages(&self, apt: &Apt) -> Result<Vec<String>> {
        for kernel in self.kernels {
            if let Some(version) = apt.versions(kernel)?.first() {
                // The package is an empty one that depends on the kernel's own, and that, on some distributions, on
                // one with the modules.
                let mut packages = Vec::new();
                let mut open = vec![((*kernel).to_owned(), version.clone())];
                while let Some((package, version)) = open.pop() {
                    for name in apt.depends(&package, &version)? {
                        let part = name.starts_with("linux-image-") || name.starts_with("linux-modules-");
                        if let Some(version) = apt.versions(&name)?.first().filter(|_| part) {
                            packages.push(format!("{name}={version}"));
                            open.push((name, version.clone()));
                        }
                    }
                }
                packages.push("busybox-static".to_owned());
                return Ok(packages);
            }
        }
        bail!(
            "none of the packages {} is in the lists of packages; by hand: see that `apt-get update` finds its sources \
             (a network, a proxy), then run this again",
            self.kernels.join(", ")
        )
    }
}

fn publish(file: &Path, content: &[u8]) -> Result<()> {
    let partial = paths::partial(file);
    fs::write(&partial, content).with_context(|| format!("cannot write `{}`", partial.display()))?;
    fs::rename(&partial, file).with_context(|| format!("cannot write `{}`", file.display()))
}

fn find_kernel(root: &Path) -> Option<PathBuf> {
    let mut files = fs::read_dir(root.join("boot"))
        .ok()?
        .flatten()
        .map(|entry| entry.path());
    files.find(|file| {
        file.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("vmlinu"))
    })
}

fn find_busybox(root: &Path) -> Result<PathBuf> {
    let places = ["bin/busybox", "usr/bin/busybox", "bin/busybox.static"].map(|place| root.join(place));
    places
        .into_iter()
        .find(|file| file.is_file())
        .context("the package of busybox has no `bin/busybox`")
}
