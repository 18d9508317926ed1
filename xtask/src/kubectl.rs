//! `cargo xtask kubectl`: the kubectl of Debian's unstable distribution, beside those that the machine has.
//!
//! An apt root of its own below `target/kubectl` knows that distribution, on the mirror that the machine uses; nothing is installed,
//! and the machine's own lists stay as they are. The program goes to `target/kubectl/kubectl.<minor>`, where the tests look.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::images::package;
use crate::process::{output, program};

const PATIENCE: Duration = Duration::from_secs(300);
const PACKAGE: &str = "kubectl";
/// Of the package debian-archive-keyring, which every Debian has.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// What apt must find in a root.
const FOLDERS: &[&str] = &["etc/apt/preferences.d", "etc/apt/apt.conf.d", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial"];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where it goes
    #[arg(long, default_value = "target/kubectl")]
    folder: PathBuf,
}

#[expect(clippy::print_stdout, reason = "a command's result")]
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    std::fs::create_dir_all(&arguments.folder).with_context(|| arguments.folder.display().to_string())?;
    let folder = arguments.folder.canonicalize()?;
    println!("{}", fetch(&folder)?.display());
    Ok(())
}

fn fetch(folder: &Path) -> Result<PathBuf> {
    let root = apt_root(folder)?;
    let options = [format!("-oDir={}", root.display()), format!("-oDir::State::status={}", root.join("status").display())];
    let apt = |words: &[&str]| {
        let mut apt = program("apt-get", &[]);
        apt.args(&options).arg("-oAPT::Sandbox::User=root").args(words).current_dir(folder);
        output(apt, PATIENCE)
    };
    apt(&["update", "--quiet"])?;
    apt(&["download", "--quiet", PACKAGE])?;
    let deb = package(PACKAGE, folder)?;
    let version = output(program("dpkg-deb", &["--field", text(&deb)?, "Version"]), PATIENCE)?;
    let work = tempfile::tempdir_in(folder)?;
    output(program("dpkg-deb", &["-x", text(&deb)?, text(work.path())?]), PATIENCE)?;
    let place = folder.join(format!("kubectl.{}", minor(&version).with_context(|| format!("a version of kubectl: {version:?}"))?));
    std::fs::rename(work.path().join("usr/bin/kubectl"), &place).with_context(|| place.display().to_string())?;
    Ok(place)
}

/// A root that knows unstable alone.
fn apt_root(folder: &Path) -> Result<PathBuf> {
    let root = folder.join("apt");
    for folder in FOLDERS {
        std::fs::create_dir_all(root.join(folder)).with_context(|| root.join(folder).display().to_string())?;
    }
    std::fs::write(root.join("etc/apt/sources.list"), format!("deb [signed-by={KEYS}] {} unstable main\n", mirror()?))?;
    std::fs::write(root.join("status"), "")?;
    Ok(root)
}

/// Where this machine gets Debian from.
fn mirror() -> Result<String> {
    let words = ["indextargets", "--format", "$(REPO_URI)", "Identifier: Packages", "Origin: Debian", "Label: Debian"];
    let said = output(program("apt-get", &words), PATIENCE)?;
    said.lines().next().map(str::to_owned).context("this machine's apt knows no mirror of Debian; apt-get update makes it known")
}

/// `1.36.4+ds-1`
fn minor(version: &str) -> Option<String> {
    let mut numbers = version.trim().split('.');
    let (major, minor) = (numbers.next()?, numbers.next()?);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(major) && is_number(minor)).then(|| format!("{major}.{minor}"))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{}: not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minors_of_debian_versions() {
        assert_eq!(minor("1.36.4+ds-1\n").as_deref(), Some("1.36"));
        assert_eq!(minor("1.20.5+really1.20.2-1.1").as_deref(), Some("1.20"));
        assert_eq!(minor("unstable"), None);
    }
}
