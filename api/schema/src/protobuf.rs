//! `application/vnd.kubernetes.protobuf`: the `k8s\0` envelope (`runtime.Unknown`) and every built-in type.

use crate::{TypeId, Value, decode::DecodeError};

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
pub fn envelope(_bytes: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    unimplemented!()
}

/// Decodes one message of type `ty` (no envelope).
pub fn decode(_ty: TypeId, _message: &[u8]) -> Result<Value, DecodeError> {
    unimplemented!()
}

/// Decodes an enveloped document of a known kind; sets `apiVersion` and `kind`.
pub fn decode_document(_bytes: &[u8]) -> Result<Value, DecodeError> {
    unimplemented!()
}

/// Encodes one message of type `ty`, without envelope.
pub fn encode(_ty: TypeId, _value: &Value) -> Vec<u8> {
    unimplemented!()
}

/// Encodes with the envelope; `apiVersion` and `kind` come from the value.
pub fn encode_document(_ty: TypeId, _value: &Value) -> Vec<u8> {
    unimplemented!()
}

/// Encodes a list of already encoded item *messages* (from [`encode`]) as the enveloped list kind.
pub fn encode_list(_api_version: &str, _list_kind: &str, _metadata: &crate::status::ListMeta, _items: &[impl AsRef<[u8]>]) -> Vec<u8> {
    unimplemented!()
}

/// A watch frame: 4 bytes big-endian length, then an enveloped `meta/v1 WatchEvent` whose object is `document` (already enveloped).
pub fn watch_frame(_event_type: &str, _document: &[u8]) -> Vec<u8> {
    unimplemented!()
}
