//! What guests run: the workspace's own test programs and `corten`, built by cargo, without their debug tables.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::process::{output, program};

/// Crates whose own tests talk to the kernel; each becomes `<name>-tests`. Those first whose tests are quick also when emulated.
const DRIVERS: &[&str] = &["sys", "keeper", "volumes", "podnet", "services", "images", "runtime", "store"];
const QUICK: usize = 5;
const CORTEN: &str = "corten";
/// The real-kernel world's program and its package.
const KERNEL: (&str, &str) = ("kernel", "kernel-tests");

/// Who asks for the programs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// A developer: all programs, built for themselves.
    Developer,
    /// The whole test run: the quick ones, out of a workspace that is built already, with the features of all.
    TestRun,
}

impl Scope {
    fn drivers(self) -> &'static [&'static str] {
        if self == Self::TestRun { &DRIVERS[..QUICK] } else { DRIVERS }
    }
}

/// Builds the programs and puts them, stripped, into `folder`; their names there.
pub(crate) fn build(scope: Scope, folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let built = executables(scope)?;
    let wanted = scope.drivers().iter().map(|name| format!("{name}-tests")).chain([CORTEN.to_owned(), KERNEL.0.to_owned()]);
    wanted
        .map(|name| {
            let from = built.get(&name).with_context(|| format!("cargo built no {name}"))?;
            let to = folder.join(&name);
            strip(from, &to)?;
            Ok((name, to))
        })
        .collect()
}

/// Every executable that cargo tells of, by the name that guests know.
fn executables(scope: Scope) -> Result<BTreeMap<String, PathBuf>> {
    let mut cargo = program(env!("CARGO"), &["test", "--no-run", "--message-format", "json-render-diagnostics"]);
    match scope {
        Scope::TestRun => cargo.arg("--workspace"),
        Scope::Developer => cargo.args(DRIVERS.iter().chain([&CORTEN, &KERNEL.1]).flat_map(|package| ["--package", package])),
    };
    let done = cargo.stderr(Stdio::inherit()).output().context("cargo")?;
    ensure!(done.status.success(), "cargo could not build what the guests run");
    let messages = String::from_utf8_lossy(&done.stdout);
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(artifacts.filter_map(|artifact| Some((name_of(&artifact)?, artifact["executable"].as_str()?.into()))).collect())
}

/// The name in a guest of what a message of cargo's tells of: `podnet-tests`, `kernel`, `corten`.
fn name_of(artifact: &Value) -> Option<String> {
    let name = artifact["target"]["name"].as_str()?;
    let is_test = artifact["profile"]["test"].as_bool()?;
    match (artifact["target"]["kind"][0].as_str()?, is_test) {
        ("lib", true) => Some(format!("{name}-tests")),
        ("test", true) | ("bin", false) => Some(name.to_owned()),
        _ => None,
    }
}

/// Unless that was done since the program was built.
fn strip(from: &Path, to: &Path) -> Result<()> {
    let age = |path: &Path| path.metadata().and_then(|metadata| metadata.modified());
    if age(to).is_ok_and(|done| age(from).is_ok_and(|built| built < done)) {
        return Ok(());
    }
    let (Some(from), Some(to)) = (from.to_str(), to.to_str()) else { bail!("{}: not UTF-8", from.display()) };
    output(program("strip", &["-o", to, from]), Duration::from_secs(120)).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_have_names_of_their_kind() {
        let artifact =
            |kind: &str, name: &str, test: bool| serde_json::json!({"target": {"kind": [kind], "name": name}, "profile": {"test": test}});
        assert_eq!(name_of(&artifact("lib", "podnet", true)).as_deref(), Some("podnet-tests"));
        assert_eq!(name_of(&artifact("test", "kernel", true)).as_deref(), Some("kernel"));
        assert_eq!(name_of(&artifact("bin", "corten", false)).as_deref(), Some("corten"));
        assert_eq!(name_of(&artifact("bin", "corten", true)), None, "the unit tests of the program");
        assert_eq!(name_of(&artifact("lib", "podnet", false)), None);
    }
}
