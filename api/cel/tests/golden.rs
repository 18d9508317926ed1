//! The golden vectors of expressions as an ordinary test. It skips, and says so, where `../shared` is absent.

#![expect(clippy::print_stderr, reason = "a test says why it skips")]

#[path = "golden/replays.rs"]
#[expect(unreachable_pub, reason = "shared with `cargo xtask golden`")]
mod replays;

use std::path::PathBuf;

#[test]
fn golden_vectors_replay() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden");
    if !folder.is_dir() {
        eprintln!("skipped: no golden vectors at {}", folder.display());
        return;
    }
    let text = std::fs::read_to_string(folder.join(replays::FILE)).expect(replays::FILE);
    let verdicts = replays::replay(&text);
    let missed: Vec<String> =
        verdicts.into_iter().filter_map(|(line, case, verdict)| Some(format!("{line} {case}: {}", verdict.err()?))).collect();
    assert!(missed.is_empty(), "{} vectors missed:\n{}", missed.len(), missed.join("\n"));
}
