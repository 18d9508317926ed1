//! `application/vnd.kubernetes.protobuf`: the `k8s\0` envelope (`runtime.Unknown`) and every built-in type.
//!
//! Bytes are those that upstream's generated code writes: fields by number, values that are not held by pointer always
//! (also when zero), map entries by key.

mod read;
mod scalars;
mod wire;
mod write;

use crate::decode::{self, DecodeError};
use crate::facts::Facts;
use crate::status::ListMeta;
use crate::{Map, TypeId, Value};

use wire::{Reader, Wire};

/// The four bytes before every document.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// The envelope of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    pub api_version: String,
    pub kind: String,
    pub raw: &'a [u8],
    pub content_type: String,
    pub content_encoding: String,
}

/// Reads the envelope; the message stays undecoded.
pub fn envelope(bytes: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    let foreign = || DecodeError::Syntax("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]".into());
    let mut reader = Reader::new(bytes.strip_prefix(MAGIC).ok_or_else(foreign)?);
    let mut envelope = Envelope::default();
    while let Some((number, wire)) = reader.field()? {
        match (number, wire) {
            (1, Wire::Bytes(type_meta)) => (envelope.api_version, envelope.kind) = read_type_meta(type_meta)?,
            (2, Wire::Bytes(raw)) => envelope.raw = raw,
            (3, Wire::Bytes(encoding)) => envelope.content_encoding = wire::text(encoding),
            (4, Wire::Bytes(kind)) => envelope.content_type = wire::text(kind),
            _ => {}
        }
    }
    Ok(envelope)
}

fn read_type_meta(bytes: &[u8]) -> Result<(String, String), DecodeError> {
    let mut reader = Reader::new(bytes);
    let (mut api_version, mut kind) = (String::new(), String::new());
    while let Some(field) = reader.field()? {
        match field {
            (1, Wire::Bytes(bytes)) => api_version = wire::text(bytes),
            (2, Wire::Bytes(bytes)) => kind = wire::text(bytes),
            _ => {}
        }
    }
    Ok((api_version, kind))
}

/// Decodes one message of type `ty` (no envelope).
pub fn decode(ty: TypeId, message: &[u8]) -> Result<Value, DecodeError> {
    read::message(ty, message).map(Value::Object)
}

/// Decodes an enveloped document of a known kind; sets `apiVersion` and `kind`.
pub fn decode_document(bytes: &[u8]) -> Result<Value, DecodeError> {
    document_at_depth(bytes, 0)
}

/// As [`decode_document`], for a document that lies inside of another one.
fn document_at_depth(bytes: &[u8], depth: usize) -> Result<Value, DecodeError> {
    let envelope = envelope(bytes)?;
    if !envelope.content_encoding.is_empty() {
        return Err(DecodeError::Syntax(format!("cannot read the content encoding {:?} inside of protobuf", envelope.content_encoding)));
    }
    let (api_version, kind) = (envelope.api_version, envelope.kind);
    let unknown = || DecodeError::Type(format!("no kind {kind:?} is registered for version {api_version:?}"));
    let ty = Facts::builtin().kind(&api_version, &kind).ok_or_else(unknown)?;
    if envelope.content_type == "application/json" {
        return Ok(decode::json(ty, envelope.raw)?.value);
    }
    let mut members = read::message_at_depth(ty, envelope.raw, depth)?;
    members.insert("apiVersion".into(), api_version.into());
    members.insert("kind".into(), kind.into());
    Ok(Value::Object(members))
}

/// Encodes one message of type `ty`, without envelope.
pub fn encode(ty: TypeId, value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    write::message(ty, value, &mut out);
    out
}

/// Encodes with the envelope; `apiVersion` and `kind` come from the value.
pub fn encode_document(ty: TypeId, value: &Value) -> Vec<u8> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    enveloped(text("apiVersion"), text("kind"), |out| write::message(ty, value, out))
}

/// Wraps an already encoded message of a kind.
pub fn envelope_message(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    enveloped(api_version, kind, |out| out.extend_from_slice(message))
}

/// Encodes a list of already encoded item *messages* (from [`encode`]) as the enveloped list kind.
pub fn encode_list(api_version: &str, list_kind: &str, metadata: &ListMeta, items: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let ListFrame { head: mut out, tail } = ListFrame::new(api_version, list_kind, metadata, items.iter().map(|item| item.as_ref().len()));
    items.iter().for_each(|item| wire::bytes(2, item.as_ref(), &mut out));
    out.extend_from_slice(&tail);
    out
}

/// What stands around the items of an enveloped list: `head`, then for each item [`ListFrame::before_item`] and its message,
/// then `tail`. So a list of messages that are already there is never copied together.
#[derive(Debug)]
pub struct ListFrame {
    pub head: Vec<u8>,
    pub tail: Vec<u8>,
}

impl ListFrame {
    /// `lengths`: of the items' messages, in bytes.
    pub fn new(api_version: &str, list_kind: &str, metadata: &ListMeta, lengths: impl Iterator<Item = usize>) -> Self {
        let mut meta = Vec::with_capacity(64);
        wire::nested(1, &mut meta, |out| list_meta(metadata, out));
        let items: usize = lengths.map(|length| Self::before_item(length).len() + length).sum();
        let mut head = Vec::with_capacity(meta.len() + 64);
        envelope_head(api_version, list_kind, &mut head);
        wire::prefix(2, meta.len() + items, &mut head);
        head.extend_from_slice(&meta);
        let mut tail = Vec::with_capacity(4);
        envelope_tail(&mut tail);
        Self { head, tail }
    }

    /// What stands before the message of an item.
    pub fn before_item(length: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(6);
        wire::prefix(2, length, &mut out);
        out
    }
}

fn list_meta(metadata: &ListMeta, out: &mut Vec<u8>) {
    wire::bytes(1, b"", out);
    wire::bytes(2, metadata.resource_version.as_bytes(), out);
    wire::bytes(3, metadata.continue_token.as_bytes(), out);
    if let Some(remaining) = metadata.remaining_item_count {
        wire::varint_field(4, remaining as u64, out);
    }
}

/// A watch frame: 4 bytes big-endian length, then a bare `meta/v1 WatchEvent` (no envelope, as upstream's streams have
/// it) whose object is `document` (already enveloped).
pub fn watch_frame(event_type: &str, document: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(document.len() + 32);
    frame.extend_from_slice(&[0; 4]);
    wire::bytes(1, event_type.as_bytes(), &mut frame);
    wire::nested(2, &mut frame, |out| wire::bytes(1, document, out));
    let length = u32::try_from(frame.len() - 4).expect("a document is far below 4 GiB");
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

fn enveloped(api_version: &str, kind: &str, raw: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    envelope_head(api_version, kind, &mut out);
    wire::nested(2, &mut out, raw);
    envelope_tail(&mut out);
    out
}

/// Up to the message itself.
fn envelope_head(api_version: &str, kind: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(MAGIC);
    wire::nested(1, out, |out| {
        wire::bytes(1, api_version.as_bytes(), out);
        wire::bytes(2, kind.as_bytes(), out);
    });
}

/// Neither content encoding nor content type.
fn envelope_tail(out: &mut Vec<u8>) {
    wire::bytes(3, b"", out);
    wire::bytes(4, b"", out);
}

type Members = Map<String, Value>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn a_list_of_encoded_items_is_the_encoded_list() {
        let facts = Facts::builtin();
        let (pod, list) = (facts.kind("v1", "Pod").expect("a kind"), facts.kind("v1", "PodList").expect("a kind"));
        let items = [json!({"metadata": {"name": "a"}}), json!({"metadata": {"name": "b"}, "spec": {"nodeName": "n"}})];
        let metadata = ListMeta { resource_version: "7".into(), remaining_item_count: Some(3), ..ListMeta::default() };
        let got = encode_list("v1", "PodList", &metadata, &items.iter().map(|item| encode(pod, item)).collect::<Vec<_>>());
        let whole = json!({"apiVersion": "v1", "kind": "PodList", "items": items,
            "metadata": {"resourceVersion": "7", "remainingItemCount": 3}});
        assert_eq!(got, encode_document(list, &whole));
    }

    #[test]
    fn a_watch_frame_holds_the_event_and_its_document() {
        let facts = Facts::builtin();
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {}, "status": {}});
        let document = encode_document(facts.kind("v1", "Pod").expect("a kind"), &pod);
        let frame = watch_frame("ADDED", &document);
        assert_eq!(u32::from_be_bytes(frame[..4].try_into().expect("4 bytes")) as usize, frame.len() - 4);
        let event = decode(facts.kind("v1", "WatchEvent").expect("a kind"), &frame[4..]).expect("an event");
        assert_eq!((&event["type"], &event["object"]), (&json!("ADDED"), &pod));
    }

    #[test]
    fn torn_and_foreign_bytes_are_errors() {
        let whole = encode_document(
            Facts::builtin().kind("v1", "Pod").expect("a kind"),
            &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}),
        );
        for cut in 0..whole.len() {
            let _ = decode_document(&whole[..cut]);
        }
        assert!(decode_document(b"{}").is_err());
        assert!(decode_document(b"k8s\0\x12\xff\xff\xff\xff\x0f").is_err());
    }
}
