//! A request's document: decoded under its type, with what the caller should know of its fields.

use std::sync::Arc;

use client::{Body, Options};
use kinds::Descriptor;
use kinds::custom::Custom;
use schema::decode::{self, DecodeError, Decoded, FieldValidation};
use schema::{DocExt, FieldErrors, Path, Status, TypeId, Value, protobuf};

/// A type that a body is decoded as.
#[derive(Clone)]
pub struct Expected {
    pub ty: TypeId,
    /// `v1`, `apps/v1`.
    pub api_version: String,
    pub kind: String,
    /// Every group serves DeleteOptions as a kind of its own; they are all the same.
    any_version: bool,
    /// A kind that users bring is decoded under its own schema.
    custom: Option<Arc<Custom>>,
}

impl Expected {
    pub fn of(kind: &Descriptor) -> Self {
        let custom = kind.custom.clone();
        Self { ty: kind.ty, api_version: kind.api_version(), kind: kind.kind.to_string(), any_version: false, custom }
    }

    /// A type of the facts table that is no served kind (`v1` `DeleteOptions`, `autoscaling/v1` `Scale`).
    pub fn option(api_version: &str, kind: &str) -> Result<Self, Status> {
        let ty = schema::Facts::builtin().kind(api_version, kind);
        let missing = || Status::internal(format!("the facts table has no {kind} of {api_version}"));
        Ok(Self {
            ty: ty.ok_or_else(missing)?,
            api_version: api_version.into(),
            kind: kind.into(),
            any_version: kind == "DeleteOptions",
            custom: None,
        })
    }

    /// Checks and prunes what is decoded already.
    pub(crate) fn decode(&self, value: Value) -> Result<Decoded, DecodeError> {
        match &self.custom {
            Some(custom) => custom.schema().decode(value),
            None => decode::value(self.ty, value),
        }
    }

    /// Why a document of `kind` does not fit.
    fn other_kind(&self, kind: &str) -> String {
        let version = self.version();
        match schema::Facts::builtin().kind(&self.api_version, kind) {
            Some(_) => format!("converting ({version}.{kind}) to ({version}.{}): unknown conversion", self.kind),
            None => format!("no kind {kind:?} is registered for version {:?} in scheme", self.api_version),
        }
    }

    fn version(&self) -> &str {
        self.api_version.rsplit('/').next().unwrap_or_default()
    }

    /// `Pod in version "v1" cannot be handled as a Pod: <why>`
    fn unfit(&self, found: &str, why: &str) -> Status {
        Status::bad_request(format!("{found} in version {:?} cannot be handled as a {}: {why}", self.version(), self.kind))
    }
}

/// Decodes the body of a write. What strict validation finds fails the request or becomes warnings, as it asks for.
pub fn document(expected: &Expected, body: &Body, options: &Options, warnings: &mut Vec<String>) -> Result<Value, Status> {
    let decoded = match body {
        Body::Value(value) => expected.decode(value.clone()).map_err(|error| refused(expected, &error, b""))?,
        Body::Encoded { content_type, bytes } => encoded(expected, content_type, bytes)?,
        Body::None => return Err(refused(expected, &DecodeError::Syntax("unexpected end of JSON input".into()), b"")),
        Body::Patch { .. } => return Err(Status::bad_request("a patch is no document; send it with the verb patch")),
    };
    let value = identified(expected, decoded.value)?;
    report(expected, &decoded.strict_errors, options.field_validation, warnings)?;
    Ok(value)
}

/// Checks and prunes what a patch made. Where it is no document of its kind any more, `refusal` makes the answer of why.
pub fn patched(
    expected: &Expected,
    value: Value,
    refusal: impl Fn(&str) -> Status,
    options: &Options,
    warnings: &mut Vec<String>,
) -> Result<Value, Status> {
    let decoded = expected.decode(value).map_err(|error| refusal(&error.to_string()))?;
    match options.field_validation {
        FieldValidation::Strict if !decoded.strict_errors.is_empty() => {
            Err(refusal(&format!("strict decoding error: {}", decoded.strict_errors.join(", "))))
        }
        how => {
            report(expected, &decoded.strict_errors, how, warnings)?;
            Ok(decoded.value)
        }
    }
}

/// Reports the fields of a custom object that a patch took to a version that there is not: no schema knows them.
pub fn of_no_version(doc: &Value, refusal: impl Fn(&str) -> Status, options: &Options, warnings: &mut Vec<String>) -> Result<(), Status> {
    let known = ["apiVersion", "kind", "metadata"];
    let names = doc.as_object().into_iter().flatten().map(|(name, _)| name).filter(|name| !known.contains(&name.as_str()));
    let unknown: Vec<String> = names.map(|name| format!("unknown field {name:?}")).collect();
    match options.field_validation {
        FieldValidation::Warn => warnings.extend(unknown),
        FieldValidation::Strict if !unknown.is_empty() => {
            return Err(refusal(&format!("strict decoding error: {}", unknown.join(", "))));
        }
        _ => {}
    }
    Ok(())
}

/// 422 for what a patch made; `shown` is that, or the patch.
pub fn misfit(shown: &str, why: &str) -> Status {
    let mut errors = FieldErrors::default();
    errors.invalid(&Path::new("patch"), shown, why);
    Status::invalid("", "", "", &errors)
}

fn encoded(expected: &Expected, content_type: &str, bytes: &[u8]) -> Result<Decoded, Status> {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    if let Some(custom) = &expected.custom {
        return encoded_custom(expected, custom, media, bytes);
    }
    let decoded = match media {
        "" | "application/json" | "*/*" => decode::json(expected.ty, bytes).map_err(as_json),
        "application/yaml" => decode::yaml(expected.ty, bytes),
        "application/vnd.kubernetes.protobuf" => protobuf::decode_document(bytes).map(|value| Decoded { value, strict_errors: Vec::new() }),
        _ => return Err(unknown_media()),
    };
    decoded.map_err(|error| refused(expected, &error, bytes))
}

/// Custom kinds have no protobuf form. What is there twice is told before what nobody knows.
fn encoded_custom(expected: &Expected, custom: &Custom, media: &str, bytes: &[u8]) -> Result<Decoded, Status> {
    let free = match media {
        "" | "application/json" | "*/*" => decode::json_object(bytes).map_err(as_json),
        "application/yaml" => decode::yaml_object(bytes),
        _ => return Err(unknown_media()),
    };
    let free = free.map_err(|error| refused(expected, &error, bytes))?;
    if free.value.str_at("kind").is_empty() {
        let shown = String::from_utf8_lossy(bytes);
        return Err(Status::bad_request(format!("Object 'Kind' is missing in '{shown}'")));
    }
    let mut decoded = custom.schema().decode(free.value).map_err(|error| refused(expected, &error, bytes))?;
    decoded.strict_errors.splice(0..0, free.strict_errors);
    Ok(decoded)
}

/// Upstream looks for apiVersion and kind before anything else, and says so when that fails.
fn as_json(error: DecodeError) -> DecodeError {
    match error {
        DecodeError::Syntax(why) => DecodeError::Syntax(format!("couldn't get version/kind; json parse error: {why}")),
        other => other,
    }
}

/// 415.
pub fn unknown_media() -> Status {
    Status::unsupported_media_type(
        "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, \
         application/vnd.kubernetes.protobuf",
    )
}

/// 415 that names what is accepted.
pub fn unknown_media_of(accepted: &[&str]) -> Status {
    let accepted = accepted.join(", ");
    Status::unsupported_media_type(format!("the body of the request was in an unknown format - accepted media types include: {accepted}"))
}

/// The document says what it is, or nothing; never something else.
fn identified(expected: &Expected, mut value: Value) -> Result<Value, Status> {
    let kind = value.str_at("kind");
    if !kind.is_empty() && kind != expected.kind {
        return Err(expected.unfit(kind, &expected.other_kind(kind)));
    }
    let api_version = value.str_at("apiVersion");
    if !api_version.is_empty() && api_version != expected.api_version && !expected.any_version {
        let why = format!("the API version in the data ({api_version}) does not match the expected API version ({})", expected.api_version);
        return Err(Status::bad_request(why));
    }
    value.set_at("apiVersion", expected.api_version.as_str());
    value.set_at("kind", expected.kind.as_str());
    Ok(value)
}

fn report(expected: &Expected, found: &[String], how: FieldValidation, warnings: &mut Vec<String>) -> Result<(), Status> {
    match how {
        _ if found.is_empty() => Ok(()),
        FieldValidation::Ignore => Ok(()),
        FieldValidation::Warn => {
            warnings.extend_from_slice(found);
            Ok(())
        }
        FieldValidation::Strict => Err(expected.unfit(&expected.kind, &format!("strict decoding error: {}", found.join(", ")))),
    }
}

fn refused(expected: &Expected, error: &DecodeError, bytes: &[u8]) -> Status {
    match error {
        DecodeError::Syntax(why) => {
            let why = format!("the object provided is unrecognized (must be of type {}): {why}{}", expected.kind, excerpt(bytes));
            Status::bad_request(why)
        }
        DecodeError::Type(why) | DecodeError::Limit(why) => expected.unfit(&expected.kind, why),
    }
}

/// The first bytes of what could not be read: as text where it is text, else in hexadecimal.
fn excerpt(bytes: &[u8]) -> String {
    const SHOWN: usize = 30;
    let head = &bytes[..bytes.len().min(SHOWN)];
    let text = match std::str::from_utf8(head) {
        _ if head.is_empty() => return String::new(),
        Ok(text) if text.starts_with('{') => text.to_owned(),
        _ => head.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    let more = if bytes.len() > SHOWN { " ..." } else { "" };
    format!(" ({text}{more})")
}
