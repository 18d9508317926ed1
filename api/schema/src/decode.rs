//! JSON and YAML to a [`Value`] under a type's facts: type check, pruning and the field report in one pass.
//!
//! What comes out is canonical as upstream's Go types would print it again: a null member is an absent one, quantities
//! and times are in their canonical form, unknown members are gone. Errors are upstream's sentences where clients see
//! them (`json: cannot unmarshal …`, `invalid character …`, `strict decoding error` parts).

mod in_place;
mod json;
mod source;
mod typed;
mod unstructured;
mod yaml;

use crate::{Map, TypeId, Value};

/// Documents nest no deeper than this; what we accept, every later reader of the stored JSON must accept too.
pub const DEPTH_MAX: usize = 120;

pub use typed::base64_error_at;

/// `?fieldValidation=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// A decoded, pruned document and what was said of its fields, in document order, in upstream's words
/// (`unknown field "spec.foo"`, `duplicate field "spec.bar"`).
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub value: Value,
    pub strict_errors: Vec<String>,
}

#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum DecodeError {
    /// Not JSON/YAML at all.
    #[error("{0}")]
    Syntax(String),
    /// A value of another type than the schema says.
    #[error("{0}")]
    Type(String),
    /// Deeper or larger than we read.
    #[error("{0}")]
    Limit(String),
}

/// Decodes JSON. `ty` is the type of the root; unknown members are dropped and reported.
pub fn json(ty: TypeId, bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let mut source = json::Text::new(bytes);
    let decoded = typed::document(ty, &mut source)?;
    source.end()?;
    decoded.finish()
}

/// Decodes JSON that no schema describes (custom objects, patches): duplicate members are reported, the last one counts.
pub fn json_value(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let mut source = json::Text::new(bytes);
    let decoded = typed::free_form(&mut source)?;
    source.end()?;
    decoded.finish()
}

/// As [`json_value`] for a document that must be an object; null is an empty one.
pub fn json_object(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let mut decoded = json_value(bytes)?;
    let kind = match decoded.value {
        Value::Object(_) => return Ok(decoded),
        Value::Null => {
            decoded.value = Value::Object(Map::new());
            return Ok(decoded);
        }
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
    };
    Err(DecodeError::Type(format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}")))
}

/// Decodes YAML 1.1 as sigs.k8s.io/yaml does, then as [`json`].
pub fn yaml(ty: TypeId, bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let document = yaml::document(bytes)?;
    let mut decoded = value(ty, document.value)?;
    decoded.strict_errors.splice(0..0, document.duplicates);
    Ok(decoded)
}

/// Decodes YAML as a client's strict decoder does (`sigs.k8s.io/yaml`), which is not how a server reads it: names of fields
/// in any case, numbers and booleans where a string is wanted, and an error, in that decoder's words, at the first member that
/// is there twice or that nobody knows.
pub fn client_yaml(ty: TypeId, bytes: &[u8]) -> Result<Value, DecodeError> {
    let unread = |why: DecodeError| DecodeError::Syntax(format!("error converting YAML to JSON: {why}"));
    let misfit = |why: DecodeError| DecodeError::Type(format!("error unmarshaling JSON: while decoding JSON: {why}"));
    let document = yaml_value(bytes).map_err(unread)?;
    let walk = typed::lenient_document(ty, &mut source::Tree::below(document, 0)).map_err(misfit)?;
    Ok(walk.finish().map_err(misfit)?.value)
}

/// As [`json_object`] for YAML.
pub fn yaml_object(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let document = yaml::document(bytes)?;
    let value = if document.value.is_null() { Value::Object(Map::new()) } else { document.value };
    Ok(Decoded { value, strict_errors: document.duplicates.into_iter().collect() })
}

/// YAML to plain JSON without a schema (manifests, patches). One document; a member given twice is an error.
pub fn yaml_value(bytes: &[u8]) -> Result<Value, DecodeError> {
    let document = yaml::document(bytes)?;
    match document.duplicates {
        Some(duplicates) => Err(DecodeError::Syntax(duplicates)),
        None => Ok(document.value),
    }
}

/// YAML (or JSON, which is read faster) without a schema; members given twice are reported, the last one counts.
pub fn yaml_reported(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    if bytes.trim_ascii_start().starts_with(b"{")
        && let Ok(decoded) = json_value(bytes)
        && decoded.strict_errors.is_empty()
    {
        return Ok(decoded);
    }
    let document = yaml::document(bytes)?;
    Ok(Decoded { value: document.value, strict_errors: document.duplicates.into_iter().collect() })
}

/// What a plain scalar is to a reader of YAML 1.1.
pub(crate) fn yaml_scalar(text: &str) -> Result<Value, DecodeError> {
    yaml::plain_scalar(text)
}

/// The documents of a multi-document YAML or JSON stream (`---`), empty ones left out.
pub fn yaml_documents(text: &str) -> Result<Vec<Value>, DecodeError> {
    if let Some(values) = json_stream(text) {
        return Ok(values);
    }
    let mut values = Vec::new();
    for document in yaml::documents(text)? {
        if let Some(duplicates) = document.duplicates {
            return Err(DecodeError::Syntax(duplicates));
        }
        values.extend(Some(document.value).filter(|value| !value.is_null()));
    }
    Ok(values)
}

/// JSON documents one after the other, as `kubectl get -o json` of several kinds makes them; YAML allows only one.
fn json_stream(text: &str) -> Option<Vec<Value>> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    serde_json::Deserializer::from_str(text).into_iter().collect::<Result<_, _>>().ok()
}

/// Checks and prunes an already decoded value (after a patch), as [`json`] does.
pub fn value(ty: TypeId, value: Value) -> Result<Decoded, DecodeError> {
    in_place::document(ty, value)?.finish()
}

/// Why what a strategic merge patch made is no object of type `ty`, in the words that upstream has for it: it decodes that
/// otherwise. None where the words of [`value`] will do.
pub fn strategic_misfit(ty: TypeId, patched: &Value) -> Option<String> {
    unstructured::misfit(ty, patched)
}

/// How deep a value nests; a scalar not at all.
fn depth_of(value: &Value) -> usize {
    match value {
        Value::Array(elements) => 1 + elements.iter().map(depth_of).max().unwrap_or_default(),
        Value::Object(members) => 1 + members.values().map(depth_of).max().unwrap_or_default(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Facts, json};

    fn pod(text: &str) -> Result<Decoded, DecodeError> {
        json(Facts::builtin().kind("v1", "Pod").expect("a kind"), text.as_bytes())
    }

    #[test]
    fn unknown_and_duplicate_members_are_told_in_document_order_and_dropped() {
        let decoded = pod(r#"{"spec":{"containers":[{"name":"a","name":"b"}],"bogus":1,"other":{"deep":{"er":1}}},"zero":0}"#);
        let decoded = decoded.expect("good but for fields");
        let want = [
            r#"duplicate field "spec.containers[0].name""#,
            r#"unknown field "spec.bogus""#,
            r#"unknown field "spec.other""#,
            r#"unknown field "zero""#,
        ];
        assert_eq!(decoded.strict_errors, want);
        assert_eq!(decoded.value, json!({"spec": {"containers": [{"name": "b"}]}}));
    }

    #[test]
    fn what_comes_out_is_canonical() {
        let decoded = pod(r#"{"metadata":{"creationTimestamp":"2020-01-02T03:04:05+02:00","labels":{"a":null},"name":null},
                "spec":{"containers":[{"resources":{"limits":{"cpu":"1000m","memory":"2048Mi","x":1.50}}}]}}"#);
        let want = json!({"metadata": {"creationTimestamp": "2020-01-02T01:04:05Z", "labels": {"a": ""}},
            "spec": {"containers": [{"resources": {"limits": {"cpu": "1", "memory": "2Gi", "x": "1500m"}}}]}});
        assert_eq!(decoded.expect("good").value, want);
    }

    #[test]
    fn a_wrong_type_and_broken_text_answer_in_upstreams_words() {
        for (text, want) in [
            (
                r#"{"spec":{"activeDeadlineSeconds":1.5}}"#,
                "json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.activeDeadlineSeconds of type int64",
            ),
            (
                r#"{"spec":{"containers":{}}}"#,
                "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
            ),
            (r#"{"spec":[]}"#, "json: cannot unmarshal array into Go struct field Pod.spec of type v1.PodSpec"),
            (r#"[]"#, "json: cannot unmarshal array into Go value of type v1.Pod"),
            (r#"{"spec":[],}"#, "invalid character '}' looking for beginning of object key string"),
            (r#"{"spec":"#, "unexpected end of JSON input"),
            (r#"{}}"#, "invalid character '}' after top-level value"),
        ] {
            assert_eq!(pod(text).expect_err(text).to_string(), want, "{text}");
        }
    }

    #[test]
    fn a_clients_decoder_takes_names_in_any_case_and_ends_at_what_it_does_not_know() {
        let pod = Facts::builtin().kind("v1", "Pod").expect("a kind");
        let read = |text: &str| client_yaml(pod, text.as_bytes()).map_err(|error| error.to_string());
        assert_eq!(read("METADATA: {labels: {a: 1, b: true}}\nSpec: {nodename: 1.5}"), {
            Ok(json!({"metadata": {"labels": {"a": "1", "b": "true"}}, "spec": {"nodeName": "1.5"}}))
        });
        for (text, why) in [
            ("spec: {bogus: 1, other: 2}", "error unmarshaling JSON: while decoding JSON: json: unknown field \"bogus\""),
            ("a: 1\na: 2", "error converting YAML to JSON: yaml: unmarshal errors:\n  line 2: key \"a\" already set in map"),
        ] {
            assert_eq!(read(text), Err(why.to_owned()));
        }
    }

    #[test]
    fn depth_is_bounded_also_where_nothing_is_read() {
        let deep = format!("{{\"unknown\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(matches!(pod(&deep), Err(DecodeError::Limit(_))));
    }
}
