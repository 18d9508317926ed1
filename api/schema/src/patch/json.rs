//! JSON patch with evanphx/json-patch v4's leniency (negative indexes, `replace` of an absent member) and sentences.

use super::PatchError;
use crate::{Value, decode};

/// Upstream's bounds: operations in one patch, and bytes that its copies may add.
const OPERATIONS_MAX: usize = 10_000;
const COPIED_BYTES_MAX: usize = 3 << 20;

const MISSING: &str = "missing value";

pub(super) fn apply(doc: &Value, patch: &[u8]) -> Result<Value, PatchError> {
    let operations = decode::json_value(patch).map_err(|error| PatchError::Malformed(error.to_string()))?.value;
    if operations.is_null() {
        return Ok(doc.clone());
    }
    let Value::Array(operations) = operations else {
        let text = format!("json: cannot unmarshal {} into Go value of type jsonpatch.Patch", kind(&operations));
        return Err(PatchError::Malformed(text));
    };
    if operations.len() > OPERATIONS_MAX {
        let text = format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}", operations.len());
        return Err(PatchError::TooLarge(text));
    }
    let mut patched = Patched { doc: doc.clone(), copied_bytes: 0 };
    for operation in &operations {
        if !operation.is_object() {
            let text = format!("json: cannot unmarshal {} into Go value of type jsonpatch.Operation", kind(operation));
            return Err(PatchError::Malformed(text));
        }
        patched.run(operation).map_err(PatchError::Unprocessable)?;
    }
    Ok(patched.doc)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

struct Patched {
    doc: Value,
    copied_bytes: usize,
}

impl Patched {
    fn run(&mut self, operation: &Value) -> Result<(), String> {
        match operation["op"].as_str() {
            Some("add") => self.add(operation),
            Some("remove") => self.remove(operation),
            Some("replace") => self.replace(operation),
            Some("move") => self.relocate(operation),
            Some("copy") => self.copy(operation),
            Some("test") => self.test(operation),
            Some(other) => Err(format!("Unexpected kind: {other}")),
            None => Err("Unexpected kind: unknown".into()),
        }
    }

    fn add(&mut self, operation: &Value) -> Result<(), String> {
        let path = pointer(operation, "path").ok_or_else(|| format!("add operation failed to decode path: {MISSING}"))?;
        let missing = || format!("add operation does not apply: doc is missing path: \"{path}\": {MISSING}");
        let (parent, key) = find(&mut self.doc, path).ok_or_else(missing)?;
        insert(parent, &key, operation["value"].clone()).map_err(|error| format!("error in add for path: '{path}': {error}"))
    }

    fn remove(&mut self, operation: &Value) -> Result<(), String> {
        let path = pointer(operation, "path").ok_or_else(|| format!("remove operation failed to decode path: {MISSING}"))?;
        let missing = || format!("remove operation does not apply: doc is missing path: \"{path}\": {MISSING}");
        let (parent, key) = find(&mut self.doc, path).ok_or_else(missing)?;
        take(parent, &key).map_err(|error| format!("error in remove for path: '{path}': {error}"))?;
        Ok(())
    }

    fn replace(&mut self, operation: &Value) -> Result<(), String> {
        let path = pointer(operation, "path")
            .ok_or_else(|| format!("replace operation failed to decode path: operation missing path field: {MISSING}"))?;
        let value = &operation["value"];
        if path.is_empty() {
            if !value.is_object() && !value.is_array() {
                return Err("replace operation value must be object or array: %!w(<nil>)".into());
            }
            self.doc = value.clone();
            return Ok(());
        }
        let missing = || format!("replace operation does not apply: doc is missing path: {path}: {MISSING}");
        let (parent, key) = find(&mut self.doc, path).ok_or_else(missing)?;
        match parent {
            Value::Array(elements) => {
                let absent = |_| format!("replace operation does not apply: doc is missing key: {path}: {MISSING}");
                let at = position(&key, elements.len(), elements.len()).map_err(absent)?;
                elements[at] = value.clone();
            }
            object => object[key.as_str()] = value.clone(),
        }
        Ok(())
    }

    fn relocate(&mut self, operation: &Value) -> Result<(), String> {
        let from = pointer(operation, "from")
            .ok_or_else(|| format!("move operation failed to decode from: operation, missing from field: {MISSING}"))?;
        let missing = || format!("move operation does not apply: doc is missing from path: {from}: {MISSING}");
        let (parent, key) = find(&mut self.doc, from).ok_or_else(missing)?;
        let value = take(parent, &key).map_err(|error| format!("error in move for path: '{key}': {error}"))?;
        let path = pointer(operation, "path")
            .ok_or_else(|| format!("move operation failed to decode path: operation missing path field: {MISSING}"))?;
        let missing = || format!("move operation does not apply: doc is missing destination path: {path}: {MISSING}");
        let (parent, key) = find(&mut self.doc, path).ok_or_else(missing)?;
        insert(parent, &key, value).map_err(|error| format!("error in move for path: '{path}': {error}"))
    }

    fn copy(&mut self, operation: &Value) -> Result<(), String> {
        let from = pointer(operation, "from")
            .ok_or_else(|| format!("copy operation failed to decode from: operation, missing from field: {MISSING}"))?;
        let missing = || format!("copy operation does not apply: doc is missing from path: {from}: {MISSING}");
        let (parent, key) = find(&mut self.doc, from).ok_or_else(missing)?;
        let value = get(parent, &key).map_err(|error| format!("error in copy for from: '{from}': {error}"))?.cloned().unwrap_or_default();
        let path = pointer(operation, "path").ok_or_else(|| format!("copy operation failed to decode path: {MISSING}"))?;
        self.copied_bytes += value.to_string().len();
        if self.copied_bytes > COPIED_BYTES_MAX {
            let text = "Unable to complete the copy, the accumulated size increase of copy is";
            return Err(format!("{text} {}, exceeding the limit {COPIED_BYTES_MAX}", self.copied_bytes));
        }
        let missing = || format!("copy operation does not apply: doc is missing destination path: {path}: {MISSING}");
        let (parent, key) = find(&mut self.doc, path).ok_or_else(missing)?;
        insert(parent, &key, value).map_err(|error| format!("error while adding value during copy: {error}"))
    }

    fn test(&mut self, operation: &Value) -> Result<(), String> {
        let path = pointer(operation, "path")
            .ok_or_else(|| format!("test operation failed to decode path: operation missing path field: {MISSING}"))?;
        let value = &operation["value"];
        let same = if path.is_empty() {
            self.doc == *value
        } else {
            let missing = || format!("test operation does not apply: is missing path: {path}: {MISSING}");
            let (parent, key) = find(&mut self.doc, path).ok_or_else(missing)?;
            let found = get(parent, &key).map_err(|error| format!("error in test for path: '{path}': {error}"))?;
            found.unwrap_or(&Value::Null) == value
        };
        if same { Ok(()) } else { Err(format!("testing value {path} failed: test failed")) }
    }
}

fn pointer<'o>(operation: &'o Value, member: &str) -> Option<&'o str> {
    operation.get(member).and_then(Value::as_str)
}

/// The container that a pointer leads into, and the last step. What stands before the first slash is passed over.
fn find<'d>(doc: &'d mut Value, path: &str) -> Option<(&'d mut Value, String)> {
    let (parents, last) = path.rsplit_once('/')?;
    let is_container = |value: &Value| value.is_object() || value.is_array();
    let mut here = Some(doc).filter(|doc| is_container(doc))?;
    for step in parents.split('/').skip(1) {
        here = match here {
            Value::Array(elements) => {
                let at = position(&unescape(step), elements.len(), elements.len()).ok()?;
                &mut elements[at]
            }
            object => object.get_mut(unescape(step))?,
        };
        if !is_container(here) {
            return None;
        }
    }
    Some((here, unescape(last)))
}

fn unescape(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

fn get<'d>(parent: &'d Value, key: &str) -> Result<Option<&'d Value>, String> {
    match parent {
        Value::Array(elements) => position(key, elements.len(), elements.len()).map(|at| elements.get(at)),
        object => Ok(object.get(key)),
    }
}

fn insert(parent: &mut Value, key: &str, value: Value) -> Result<(), String> {
    match parent {
        Value::Array(elements) if key == "-" => elements.push(value),
        Value::Array(elements) => {
            number(key).map_err(|error| format!("value was not a proper array index: '{key}': {error}"))?;
            let at = position(key, elements.len() + 1, elements.len() + 1)?;
            elements.insert(at, value);
        }
        object => object[key] = value,
    }
    Ok(())
}

fn take(parent: &mut Value, key: &str) -> Result<Value, String> {
    match parent {
        Value::Array(elements) => position(key, elements.len(), elements.len()).map(|at| elements.remove(at)),
        Value::Object(members) => members.remove(key).ok_or_else(|| format!("Unable to remove nonexistent key: {key}: {MISSING}")),
        _ => Err(format!("Unable to remove nonexistent key: {key}: {MISSING}")),
    }
}

/// An index below `end`; negative ones count from `length`.
fn position(key: &str, length: usize, end: usize) -> Result<usize, String> {
    let index = number(key)?;
    let wrong = || format!("Unable to access invalid index: {index}: invalid index referenced");
    let at = if index < 0 { index + length as i64 } else { index };
    usize::try_from(at).ok().filter(|at| *at < end).ok_or_else(wrong)
}

fn number(key: &str) -> Result<i64, String> {
    key.parse().map_err(|_| format!("strconv.Atoi: parsing {key:?}: invalid syntax"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn a_patch_that_is_no_list_of_operations_is_malformed() {
        for patch in ["{}", "[1]", "["] {
            assert!(matches!(apply(&json!({}), patch.as_bytes()), Err(PatchError::Malformed(_))), "{patch}");
        }
    }

    #[test]
    fn copies_cannot_blow_up_the_document() {
        let doc = json!({"a": ["x".repeat(1000)]});
        let step = r#"{"op":"copy","from":"/a","path":"/a/-"}"#;
        let patch = format!("[{}]", [step; 64].join(","));
        assert!(matches!(apply(&doc, patch.as_bytes()), Err(PatchError::Unprocessable(_))));
    }
}
