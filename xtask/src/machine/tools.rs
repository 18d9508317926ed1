//! Programs of this machine in a guest: with the libraries that the loader would give them here, at the same paths.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::cpio::Archive;
use super::find;
use crate::process::{output, program};

/// Puts those of `tools` that exist into `usr/sbin`. One that is missing here is missing there.
pub(super) fn add(archive: &mut Archive<impl Write>, tools: &[&str]) -> Result<()> {
    let mut libraries = BTreeSet::new();
    for (name, path) in tools.iter().filter_map(|name| Some((name, find(name)?))) {
        let listed = output(program("ldd", &[path.to_str().context("tools have ASCII names")?]), Duration::from_secs(10));
        libraries.extend(paths(&listed.unwrap_or_default())); // a static program has none
        archive.file(&format!("usr/sbin/{name}"), &path)?;
    }
    let mut folders = BTreeSet::new();
    for library in &libraries {
        let parents = library.ancestors().skip(1).filter_map(|folder| folder.strip_prefix("/").ok()?.to_str());
        folders.extend(parents.filter(|folder| !folder.is_empty() && *folder != "lib").map(str::to_owned));
    }
    // Sorted: a folder comes before what lies in it.
    folders.iter().try_for_each(|folder| archive.folder(folder))?;
    libraries.iter().try_for_each(|library| archive.file(&library.to_string_lossy()[1..], library))
}

/// `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)` and `/lib64/ld-linux-x86-64.so.2 (0x…)`.
fn paths(listed: &str) -> Vec<PathBuf> {
    listed
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(|path| Path::new(path).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_in_both_kinds_of_lines() {
        let listed = "\tlinux-vdso.so.1 (0x00007f)\n\tlibmnl.so.0 => /lib/x/libmnl.so.0 (0x00007f)\n\t/lib64/ld.so.2 (0x00007f)\n";
        assert_eq!(paths(listed), [PathBuf::from("/lib/x/libmnl.so.0"), PathBuf::from("/lib64/ld.so.2")]);
    }
}
