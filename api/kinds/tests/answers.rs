//! No kind leaves a question open: each is answered by a constant or function of its file, or by a plain `nothing to do`.

use std::fs;
use std::path::{Path, PathBuf};

use kinds::kind::Question;

/// The `impl Kind for …` blocks of the sources: type and text.
fn blocks() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs::read_to_string(file).expect("a source file");
        for (at, opening) in text.match_indices("\nimpl Kind for ") {
            let rest = &text[at + opening.len()..];
            let (name, block) = rest.split_once(" {\n").expect("a block");
            found.push((name.to_owned(), block.split("\n}\n").next().unwrap_or_default().to_owned()));
        }
    }
    found
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries: Vec<PathBuf> = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    entries.into_iter().flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

#[test]
fn every_kind_answers_every_question_once() {
    let blocks = blocks();
    assert_eq!(blocks.len(), kinds::all().len(), "a row for each kind");
    for (name, block) in &blocks {
        let nothing = block.split("const NOTHING: ").nth(1).and_then(|rest| rest.split("];").next()).unwrap_or_default();
        for question in Question::ALL {
            let has_nothing = nothing.contains(&format!("Question::{question:?}"));
            let has_item = block.contains(question.item());
            assert!(has_nothing || has_item, "{name} leaves {question:?} open: answer it, or list it in `NOTHING`");
            assert!(!(has_nothing && has_item), "{name} answers {question:?} and says that there is nothing to do");
        }
    }
}

#[test]
fn what_is_answered_with_nothing_does_nothing() {
    for row in kinds::all() {
        let nothing = row.strategy.nothing();
        let says = |question: Question| nothing.contains(&question);
        assert!(!says(Question::Fields) || row.fields.is_empty(), "{}", row.kind);
        if says(Question::Defaults) {
            let sample = schema::json!({"metadata": {"name": "x"}, "spec": {}});
            let mut filled = sample.clone();
            row.strategy.fill_defaults(&mut filled);
            assert_eq!(filled, sample, "{}", row.kind);
        }
        if row.has_status && !says(Question::Subresources) {
            assert!(row.subresource("status").is_some(), "{} asks rules of a status that it does not have", row.kind);
        }
    }
}
