//! `cargo xtask golden [DIR]`: replays a folder of golden vectors and counts, per file, what passes and what fails.

#[path = "../../api/cel/tests/golden/replays.rs"]
#[expect(unreachable_pub, reason = "shared with the tests of `expressions`")]
mod expression_replays;
#[path = "../../ui/print/tests/golden/replays.rs"]
#[expect(unreachable_pub, reason = "shared with the tests of `print`")]
mod print_replays;
#[path = "../../api/schema/tests/golden/replays.rs"]
#[expect(unreachable_pub, reason = "shared with the tests of `schema`")]
mod schema_replays;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The folder with the *.jsonl files
    #[arg(default_value = "../shared/golden")]
    folder: PathBuf,
    /// Print each vector that fails, with what came out instead
    #[arg(long, short)]
    verbose: bool,
}

#[expect(clippy::print_stdout, reason = "a command's result")]
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (mut passed, mut failed) = (0, 0);
    for file in vector_files(&arguments.folder)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(replay) = engine(&name) else {
            println!("{name:32} not replayed: no engine for this file");
            continue;
        };
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let verdicts = replay(&text);
        let misses: Vec<_> = verdicts.iter().filter_map(|(line, case, verdict)| Some((line, case, verdict.as_ref().err()?))).collect();
        println!("{name:32} {} passed, {} failed", verdicts.len() - misses.len(), misses.len());
        if arguments.verbose {
            misses.iter().for_each(|(line, case, why)| println!("  {name}:{line} {case}: {why}"));
        }
        passed += verdicts.len() - misses.len();
        failed += misses.len();
    }
    println!("{passed} passed, {failed} failed");
    Ok(())
}

/// Line, case and verdict of every vector of a file.
type Replay = Box<dyn Fn(&str) -> Vec<(usize, String, Result<(), String>)>>;

/// What replays a file; `None` where no engine does.
fn engine(file: &str) -> Option<Replay> {
    if file == expression_replays::FILE {
        return Some(Box::new(expression_replays::replay));
    }
    if let Some(found) = print_replays::ALL.iter().find(|replay| replay.file == file) {
        return Some(Box::new(|text| found.run(text)));
    }
    let found = schema_replays::ALL.iter().find(|replay| replay.file == file)?;
    Some(Box::new(|text| schema_replays::replay(found.check, text)))
}

fn vector_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl")).collect();
    files.sort();
    Ok(files)
}
