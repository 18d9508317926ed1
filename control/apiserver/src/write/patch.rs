//! Patch: JSON, merge and strategic merge patches, applied again when a race is lost.

use client::{Body, Patch, Response};
use kinds::KindRef;
use schema::patch::{self, PatchError};
use schema::{DocExt, FieldErrors, Path, Status, Value, decode};

use super::modify_as;
use super::ownership::Ownership;
use crate::body::{self, Expected};
use crate::core::Call;
use crate::{failure, meta};

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
    let served = versions(call);
    let object = modify_as(call, ownership, |old, warnings| {
        let patched = patch.apply(&kind, old)?;
        let refusal = |why: &str| patch.refusal(&kind, old, why);
        if kind.custom.is_some() {
            if !served.iter().any(|version| version == patched.str_at("apiVersion")) {
                body::of_no_version(&patched, refusal, options, warnings)?;
            }
            check_identity(&kind, &patched)?;
        }
        body::patched(&expected, patched, refusal, options, warnings)
    });
    Ok(Response::Object { object: object.await?, created: false })
}

/// The versions that the kind is served in.
fn versions(call: &Call<'_>) -> Vec<String> {
    let (table, own) = (call.core.registry().table(), &call.kind);
    let rows = table.rows().iter().filter(|row| row.storage_prefix == own.storage_prefix && row.kind == own.kind);
    rows.map(|row| row.api_version()).collect()
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

    /// The answer where the patch makes no document: it shows the text that was made, or the strategic patch itself.
    fn refusal(&self, kind: &KindRef, old: &Value, why: &str) -> Status {
        let made = self.apply(kind, old).unwrap_or_default();
        match self {
            Self::Strategic(patch) => {
                let misfit = decode::strategic_misfit(kind.ty, &made);
                body::misfit(&patch::go_text(patch), misfit.as_deref().unwrap_or(why))
            }
            _ => body::misfit(&made.to_string(), why),
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
            Self::Strategic(patch) => patch::strategic(ty, old, patch).map_err(|error| refused_strategic(&error)),
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

/// Formats of directives that upstream knows to be the caller's fault; whatever else its merge trips over is a 500.
const BAD_FORMATS: [&str; 5] = [
    "invalid JSON document",
    "invalid patch format of primitive list",
    "invalid patch format of retainKeys",
    "invalid patch format of setElementOrder list",
    "strategic merge patch format is not supported",
];

fn refused_strategic(error: &PatchError) -> Status {
    match error {
        PatchError::Malformed(why) => Status::bad_request(why),
        PatchError::TooLarge(_) => refused(error),
        PatchError::Unprocessable(why) if BAD_FORMATS.contains(&why.as_str()) => Status::bad_request(why),
        PatchError::Unprocessable(why)
            if why == "lists of lists are not supported" || why == "patch content doesn't match retainKeys list" =>
        {
            refused(error)
        }
        PatchError::Unprocessable(why) => failure::plain(why),
    }
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
