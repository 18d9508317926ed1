//! The three patches that are functions of a document: JSON patch (RFC 6902), merge patch (RFC 7386) and strategic
//! merge patch. Server-side apply has its place beside them (`patch/apply.rs`, next).

use crate::{TypeId, Value};

#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum PatchError {
    /// The patch itself cannot be read: 400.
    #[error("{0}")]
    Malformed(String),
    /// The patch does not fit the document: 422.
    #[error("{0}")]
    Unprocessable(String),
}

/// RFC 6902 as evanphx/json-patch v4 does it (golden/json-patch.jsonl).
pub fn json(_doc: &Value, _patch: &[u8]) -> Result<Value, PatchError> {
    unimplemented!()
}

/// RFC 7386.
pub fn merge(_doc: &Value, _patch: &Value) -> Value {
    unimplemented!()
}

/// Strategic merge patch under the facts of `ty`.
pub fn strategic(_ty: TypeId, _doc: &Value, _patch: &Value) -> Result<Value, PatchError> {
    unimplemented!()
}

/// The merge patch that makes `modified` of `original`.
pub fn diff_merge(_original: &Value, _modified: &Value) -> Value {
    unimplemented!()
}
