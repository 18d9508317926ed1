//! ConversionReview: what is asked, and what may come back.

use bytes::Bytes;
use kinds::{KindRef, Text};
use schema::{DocExt, FieldErrors, Map, Path, Status, Value, json};
use serde::Deserialize;

use crate::failure;

/// Of `apiextensions.k8s.io`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V1beta1,
}

impl Version {
    /// The first of them that we speak.
    pub(super) fn first(versions: &[Text]) -> Option<Self> {
        versions.iter().find_map(|version| match version.as_ref() {
            "v1" => Some(Self::V1),
            "v1beta1" => Some(Self::V1beta1),
            _ => None,
        })
    }

    fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "apiextensions.k8s.io/v1",
            Self::V1beta1 => "apiextensions.k8s.io/v1beta1",
        }
    }
}

/// What of a document its conversion must leave as it is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Original {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Map<String, Value>,
}

pub(super) fn originals(raws: &[Bytes]) -> Result<Vec<Original>, Status> {
    raws.iter().map(|raw| serde_json::from_slice(raw).map_err(Status::internal)).collect()
}

/// The request's body: the documents' own bytes.
pub(super) fn body(version: Version, uid: &str, wanted: &str, raws: &[Bytes]) -> Bytes {
    let mut body = Vec::with_capacity(raws.iter().map(|raw| raw.len() + 1).sum::<usize>() + 256);
    let head = format!(
        "{{\"kind\":\"ConversionReview\",\"apiVersion\":\"{}\",\"request\":{{\"uid\":\"{uid}\",\"desiredAPIVersion\":{},\"objects\":[",
        version.api_version(),
        json!(wanted),
    );
    body.extend_from_slice(head.as_bytes());
    for (at, raw) in raws.iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        body.extend_from_slice(raw);
    }
    body.extend_from_slice(b"]}}");
    body.into()
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    api_version: String,
    kind: String,
    response: Option<Response>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Response {
    uid: String,
    converted_objects: Option<Vec<Value>>,
    result: Outcome,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Outcome {
    status: String,
    message: String,
}

/// The converted documents, or why there are none. `v1beta1` was never checked for its uid and kind; it is not now.
pub(super) fn read(version: Version, uid: &str, bytes: &[u8]) -> Result<Vec<Value>, String> {
    const SHOWN: usize = 64;
    let answer: Answer = serde_json::from_slice(bytes).map_err(|error| {
        let head = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]);
        format!("couldn't get version/kind; json parse error: {error} (the answer begins with {head:?})")
    })?;
    let (wanted, got) = (version.api_version(), answer.api_version.as_str());
    if version == Version::V1 && (got != wanted || answer.kind != "ConversionReview") {
        return Err(format!("expected webhook response of {wanted}, Kind=ConversionReview, got {got}, Kind={}", answer.kind));
    }
    let response = answer.response.ok_or("no response provided")?;
    if version == Version::V1 && response.uid != uid {
        return Err(format!("expected response.uid={uid:?}, got {:?}", response.uid));
    }
    match response.result {
        Outcome { status, .. } if status == "Success" => Ok(response.converted_objects.unwrap_or_default()),
        Outcome { message, .. } if !message.is_empty() => Err(message),
        Outcome { status, .. } => Err(format!("response.result.status was '{status}', not 'Success'")),
    }
}

/// What a review was about.
pub(super) struct About<'a> {
    pub originals: &'a [Original],
    /// In whose version they are wanted.
    pub kind: &'a KindRef,
}

impl About<'_> {
    /// `conversion webhook for example.com/v1, Kind=Widget failed: …`
    pub(super) fn failed(&self, why: &str) -> Status {
        self.error(&format!("failed: {why}"))
    }

    fn error(&self, what: &str) -> Status {
        let (api_version, kind) = self.originals.first().map_or(("", ""), |first| (&first.api_version, &first.kind));
        failure::plain(format!("conversion webhook for {api_version}, Kind={kind} {what}"))
    }

    /// The converted documents with the metadata that they had; an error where one is not what it should be.
    pub(super) fn checked(&self, converted: Vec<Value>) -> Result<Vec<Value>, Status> {
        let (found, sent) = (converted.len(), self.originals.len());
        if found != sent {
            return Err(self.error(&format!("returned {found} objects, expected {sent}")));
        }
        let pairs = self.originals.iter().zip(converted).enumerate();
        pairs.map(|(at, (original, doc))| self.checked_one(at, original, doc)).collect()
    }

    fn checked_one(&self, at: usize, original: &Original, mut doc: Value) -> Result<Value, Status> {
        let alone = self.originals.len() == 1;
        let object = if alone { "invalid object".to_owned() } else { format!("invalid converted object at index {at}") };
        if !doc.is_object() || doc.str_at("kind").is_empty() {
            return Err(self.error(&format!("returned {object}: Object 'Kind' is missing in '{doc}'")));
        }
        let (wanted, got) = (self.kind.api_version(), doc.str_at("apiVersion"));
        let indexed = format!("invalid {} at index {at}", if alone { "object" } else { "converted object" });
        if got != wanted {
            return Err(self.error(&format!("returned {indexed}: invalid groupVersion (expected {wanted}, received {got})")));
        }
        if doc.str_at("kind") != original.kind {
            let (wanted, got) = (&original.kind, doc.str_at("kind"));
            return Err(self.error(&format!("returned {indexed}: invalid kind (expected {wanted}, received {got})")));
        }
        original.check_identity(&doc).map_err(|why| self.error(&format!("returned {object}: {why}")))?;
        let metadata = if alone { "invalid metadata".to_owned() } else { format!("invalid metadata in object at index {at}") };
        original.restore(&mut doc).map_err(|why| self.error(&format!("returned {metadata}: {why}")))?;
        Ok(doc)
    }
}

impl Original {
    fn check_identity(&self, doc: &Value) -> Result<(), String> {
        for (word, member) in [("name", "name"), ("namespace", "namespace"), ("UID", "uid")] {
            let had = self.metadata.get(member).and_then(Value::as_str).unwrap_or_default();
            let has = doc.at("metadata").and_then(|metadata| metadata.get(member)).and_then(Value::as_str).unwrap_or_default();
            if had != has {
                return Err(format!("must have the same {word}: {had} != {has}"));
            }
        }
        Ok(())
    }

    /// Gives the document the metadata that it had, but for labels and annotations.
    fn restore(&self, doc: &mut Value) -> Result<(), String> {
        let answered = match doc.get("metadata") {
            None => return Err("missing metadata in converted object".into()),
            Some(Value::Object(metadata)) => metadata,
            Some(other) => return Err(format!("invalid metadata of type {} in converted object", go_type(other))),
        };
        let mut metadata = self.metadata.clone();
        for member in ["labels", "annotations"] {
            match answered.get(member).filter(|value| !value.is_null()) {
                None => drop(metadata.remove(member)),
                Some(Value::Object(pairs)) => {
                    check_pairs(member, pairs, self.metadata.get(member))?;
                    metadata.insert(member.into(), Value::Object(pairs.clone()));
                }
                Some(other) => return Err(format!("invalid metadata.{member} of type {} in converted object", go_type(other))),
            }
        }
        doc["metadata"] = Value::Object(metadata);
        Ok(())
    }
}

fn check_pairs(member: &str, pairs: &Map<String, Value>, before: Option<&Value>) -> Result<(), String> {
    if let Some((key, value)) = pairs.iter().find(|(_, value)| !value.is_string()) {
        return Err(format!("metadata.{member}[{key}] must be a string, but is {} in converted object", go_type(value)));
    }
    let answered = Value::Object(pairs.clone());
    if before == Some(&answered) {
        return Ok(());
    }
    let (path, mut errors) = (Path::new("metadata"), FieldErrors::default());
    match member {
        "labels" => schema::meta::validate_labels(&answered, &path.child("labels"), &mut errors),
        _ => schema::meta::validate_annotations(&answered, &path.child("annotation"), &mut errors),
    }
    let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    match texts.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_must_be_the_one_to_the_request() {
        let answer = |response: Value| {
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response}).to_string()
        };
        let bare = |response: Value| json!({"response": response}).to_string();
        for (version, text, want) in [
            (Version::V1, answer(Value::Null), "no response provided"),
            (Version::V1, answer(json!({"uid": "x"})), "expected response.uid=\"u\", got \"x\""),
            (
                Version::V1,
                bare(json!({"uid": "u"})),
                "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got , Kind=",
            ),
            (
                Version::V1,
                answer(json!({"uid": "u", "result": {"status": "Failed"}})),
                "response.result.status was 'Failed', not 'Success'",
            ),
            (Version::V1, answer(json!({"uid": "u", "result": {"status": "Failed", "message": "sorry"}})), "sorry"),
            (Version::V1beta1, bare(json!({"uid": "x"})), "response.result.status was '', not 'Success'"),
        ] {
            assert_eq!(read(version, "u", text.as_bytes()).unwrap_err(), want);
        }
        let beta = bare(json!({"convertedObjects": [{"a": 1}], "result": {"status": "Success"}}));
        assert_eq!(read(Version::V1beta1, "u", beta.as_bytes()).unwrap(), [json!({"a": 1})]);
        assert!(read(Version::V1, "u", b"<html>").unwrap_err().starts_with("couldn't get version/kind; json parse error: "));
    }

    fn original() -> Original {
        let doc = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a", "uid": "u", "finalizers": ["x/y"],
            "resourceVersion": "7", "labels": {"a": "b"}}});
        serde_json::from_value(doc).unwrap()
    }

    #[test]
    fn labels_and_annotations_alone_are_the_webhooks() {
        let mut doc = json!({"apiVersion": "example.com/v2", "kind": "Widget", "metadata": {"name": "a", "uid": "u", "generation": 9,
            "resourceVersion": "1", "finalizers": null, "annotations": {"c": "d"}}});
        original().restore(&mut doc).unwrap();
        let want = json!({"name": "a", "uid": "u", "finalizers": ["x/y"], "resourceVersion": "7", "annotations": {"c": "d"}});
        assert_eq!(doc["metadata"], want);
    }

    #[test]
    fn metadata_that_is_none_is_refused() {
        for (metadata, want) in [
            (Value::Null, "invalid metadata of type <nil> in converted object"),
            (json!({"labels": []}), "invalid metadata.labels of type []interface {} in converted object"),
            (json!({"labels": {"a": 1}}), "metadata.labels[a] must be a string, but is int64 in converted object"),
        ] {
            assert_eq!(original().restore(&mut json!({"metadata": metadata})).unwrap_err(), want);
        }
        assert_eq!(original().restore(&mut json!({})).unwrap_err(), "missing metadata in converted object");
        let why = original().restore(&mut json!({"metadata": {"labels": {"a": "no such value!"}}})).unwrap_err();
        assert!(why.starts_with("metadata.labels: Invalid value: \"no such value!\": "), "{why}");
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_answered_is_read_or_refused(bytes: Vec<u8>, text in "\\PC{0,80}") {
            let _ = read(Version::V1, "u", &bytes);
            let _ = read(Version::V1beta1, "u", text.as_bytes());
        }
    }
}
