//! What the fuzzer found worth keeping, and what it broke, on every target.

use std::path::{Path, PathBuf};

use fuzzing::{ALL, Target};

fn folder(kind: &str, target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(kind).join(target.name)
}

/// Sorted, so that a failure is always the same one.
fn inputs(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

#[test]
fn every_input_that_was_kept_is_read_or_refused() {
    for target in ALL {
        let (seeds, crashes) = (inputs(&folder("corpus", target)), inputs(&folder("crashes", target)));
        assert!(!seeds.is_empty(), "{} has no seed", target.name);
        for path in seeds.iter().chain(&crashes) {
            let input = std::fs::read(path).unwrap();
            let outcome = std::panic::catch_unwind(|| (target.run)(&input));
            assert!(outcome.is_ok(), "{} breaks on {}", target.name, path.display());
        }
    }
}

#[test]
fn every_folder_is_a_targets() {
    for kind in ["corpus", "crashes"] {
        for folder in inputs(&Path::new(env!("CARGO_MANIFEST_DIR")).join(kind)) {
            let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
            assert!(fuzzing::find(&name).is_some(), "{kind}/{name} is no target's");
        }
    }
}

/// Inputs cut anywhere, and with any byte turned, are refused as well as whole ones: a few thousand steps without an engine.
#[test]
fn damaged_seeds_are_read_or_refused() {
    for target in ALL {
        for path in inputs(&folder("corpus", target)) {
            let whole = std::fs::read(path).unwrap();
            let step = (whole.len() / 40).max(1);
            for at in (0..whole.len()).step_by(step) {
                (target.run)(&whole[..at]);
                let mut turned = whole.clone();
                turned[at] ^= 1 << (at % 8);
                (target.run)(&turned);
            }
        }
    }
}
