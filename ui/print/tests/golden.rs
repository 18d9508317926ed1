//! The golden vectors of what people read as ordinary tests. They skip, and say so, where `../shared` is absent.

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
    let mut missed = Vec::new();
    for replay in replays::ALL {
        let text = std::fs::read_to_string(folder.join(replay.file)).expect(replay.file);
        let verdicts = replay.run(&text);
        assert!(!verdicts.is_empty(), "{} has vectors", replay.file);
        missed.extend(
            verdicts.into_iter().filter_map(|(line, case, verdict)| Some(format!("{}:{line} {case}: {}", replay.file, verdict.err()?))),
        );
    }
    assert!(missed.is_empty(), "{} vectors missed:\n{}", missed.len(), missed.join("\n"));
}
