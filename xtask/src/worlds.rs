//! `cargo xtask test` and `kernel`: the test worlds, least powerful first, with the number of tests of each.
#![expect(clippy::print_stdout, reason = "the output of the tests and their counts are what it is run for")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only worlds whose name contains this
    only: Option<String>,
}

/// One world: which of the workspace's test programs it runs.
struct World {
    name: &'static str,
    what: &'static str,
    programs: Programs,
}

enum Programs {
    /// Unit tests, and all test programs that are no world of their own.
    Rest,
    /// The test program of this name, with arguments of its own.
    One(&'static str, &'static [&'static str]),
    /// None of cargo's: guests of another kernel.
    Guests,
    /// No programs: what cargo's own tools say of the sources.
    Lints,
}

/// What must end without a word.
const LINTS: [&[&str]; 2] =
    [&["fmt", "--all", "--check"], &["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"]];

/// `pure` holds the in-process cluster too: both need nothing but cargo.
const ALL: &[World] = &[
    World { name: "lints", what: "format, and clippy without a warning", programs: Programs::Lints },
    World {
        name: "pure",
        what: "rules, tables, properties, goldens, the house, the cluster in one process; drivers in namespaces where root",
        programs: Programs::Rest,
    },
    World { name: "kernel", what: "drivers and runtime against this kernel", programs: Programs::One("kernel", &[]) },
    World {
        name: "machine",
        what: "real processes on loopback alone, with real clients",
        programs: Programs::One("machine", &["--test-threads=2"]),
    },
    World {
        name: "programs",
        what: "real programs from their registries, unchanged: Helm, controllers, client libraries",
        programs: Programs::One("programs", &[]),
    },
    World {
        name: "qemu",
        what: "Debian's kernel with cgroup version 2 alone, and power cuts of the store; more of it: cargo xtask machine",
        programs: Programs::Guests,
    },
];

impl World {
    /// Always the whole workspace, so that every world is built with the same features and nothing is built twice.
    fn arguments(&self) -> anyhow::Result<Vec<String>> {
        let mut arguments: Vec<String> = ["test", "--workspace", "--no-fail-fast"].map(str::to_owned).to_vec();
        match self.programs {
            Programs::One(program, own) => {
                arguments.extend(["--test".into(), program.into(), "--".into()]);
                arguments.extend(own.iter().map(|word| (*word).to_owned()));
            }
            Programs::Guests | Programs::Lints => {}
            Programs::Rest => {
                arguments.extend(["--lib".into(), "--bins".into()]);
                for program in rest()? {
                    arguments.extend(["--test".into(), program]);
                }
            }
        }
        Ok(arguments)
    }
}

/// Names of the test programs that are no world of their own.
fn rest() -> anyhow::Result<BTreeSet<String>> {
    #[expect(clippy::disallowed_methods, reason = "a developer's command that runs cargo")]
    let output = Command::new(env!("CARGO")).args(["metadata", "--no-deps", "--format-version", "1"]).output().context("cargo metadata")?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let targets = packages.flat_map(|package| package["targets"].as_array().into_iter().flatten());
    let programs = targets.filter(|target| target["kind"][0] == "test").filter_map(|target| target["name"].as_str());
    let own = |name: &str| ALL.iter().any(|world| matches!(world.programs, Programs::One(program, _) if program == name));
    Ok(programs.filter(|name| !own(name)).map(str::to_owned).collect())
}

pub(crate) fn test(arguments: &Arguments) -> anyhow::Result<()> {
    run(arguments.only.as_deref().unwrap_or_default())
}

pub(crate) fn kernel() -> anyhow::Result<()> {
    run("kernel")
}

#[derive(Default)]
struct Count {
    passed: usize,
    failed: usize,
    skipped: usize,
}

fn run(only: &str) -> anyhow::Result<()> {
    let worlds: Vec<&World> = ALL.iter().filter(|world| world.name.contains(only)).collect();
    if worlds.is_empty() {
        bail!("no world {only:?}; there are {}", ALL.iter().map(|world| world.name).collect::<Vec<_>>().join(", "));
    }
    let (mut rows, mut broken) = (Vec::new(), Vec::new());
    for world in worlds {
        println!("== {}: {}", world.name, world.what);
        let (count, success) = run_world(world)?;
        if !success {
            broken.push(world.name);
        }
        rows.push((world.name, count));
    }
    println!("\n{:<10} {:>7} {:>7} {:>8}", "world", "passed", "failed", "skipped");
    for (name, count) in &rows {
        println!("{name:<10} {:>7} {:>7} {:>8}", count.passed, count.failed, count.skipped);
    }
    let sum = |of: fn(&Count) -> usize| rows.iter().map(|(_, count)| of(count)).sum::<usize>();
    println!("{} passed, {} failed", sum(|count| count.passed), sum(|count| count.failed));
    if !broken.is_empty() {
        bail!("failed: {}", broken.join(", "));
    }
    Ok(())
}

/// Runs cargo or the guests, shows the output, counts the closing lines of the test programs.
fn run_world(world: &World) -> anyhow::Result<(Count, bool)> {
    if matches!(world.programs, Programs::Guests) {
        let mut count = Count::default();
        let success = crate::machine::world(&mut |line| {
            count.take(line);
            println!("{line}");
        })?;
        return Ok((count, success));
    }
    if matches!(world.programs, Programs::Lints) {
        return lints();
    }
    #[expect(clippy::disallowed_methods, reason = "a developer's command that runs cargo")]
    let mut child = Command::new(env!("CARGO")).args(world.arguments()?).stdout(Stdio::piped()).spawn().context("cargo")?;
    let mut count = Count::default();
    for line in BufReader::new(child.stdout.take().context("cargo's output")?).lines() {
        let line = line?;
        count.take(&line);
        println!("{line}");
    }
    Ok((count, child.wait()?.success()))
}

/// Each tool is one test.
fn lints() -> anyhow::Result<(Count, bool)> {
    let mut count = Count::default();
    for arguments in LINTS {
        #[expect(clippy::disallowed_methods, reason = "a developer's command that runs cargo")]
        let success = Command::new(env!("CARGO")).args(arguments).status().context("cargo")?.success();
        let word = if success { "ok" } else { "FAILED" };
        println!("test cargo {} ... {word}", arguments[0]);
        *(if success { &mut count.passed } else { &mut count.failed }) += 1;
    }
    let success = count.failed == 0;
    Ok((count, success))
}

impl Count {
    /// `test result: ok. 3 passed; 0 failed; 1 ignored; …` and `3 passed, 0 failed, 1 skipped`.
    fn take(&mut self, line: &str) {
        let line = line.trim();
        let closing = match line.strip_prefix("test result: ") {
            Some(rest) => rest.split_once(". ").map_or(rest, |(_, rest)| rest),
            None if line.ends_with(" skipped") || line.ends_with(" failed") => line,
            None => return,
        };
        for part in closing.split([';', ',']) {
            let mut words = part.split_whitespace();
            let (Some(Ok(number)), Some(word)) = (words.next().map(str::parse::<usize>), words.next()) else { continue };
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" | "skipped" => self.skipped += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_of_both_forms_count() {
        let mut count = Count::default();
        for line in [
            "test result: ok. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "5 passed, 0 failed, 4 skipped",
            "test x ... ok",
            "running 3 tests",
        ] {
            count.take(line);
        }
        assert_eq!((count.passed, count.failed, count.skipped), (8, 1, 6));
    }
}
