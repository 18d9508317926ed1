//! What a mutation makes of an object: a configuration that is laid over it, or a JSON patch. Sentences are upstream's.

use expressions::Value as Cel;
use expressions::value::Object;
use kinds::KindRef;
use schema::apply::{self, Place as Shape};
use schema::patch::{self, PatchError};
use schema::{DocExt, Facts, Status, Value, json};

use crate::admission::Admission;
use crate::admission::webhook::patched;
use crate::admission::webhook::rules::Place;

/// Why there is no object.
pub(super) enum Stop {
    /// The failurePolicy decides.
    Failed(String),
    /// The request ends.
    Status(Status),
}

/// `live` with what an `Object{…}` says.
pub(super) fn configured(request: &Admission<'_>, place: &Place, live: &Value, made: &Cel<'_>) -> Result<Value, Stop> {
    let Cel::Object(object) = made else {
        return Err(Stop::Failed(format!("unsupported return type from ApplyConfiguration expression: {}", made.type_name())));
    };
    check_names(object)?;
    let mut config = made.to_json().map_err(|fault| Stop::Failed(format!("invalid return type: {fault}")))?;
    for member in ["apiVersion", "kind"] {
        config[member] = live.get(member).cloned().unwrap_or_default();
    }
    let custom = custom(request, place);
    let laid = match (&custom, Facts::builtin().kind(live.str_at("apiVersion"), live.str_at("kind"))) {
        (Some(kind), _) => {
            let shape = kind.custom.as_ref().expect("a custom kind was asked for").shape();
            apply::overlay(Shape::Custom(shape), live, &config)
        }
        (None, Some(ty)) => apply::overlay(Shape::Object(ty), live, &config),
        (None, None) => return Err(Stop::Status(unknown(place))),
    };
    laid.map_err(|why| Stop::Failed(format!("error applying patch: {why}")))
}

/// The kind at `place`, where users brought it.
fn custom(request: &Admission<'_>, place: &Place) -> Option<KindRef> {
    let [group, version, kind] = &place.kind;
    let found = request.core.registry().kind(&format!("{group}/{version}"), kind)?;
    found.custom.is_some().then_some(found)
}

fn unknown(place: &Place) -> Status {
    let [group, version, kind] = &place.kind;
    Status::unavailable(format!(
        "Resource kind {group}/{version}, Kind={kind} not found. There can be a delay between when CustomResourceDefinitions are created \
         and when they are available."
    ))
}

/// `live` after the operations of a `[JSONPatch{…}]`, which mean it as it is printed. A `test` that fails leaves it as it is.
pub(super) fn patched(live: &Value, printed: &Value, made: &Cel<'_>) -> Result<Value, Stop> {
    let Cel::List(list) = made else {
        return Err(Stop::Failed("type mismatch: JSONPatchType.expression should evaluate to array".into()));
    };
    let mut operations = Vec::new();
    for item in list.iter() {
        operations.push(operation(&item.map_err(|fault| Stop::Failed(fault.to_string()))?)?);
    }
    match patch::json(printed, Value::Array(operations).to_string().as_bytes()) {
        Ok(mut made) => {
            unprint(&mut made, printed, live);
            Ok(made)
        }
        Err(PatchError::Unprocessable(why)) if why.ends_with(": test failed") => Ok(live.clone()),
        Err(PatchError::Unprocessable(why) | PatchError::Malformed(why) | PatchError::TooLarge(why)) => {
            Err(Stop::Failed(format!("JSON Patch: {why}")))
        }
    }
}

/// Takes out what only stands in `made` because it was printed: it would pass for something that its writer has set.
fn unprint(made: &mut Value, printed: &Value, live: &Value) {
    match (made, printed, live) {
        (Value::Object(made), Value::Object(printed), Value::Object(live)) => {
            made.retain(|name, value| live.contains_key(name) || printed.get(name) != Some(value));
            for (name, value) in made {
                if let (Some(printed), Some(live)) = (printed.get(name), live.get(name)) {
                    unprint(value, printed, live);
                }
            }
        }
        (Value::Array(made), Value::Array(printed), Value::Array(live)) if printed.len() == live.len() => {
            let same_places = made.len() == printed.len();
            for (at, value) in made.iter_mut().enumerate() {
                match printed.iter().position(|one| one == value) {
                    Some(found) => value.clone_from(&live[found]),
                    None if same_places => unprint(value, &printed[at], &live[at]),
                    None => {}
                }
            }
        }
        _ => {}
    }
}

fn operation(made: &Cel<'_>) -> Result<Value, Stop> {
    let Cel::Object(object) = made else {
        let why = "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch, got element of";
        return Err(Stop::Failed(format!("{why} {}", made.type_name())));
    };
    let text = |name: &str| object.fields.iter().find(|(field, _)| field == name).and_then(|(_, value)| value.as_str());
    let mut operation = json!({"op": text("op").unwrap_or_default(), "path": text("path").unwrap_or_default()});
    if let Some(from) = text("from").filter(|from| !from.is_empty()) {
        operation["from"] = json!(from);
    }
    if let Some((_, value)) = object.fields.iter().find(|(field, _)| field == "value") {
        if let Cel::Object(inner) = value {
            check_names(inner)?;
        }
        let unfit = |fault| Stop::Failed(format!("JSONPath valueExpression evaluated to a type that could not marshal to JSON: {fault}"));
        operation["value"] = value.to_json().map_err(unfit)?;
    }
    Ok(operation)
}

/// The type of an object within another one must be named after its place: `Object.spec.template` below `spec`.
fn check_names(object: &Object<'_>) -> Result<(), Stop> {
    let mut errors = Vec::new();
    wrong_names(object, &object.name, &mut errors);
    if errors.is_empty() { Ok(()) } else { Err(Stop::Failed(format!("type mismatch: {}", errors.join("\n")))) }
}

fn wrong_names(object: &Object<'_>, expected: &str, errors: &mut Vec<String>) {
    if &*object.name != expected {
        errors.push(format!(
            "unexpected type name {:?}, expected {expected:?}, which matches field name path from root Object type",
            object.name
        ));
    }
    for (name, value) in &object.fields {
        wrong_names_in(value, &format!("{expected}.{name}"), errors);
    }
}

/// Lists and maps have no name of their own.
fn wrong_names_in(value: &Cel<'_>, expected: &str, errors: &mut Vec<String>) {
    match value {
        Cel::Object(inner) => wrong_names(inner, expected, errors),
        Cel::List(list) => list.iter().flatten().for_each(|item| wrong_names_in(&item, expected, errors)),
        Cel::Map(map) => map.entries().into_iter().flatten().for_each(|(_, item)| wrong_names_in(&item, expected, errors)),
        _ => {}
    }
}

/// What was made, in the place of `new`. Returns whether that changes anything.
pub(super) async fn adopt(
    request: &mut Admission<'_>,
    place: &Place,
    made: Value,
    new: &mut Value,
    old: Option<&Value>,
) -> Result<bool, Status> {
    let expected = patched::expected(request, place)?;
    let decoded = expected.decode(made).map_err(Status::internal)?;
    if !decoded.strict_errors.is_empty() && custom(request, place).is_none() {
        return Err(Status::internal(format!("strict decoding error: {}", decoded.strict_errors.join(", "))));
    }
    patched::take(request, place, decoded.value, new, old).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_only_printed_is_not_kept() {
        let live = json!({"spec": {"containers": [{"name": "a"}, {"name": "b", "resources": {}}]}, "x": 1});
        let printed =
            json!({"spec": {"containers": [{"name": "a", "resources": {}}, {"name": "b", "resources": {}}]}, "status": {}, "x": 1});
        let mut same = printed.clone();
        unprint(&mut same, &printed, &live);
        assert_eq!(same, live);
        let mut longer = printed.clone();
        longer["spec"]["containers"].as_array_mut().unwrap().insert(0, json!({"name": "new", "resources": {}}));
        longer["status"] = json!({"phase": "x"});
        unprint(&mut longer, &printed, &live);
        let want = json!({"spec": {"containers": [{"name": "new", "resources": {}}, {"name": "a"}, {"name": "b", "resources": {}}]},
            "status": {"phase": "x"}, "x": 1});
        assert_eq!(longer, want);
    }
}
