//! The three patches that are functions of a document: JSON patch (RFC 6902), merge patch (RFC 7386) and strategic
//! merge patch. Server-side apply has its place beside them (`patch/apply.rs`, next).
//!
//! Their quirks are upstream's: clients have learned to live with them, and match on the texts of errors.

mod json;
mod lookup;
mod merge;
mod order;
mod strategic;

pub mod create;

use crate::go as go_print;
use crate::{TypeId, Value};

#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum PatchError {
    /// The patch itself cannot be read: 400.
    #[error("{0}")]
    Malformed(String),
    /// The patch has more operations than anybody needs: 413.
    #[error("{0}")]
    TooLarge(String),
    /// The patch does not fit the document: 422.
    #[error("{0}")]
    Unprocessable(String),
}

/// RFC 6902 as evanphx/json-patch v4 does it (golden/json-patch.jsonl).
pub fn json(doc: &Value, patch: &[u8]) -> Result<Value, PatchError> {
    json::apply(doc, patch)
}

/// RFC 7386, with evanphx/json-patch's treatment of nulls inside of arrays.
pub fn merge(doc: &Value, patch: &Value) -> Value {
    merge::apply(doc.clone(), patch.clone())
}

/// As [`merge`] for a request's body: a patch that is neither object nor array is refused, as upstream does.
pub fn merge_document(doc: &Value, patch: &Value) -> Result<Value, PatchError> {
    match (doc, patch) {
        (Value::Null, _) => Err(PatchError::Malformed("Invalid JSON Document".into())),
        (_, Value::Object(_) | Value::Array(_)) => Ok(merge(doc, patch)),
        _ => Err(PatchError::Malformed("Invalid JSON Patch".into())),
    }
}

/// Strategic merge patch under the facts of `ty`.
pub fn strategic(ty: TypeId, doc: &Value, patch: &Value) -> Result<Value, PatchError> {
    strategic::apply(ty, doc, patch)
}

/// A patch as Go prints its map (`%+v`): what upstream shows of a strategic patch that makes no object.
pub fn go_text(patch: &Value) -> String {
    go_print::plain(patch)
}

/// The merge patch that makes `modified` of `original`.
pub fn diff_merge(original: &Value, modified: &Value) -> Value {
    merge::diff(original, modified)
}
