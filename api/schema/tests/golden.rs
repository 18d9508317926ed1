//! The golden vectors of the document model as ordinary tests. They skip, and say so, where `../shared` is absent.

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
        for (line, case, verdict) in replays::replay(replay.check, &text) {
            if let Err(why) = verdict {
                missed.push(format!("{}:{line} {case}: {why}", replay.file));
            }
        }
    }
    let known = include_str!("golden/known-misses.txt");
    missed.retain(|miss| !known.lines().any(|known| !known.is_empty() && !known.starts_with('#') && miss.starts_with(known)));
    assert!(missed.is_empty(), "{} vectors missed:\n{}", missed.len(), missed.join("\n"));
}
