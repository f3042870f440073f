//! Which modules of the kernel the guest loads, and in which order.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// What a guest of a test wants from its kernel. What a kernel has built in, or does not have at all, is left out.
const WANTED: &[&str] = &[
    "virtio_pci",
    "virtio_mmio",
    "virtio_blk",
    "virtio_net",
    "virtio_console",
    "virtio_rng",
    "9p",
    "9pnet_virtio",
    // Tells QEMU of a kernel panic.
    "pvpanic-pci",
    "pvpanic-mmio",
    "vmgenid",
    // The power button: as ACPI's device, as a GPIO line, and as the input events that /init waits for.
    "button",
    "gpio_keys",
    "evdev",
];

/// A module with its code, uncompressed.
pub(super) struct Module {
    pub(super) name: String,
    pub(super) code: Vec<u8>,
}

/// The wanted modules under `root`, each after those that it depends on.
pub(super) fn wanted(root: &Path) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    collect(root, &mut files)
        .with_context(|| format!("cannot read the kernel's modules in `{}`", root.display()))?;
    let mut order = Vec::new();
    for name in WANTED {
        add(&normal(name), &files, &mut order)?;
    }
    Ok(order)
}

fn add(name: &str, files: &BTreeMap<String, PathBuf>, order: &mut Vec<Module>) -> Result<()> {
    if order.iter().any(|module| module.name == name) {
        return Ok(());
    }
    let Some(file) = files.get(name) else {
        return Ok(());
    };
    let code = read(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    for dependency in depends(&code) {
        add(&normal(&dependency), files, order)?;
    }
    order.push(Module {
        name: name.to_owned(),
        code,
    });
    Ok(())
}

/// Module names are spelt with `-` and `_` alike; the kernel's own spelling has `_`.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

fn collect(dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            collect(&path, files)?;
        } else if let Some((name, _)) = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.split_once(".ko"))
        {
            files.insert(normal(name), path.clone());
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(file)?;
    let mut code = Vec::new();
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => lzma_rs::xz_decompress(&mut bytes.as_slice(), &mut code)
            .map_err(|error| anyhow::anyhow!("not readable as xz: {error:?}"))?,
        Some("ko") => code = bytes,
        _ => anyhow::bail!("the module is compressed in a way that is not known here"),
    }
    Ok(code)
}

/// The names in the field `depends` of a module's `.modinfo` section, which holds `key=value` strings with a zero
/// after each.
fn depends(code: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = code.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let value = &code[start + KEY.len()..];
    let value = &value[..value.iter().position(|&byte| byte == 0).unwrap_or(value.len())];
    String::from_utf8_lossy(value)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dependencies_of_a_module_are_read_from_its_modinfo() {
        assert_eq!(
            depends(b"\x7fELF..license=GPL\0depends=virtio,virtio_ring\0name=x\0"),
            ["virtio", "virtio_ring"]
        );
        assert!(depends(b"license=GPL\0depends=\0").is_empty());
        assert!(depends(b"").is_empty());
    }
}
