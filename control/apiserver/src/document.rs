//! The stored form of an object: canonical JSON with one hole.
//!
//! A document's resourceVersion is the revision of the commit that wrote it, so it is known only then. [`encode`] writes
//! `"resourceVersion":""` and says where the digits go; the store fills them in. The functions below change that one
//! member of finished bytes without decoding the rest.

use std::ops::Range;

use bytes::Bytes;
use schema::{Map, Value, go};

/// A document on its way to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    pub bytes: Bytes,
    /// Where the store inserts the revision's digits.
    pub rv_at: u32,
}

/// Canonical JSON of `doc`: `apiVersion`, `kind`, `metadata`, then the rest in key order. Whatever resourceVersion it has is left out.
pub fn encode(doc: &Value) -> Encoded {
    let empty = Map::new();
    let members = doc.as_object().unwrap_or(&empty);
    let mut out = Vec::with_capacity(512);
    out.push(b'{');
    for head in ["apiVersion", "kind"] {
        if let Some(value) = members.get(head) {
            member(&mut out, head, value);
        }
    }
    let rv_at = metadata(&mut out, members.get("metadata").and_then(Value::as_object).unwrap_or(&empty));
    for (name, value) in members {
        if !matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            member(&mut out, name, value);
        }
    }
    out.push(b'}');
    Encoded { bytes: Bytes::from(out), rv_at }
}

/// `encoded` with the hole filled: what the store will hold when it commits at `version`.
pub fn fill(encoded: &Encoded, version: &str) -> Bytes {
    splice(&encoded.bytes, encoded.rv_at as usize..encoded.rv_at as usize, version)
}

/// The document as it says of itself that it is at `revision`: what a DELETED event carries.
pub fn restamp(raw: &Bytes, revision: u64) -> Bytes {
    match version_span(raw) {
        Some(span) => splice(raw, span, &revision.to_string()),
        None => raw.clone(),
    }
}

/// Whether canonical bytes are of a kind in `group` at `version`.
pub fn is_of(raw: &[u8], group: &str, version: &str) -> bool {
    let rest = raw.strip_prefix(b"{\"apiVersion\":\"");
    let rest = match group {
        "" => rest,
        group => rest.and_then(|rest| rest.strip_prefix(group.as_bytes())).and_then(|rest| rest.strip_prefix(b"/")),
    };
    rest.and_then(|rest| rest.strip_prefix(version.as_bytes())).is_some_and(|rest| rest.starts_with(b"\""))
}

fn splice(raw: &[u8], span: Range<usize>, text: &str) -> Bytes {
    let mut out = Vec::with_capacity(raw.len() + text.len());
    out.extend_from_slice(&raw[..span.start]);
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(&raw[span.end..]);
    Bytes::from(out)
}

fn member(out: &mut Vec<u8>, name: &str, value: &Value) {
    name_of(out, name);
    let start = out.len();
    serde_json::to_writer(&mut *out, value).expect("a document serialises into memory");
    go::escape(out, start);
}

fn name_of(out: &mut Vec<u8>, name: &str) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    serde_json::to_writer(&mut *out, name).expect("a string serialises into memory");
    out.push(b':');
}

/// Writes the metadata member; returns the offset of the hole.
fn metadata(out: &mut Vec<u8>, meta: &Map<String, Value>) -> u32 {
    name_of(out, "metadata");
    out.push(b'{');
    let mut rv_at = None;
    for (name, value) in meta {
        if rv_at.is_none() && name.as_str() >= "resourceVersion" {
            rv_at = Some(hole(out));
        }
        if name != "resourceVersion" {
            member(out, name, value);
        }
    }
    let rv_at = rv_at.unwrap_or_else(|| hole(out));
    out.push(b'}');
    rv_at
}

fn hole(out: &mut Vec<u8>) -> u32 {
    name_of(out, "resourceVersion");
    out.extend_from_slice(b"\"\"");
    u32::try_from(out.len() - 1).expect("documents are bounded far below 4 GiB")
}

/// Where the digits of `metadata.resourceVersion` stand.
fn version_span(raw: &[u8]) -> Option<Range<usize>> {
    let metadata = find_member(raw, 0, b"\"metadata\"")?;
    let version = find_member(raw, metadata, b"\"resourceVersion\"")?;
    let end = skip_string(raw, version)?;
    Some(version + 1..end - 1)
}

/// Offset of the value of a member of the object that starts at `at`. `name` is with its quotes.
fn find_member(raw: &[u8], at: usize, name: &[u8]) -> Option<usize> {
    let mut here = at;
    if raw.get(here) != Some(&b'{') {
        return None;
    }
    loop {
        here += 1; // past `{` or `,`
        let name_end = skip_string(raw, here)?;
        let value = name_end + 1; // past `:`
        if &raw[here..name_end] == name {
            return Some(value);
        }
        here = skip_value(raw, value)?;
        if raw.get(here) != Some(&b',') {
            return None;
        }
    }
}

/// Offset after the string that starts at `at`.
fn skip_string(raw: &[u8], at: usize) -> Option<usize> {
    if raw.get(at) != Some(&b'"') {
        return None;
    }
    let mut here = at + 1;
    loop {
        match raw.get(here)? {
            b'\\' => here += 2,
            b'"' => return Some(here + 1),
            _ => here += 1,
        }
    }
}

/// Offset after the value that starts at `at`.
fn skip_value(raw: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut here = at;
    loop {
        match raw.get(here)? {
            b'"' => {
                here = skip_string(raw, here)?;
                if depth == 0 {
                    return Some(here);
                }
            }
            b'{' | b'[' => (depth, here) = (depth + 1, here + 1),
            b'}' | b']' if depth == 0 => return Some(here),
            b'}' | b']' => {
                (depth, here) = (depth - 1, here + 1);
                if depth == 0 {
                    return Some(here);
                }
            }
            b',' if depth == 0 => return Some(here),
            _ => here += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    fn filled(doc: &Value, version: &str) -> String {
        String::from_utf8(fill(&encode(doc), version).to_vec()).unwrap()
    }

    #[test]
    fn the_hole_is_where_the_key_order_puts_it() {
        let doc =
            json!({"kind": "Pod", "apiVersion": "v1", "spec": {"a": 1}, "metadata": {"name": "x", "uid": "u", "resourceVersion": "5"}});
        assert_eq!(
            filled(&doc, "42"),
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x","resourceVersion":"42","uid":"u"},"spec":{"a":1}}"#
        );
        assert_eq!(filled(&json!({"kind": "Pod"}), "7"), r#"{"kind":"Pod","metadata":{"resourceVersion":"7"}}"#);
    }

    #[test]
    fn restamp_is_not_fooled_by_labels_of_that_name() {
        let doc = json!({"apiVersion": "v1", "data": {"x": "\\\"}]"}, "metadata": {
            "annotations": {"a": "\"resourceVersion\":\"1\""}, "labels": {"resourceVersion": "1"}, "name": "x", "uid": "u"}});
        let raw = fill(&encode(&doc), "42");
        let mut want = doc;
        want["metadata"]["resourceVersion"] = json!("777");
        assert_eq!(serde_json::from_slice::<Value>(&restamp(&raw, 777)).unwrap(), want);
    }

    #[test]
    fn the_api_version_is_read_from_the_first_bytes() {
        assert!(is_of(br#"{"apiVersion":"apps/v1","kind":"X"}"#, "apps", "v1"));
        assert!(is_of(br#"{"apiVersion":"v1","kind":"X"}"#, "", "v1"));
        assert!(!is_of(br#"{"apiVersion":"apps/v1beta1","kind":"X"}"#, "apps", "v1"));
        assert!(!is_of(br#"{"apiVersion":"apps/v1","kind":"X"}"#, "", "v1"));
    }
}
