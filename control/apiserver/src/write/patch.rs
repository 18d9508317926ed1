//! Patch: JSON, merge and strategic merge patches, applied again when a race is lost.

use client::{Body, Patch, Response};
use kinds::KindRef;
use schema::patch::{self, PatchError};
use schema::{DocExt, FieldErrors, Path, Status, Value, decode};

use super::modify_as;
use super::ownership::Ownership;
use crate::body::{self, Expected};
use crate::core::Call;
use crate::meta;

/// How custom kinds are patched.
const CUSTOM_PATCHES: &[&str] = &["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];

/// Applies the patch in `body`.
pub(crate) async fn patch(call: &mut Call<'_>, body: Body) -> Result<Response, Status> {
    let Body::Patch { kind: how, bytes } = body else {
        return Err(Status::bad_request("the body of a patch must be a patch"));
    };
    if how == Patch::Apply {
        return super::apply::apply(call, &bytes).await;
    }
    if call.kind.custom.is_some() && how == Patch::Strategic {
        // Nothing says how the lists of a custom kind merge.
        return Err(body::unknown_media_of(CUSTOM_PATCHES));
    }
    let patch = Parsed::new(how, &bytes)?;
    let (kind, expected, options) = (call.kind.clone(), Expected::of(&call.kind), call.options);
    let ownership = if patch.speaks_of_owners() { Ownership::Editor } else { Ownership::Writer };
    let object = modify_as(call, ownership, |old, warnings| {
        let patched = patch.apply(&kind, old)?;
        if kind.custom.is_some() {
            check_identity(&kind, &patched)?;
        }
        let text = || patch.apply(&kind, old).map(|doc| doc.to_string()).unwrap_or_default();
        body::patched(&expected, patched, text, options, warnings)
    });
    Ok(Response::Object { object: object.await?, created: false })
}

/// 422 for a custom object that a patch made into something else.
fn check_identity(kind: &KindRef, doc: &Value) -> Result<(), Status> {
    let mut errors = FieldErrors::default();
    for (member, own) in [("apiVersion", kind.api_version()), ("kind", kind.kind.to_string())] {
        let found = doc.str_at(member);
        if found != own {
            errors.invalid(&Path::new(member), found, &format!("must be {own}"));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(&kind.group, doc.str_at("kind"), doc.str_at("metadata.name"), &errors)) }
}

/// A patch that has been read.
pub(crate) enum Parsed {
    Json(Vec<u8>),
    Merge(Value),
    Strategic(Value),
}

impl Parsed {
    pub(crate) fn new(how: Patch, bytes: &[u8]) -> Result<Self, Status> {
        match how {
            Patch::Json => Ok(Self::Json(bytes.to_vec())),
            Patch::Merge => object(bytes, "invalid JSON patch").map(Self::Merge),
            Patch::Strategic => object(bytes, "error decoding patch: invalid JSON document").map(Self::Strategic),
            // It merges by owners, which only the places that keep them know (`apply`, `scale`).
            Patch::Apply => Err(Status::internal("a configuration to apply is no patch of a document")),
        }
    }

    /// Whether it may read or write managedFields.
    fn speaks_of_owners(&self) -> bool {
        match self {
            Self::Json(_) => true,
            Self::Merge(patch) | Self::Strategic(patch) => {
                // A directive may speak of all members at once.
                patch
                    .at("metadata")
                    .is_some_and(|meta| !meta.is_object() || meta.get(meta::MANAGED_FIELDS).is_some() || meta.get("$patch").is_some())
                    || patch.get("$patch").is_some()
            }
        }
    }

    /// What the patch makes of `old`.
    pub(crate) fn apply(&self, kind: &KindRef, old: &Value) -> Result<Value, Status> {
        self.apply_as(kind.ty, old)
    }

    pub(crate) fn apply_as(&self, ty: schema::TypeId, old: &Value) -> Result<Value, Status> {
        match self {
            Self::Json(bytes) => patch::json(old, bytes).map_err(|error| refused(&error)),
            Self::Merge(patch) => Ok(patch::merge(old, patch)),
            Self::Strategic(patch) => patch::strategic(ty, old, patch).map_err(|error| refused(&error)),
        }
    }
}

/// A patch that must be a JSON object; an empty body changes nothing.
fn object(bytes: &[u8], malformed: &str) -> Result<Value, Status> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(schema::Map::new()));
    }
    let value = decode::json_value(bytes).map_err(|_| Status::bad_request(malformed))?.value;
    if value.is_object() {
        return Ok(value);
    }
    let found = if value.is_array() { "array" } else { "value" };
    Err(Status::bad_request(format!(
        "error decoding patch: json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
    )))
}

fn refused(error: &PatchError) -> Status {
    match error {
        PatchError::Malformed(why) => Status::bad_request(why),
        PatchError::TooLarge(why) => Status::too_large(format!("Request entity too large: {why}")),
        PatchError::Unprocessable(why) => {
            let mut errors = FieldErrors::default();
            errors.add(&Path::new("patch"), schema::field::Reason::Invalid, format!("Invalid value: {why}"));
            let mut status = Status::invalid("", "", "", &errors);
            status.message = format!("the server rejected our request due to an error in our request: {why}");
            status
        }
    }
}
