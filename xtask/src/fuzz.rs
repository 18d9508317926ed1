//! `cargo xtask fuzz`: every parser under libFuzzer, one target after the other.
//!
//! The engine is a workspace of its own (`tests/fuzz/engine`), built by the pinned stable compiler with LLVM's coverage pass, so no
//! other toolchain and no helper program is needed. What it finds worth keeping stays in `target/fuzz`; what breaks a target
//! lands in `tests/fuzz/crashes`, where the tests replay it for ever.
#![expect(clippy::print_stdout, reason = "the table is what it is run for")]

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};

use crate::process::program;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only targets whose name contains this
    only: Option<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// LLVM's coverage as libFuzzer wants it: edges, comparisons, counters that are bytes.
const COVERAGE: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// One input may take so long and so much memory. Inputs are small, so both are far above what is right.
const LIMITS: [&str; 3] = ["-timeout=10", "-rss_limit_mb=1024", "-max_len=16384"];
const TARGET_DIR: &str = "target/fuzz";

/// What came of a target.
struct Row {
    name: String,
    runs: u64,
    kept: usize,
    is_broken: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let only = arguments.only.as_deref().unwrap_or_default();
    let names: Vec<String> = names(&root.join("tests/fuzz/corpus"))?.into_iter().filter(|name| name.contains(only)).collect();
    if names.is_empty() {
        bail!("no target {only:?}; the folders of tests/fuzz/corpus are the targets");
    }
    let engine = build(root)?;
    let mut rows = Vec::new();
    for name in names {
        println!("== {name}: {} s", arguments.seconds);
        rows.push(fuzz(root, &engine, name, arguments.seconds)?);
    }
    report(&rows, arguments.seconds)
}

fn names(corpus: &Path) -> anyhow::Result<Vec<String>> {
    let folders = std::fs::read_dir(corpus).with_context(|| corpus.display().to_string())?;
    let mut names: Vec<String> = folders.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

fn build(root: &Path) -> anyhow::Result<PathBuf> {
    let target_dir = root.join(TARGET_DIR);
    let manifest = root.join("tests/fuzz/engine/Cargo.toml").display().to_string();
    let mut cargo = program(env!("CARGO"), &["build", "--release", "--locked", "--message-format=json-render-diagnostics"]);
    cargo.args(["--manifest-path", &manifest, "--target-dir"]).arg(&target_dir).env("RUSTFLAGS", COVERAGE.join(" "));
    let built = cargo.current_dir(root).stderr(Stdio::inherit()).output().context("cargo build")?;
    if !built.status.success() {
        bail!("the engine does not build; it needs a C++ compiler (Debian: apt-get install g++)");
    }
    let messages = String::from_utf8_lossy(&built.stdout);
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut programs = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    programs.next_back().context("cargo tells no program")
}

fn fuzz(root: &Path, engine: &Path, name: String, seconds: u64) -> anyhow::Result<Row> {
    let (kept, seeds) = (root.join(TARGET_DIR).join("corpus").join(&name), root.join("tests/fuzz/corpus").join(&name));
    let crashes = root.join("tests/fuzz/crashes").join(&name);
    for folder in [&kept, &crashes] {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let mut run = program("nice", &["-n", "10"]);
    run.arg(engine).args(LIMITS).args([format!("-max_total_time={seconds}"), format!("-artifact_prefix={}/", crashes.display())]);
    run.arg("-print_final_stats=1").args([&kept, &seeds]).env("FUZZ_TARGET", &name);
    let done = run.stdout(Stdio::null()).output().context("the engine")?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    if !done.status.success() {
        println!("{}", said.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n"));
    }
    let _ = std::fs::remove_dir(&crashes); // it stays where something is in it
    let kept = std::fs::read_dir(&kept)?.count();
    Ok(Row { name, runs: runs(&said), kept, is_broken: !done.status.success() })
}

fn runs(said: &str) -> u64 {
    let line = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or_default()
}

fn report(rows: &[Row], seconds: u64) -> anyhow::Result<()> {
    println!("\n| target | seconds | runs | inputs kept | |\n|---|---|---|---|---|");
    for Row { name, runs, kept, is_broken } in rows {
        println!("| {name} | {seconds} | {runs} | {kept} | {} |", if *is_broken { "BROKEN" } else { "" });
    }
    let broken: Vec<&str> = rows.iter().filter(|row| row.is_broken).map(|row| row.name.as_str()).collect();
    if broken.is_empty() { Ok(()) } else { bail!("broken: {}; the inputs are in tests/fuzz/crashes", broken.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_last_words_tell_the_runs() {
        assert_eq!(runs("#1 x\nstat::number_of_executed_units: 1234\nstat::x: 1"), 1234);
        assert_eq!(runs("nothing"), 0);
    }
}
