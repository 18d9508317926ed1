//! The recorded behaviour of the built-in kinds (`shared/golden/builtin`), replayed without a server: a map of documents
//! that calls each kind's strategy in the core's order. What the server or its admission adds is left out of both sides.

#![expect(clippy::print_stdout, reason = "a test says what it skips and counts")]

mod world;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use schema::{DocExt, Value};
use world::{Answer, World, lines};

/// The kinds whose rules are not complete: custom resources have a room of their own.
const INCOMPLETE: &[&str] = &[];

/// Passed and failed by kind.
#[derive(Default)]
struct Score(BTreeMap<String, (u32, u32)>);

impl Score {
    fn note(&mut self, case: &Value, wrong: Option<String>) {
        let entry = self.0.entry(case.str_at("kind").to_owned()).or_default();
        match wrong {
            None => entry.0 += 1,
            Some(wrong) => {
                entry.1 += 1;
                let shown = if INCOMPLETE.contains(&case.str_at("kind")) { wrong.get(..160).unwrap_or(&wrong) } else { wrong.as_str() };
                println!("miss {}: {shown}", case.str_at("id"));
            }
        }
    }

    /// Prints the counts and asks for 95 % of the complete kinds.
    fn finish(self, file: &str) {
        let mut summary = String::new();
        let (mut complete, mut rest) = ((0, 0), (0, 0));
        for (kind, (passed, failed)) in &self.0 {
            let sum = if INCOMPLETE.contains(&kind.as_str()) { &mut rest } else { &mut complete };
            *sum = (sum.0 + passed, sum.1 + failed);
            if *failed > 0 {
                writeln!(summary, "  {kind}: {passed} passed, {failed} failed").expect("a string takes all");
            }
        }
        println!(
            "{summary}{file}: complete kinds {} passed, {} failed; others {} passed, {} failed",
            complete.0, complete.1, rest.0, rest.1
        );
        assert!(complete.0 * 100 >= 95 * (complete.0 + complete.1), "{file}: fewer than 95 % of the complete kinds' cases pass");
    }
}

#[test]
fn defaults() {
    let Some(cases) = lines("defaults.jsonl") else { return };
    let mut score = Score::default();
    for case in cases {
        let mut world = World::default();
        for step in case.items_at("steps") {
            let wrong = match (world.call(step), step.at("want.object")) {
                (_, None) => None,
                (Answer::Object(object), Some(want)) => differences(want, step.items_at("want.absent"), &object),
                (other, Some(_)) => Some(format!("{other:?}")),
            };
            score.note(&case, wrong);
        }
    }
    score.finish("defaults");
}

fn differences(want: &Value, absent: &[Value], got: &Value) -> Option<String> {
    let mut found = Vec::new();
    world::compare("", &world::without_the_servers(want), got, &mut found);
    for pointer in absent.iter().filter_map(Value::as_str) {
        if got.pointer(pointer).is_some_and(|value| !value.is_null()) {
            found.push(format!("{pointer} should be absent"));
        }
    }
    (!found.is_empty()).then(|| found.join("; "))
}

#[test]
fn validation() {
    let Some(cases) = lines("validation.jsonl") else { return };
    let mut score = Score::default();
    for case in cases {
        let mut world = World::default();
        for step in case.items_at("steps") {
            let answer = world.call(step);
            if step.bool_at("setup") {
                continue;
            }
            // Names that exist or not, permissions and quota are the server's.
            let Some(wanted) = step.at("want").filter(|want| matches!(want.i64_at("status"), Some(400 | 422))) else { continue };
            if is_about_metadata(wanted) {
                continue;
            }
            score.note(&case, wrong_causes(&answer, wanted, case.str_at("texts") == "checked"));
        }
    }
    score.finish("validation");
}

/// Labels, owners, uids … are checked by the core for all kinds; names and a node's taints are ours.
fn is_about_metadata(wanted: &Value) -> bool {
    let ours = |field: &str| {
        matches!(field, "metadata.name" | "metadata.annotations[kubernetes.io/service-account.name]")
            || field.starts_with("metadata.taints")
    };
    wanted.items_at("causes").iter().any(|cause| cause[0].as_str().is_some_and(|field| field.starts_with("metadata.") && !ours(field)))
        || wanted.items_at("causes").iter().any(|cause| cause[2] == "Required value: name or generateName is required")
}

fn wrong_causes(answer: &Answer, wanted: &Value, texts: bool) -> Option<String> {
    let causes = match (answer, wanted.i64_at("status")) {
        (Answer::BadRequest(_), Some(400)) => return None,
        (Answer::Invalid(causes), Some(422)) => causes,
        (other, status) => return Some(format!("wanted {status:?}, got {other:?}")),
    };
    let key =
        |field: &str, reason: &str, text: &str| (field.to_owned(), reason.to_owned(), if texts { text.to_owned() } else { String::new() });
    let got: Vec<_> = causes.iter().map(|cause| key(&cause.0, &cause.1, &cause.2)).collect();
    let want: Vec<_> = wanted
        .items_at("causes")
        .iter()
        .map(|cause| {
            key(cause[0].as_str().unwrap_or_default(), cause[1].as_str().unwrap_or_default(), cause[2].as_str().unwrap_or_default())
        })
        .collect();
    let same = |a: &(String, String, String), b: &(String, String, String)| a.0 == b.0 && a.1 == b.1 && world::text_matches(&a.2, &b.2);
    let missing: Vec<_> = want.iter().filter(|want| !got.iter().any(|got| same(want, got))).collect();
    let more: Vec<_> = got.iter().filter(|got| !want.iter().any(|want| same(want, got))).collect();
    (!missing.is_empty() || !more.is_empty()).then(|| format!("missing {missing:?}, more {more:?}"))
}

#[test]
fn tables() {
    let Some(cases) = lines("tables.jsonl") else { return };
    let mut score = Score::default();
    for case in cases {
        let mut world = World::default();
        for step in case.items_at("steps") {
            let answer = world.call(step);
            let Some(want) = step.at("want.columns") else { continue };
            let wrong = match answer {
                Answer::Table { columns, .. } if columns != *want => Some(format!("columns {columns}, wanted {want}")),
                Answer::Table { rows, .. } => {
                    let mut found = Vec::new();
                    world::compare("rows", &step["want"]["rows"], &rows, &mut found);
                    (!found.is_empty()).then(|| found.join("; "))
                }
                other => Some(format!("{other:?}")),
            };
            score.note(&case, wrong);
        }
    }
    score.finish("tables");
}
