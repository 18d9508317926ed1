//! Server-side apply: `PATCH` with `application/apply-patch+yaml`.
//!
//! ```text
//! config ─► there: merged with the live object, conflicts are 409 ─► the way of every update
//!        └► not there: the same with an empty object              ─► the way of every create (201)
//! ```
//! A race between the two ways is run again, as every other.

use std::sync::Arc;

use auth::Attributes;
use client::{Object, Response};
use schema::decode::{self, DecodeError, FieldValidation};
use schema::{DocExt, Map, Status, Value};

use super::ownership::{self, Ownership};
use super::{ATTEMPTS_MAX, create_as, modify_as};
use crate::body::Expected;
use crate::core::Call;
use crate::failure;

/// What an applier sent: the fields that it wants to own.
pub(crate) struct Config {
    pub doc: Value,
    /// Members given twice, in upstream's sentence.
    duplicates: Option<String>,
}

/// Applies the configuration in `bytes`.
pub(crate) async fn apply(call: &mut Call<'_>, bytes: &[u8]) -> Result<Response, Status> {
    let config = Config::read(bytes)?;
    for _ in 0..ATTEMPTS_MAX {
        if !call.target.subresource.is_empty() || is_there(call).await? {
            match update(call, &config).await {
                Err(status) if status.is_not_found() && call.target.subresource.is_empty() => {}
                answer => return Ok(Response::Object { object: answer?, created: false }),
            }
        } else {
            match create(call, &config).await {
                Err(status) if status.is_already_exists() => {}
                answer => return Ok(Response::Object { object: answer?, created: true }),
            }
        }
    }
    Err(Status::stale(&call.kind.group, &call.kind.resource, &call.target.name))
}

async fn is_there(call: &Call<'_>) -> Result<bool, Status> {
    let entry = call.core.store.get(&call.key()).await.map_err(|error| failure::of_store(&error))?;
    Ok(entry.is_some())
}

async fn update(call: &mut Call<'_>, config: &Config) -> Result<Arc<Object>, Status> {
    let mut asked = call.about(call.target, call.options);
    call.warnings = std::mem::take(&mut asked.warnings);
    modify_as(call, Ownership::Told, |old, warnings| {
        let applied = ownership::applied(&asked, Some(old), &config.doc)?;
        config.report(asked.options.field_validation, warnings)?;
        checked(&asked, applied)
    })
    .await
}

/// An apply that makes its object needs the right to create, too.
async fn create(call: &mut Call<'_>, config: &Config) -> Result<Arc<Object>, Status> {
    let mut applied = loop {
        let made = ownership::applied(call, None, &config.doc);
        if !call.memo.fill(&call.core.cache).await? {
            break made?;
        }
    };
    config.report(call.options.field_validation, &mut call.warnings)?;
    let uid = applied.str_at("metadata.uid");
    if !uid.is_empty() {
        let why = format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
        return Err(Status::conflict(&call.kind.group, &call.kind.resource, &call.target.name, &why));
    }
    applied.remove_at("metadata.resourceVersion");
    let applied = checked(call, applied)?;
    let asked = Attributes {
        namespace: &call.target.namespace,
        name: &call.target.name,
        ..Attributes::resource(call.user, "create", &call.kind.group, &call.kind.version, &call.kind.resource)
    };
    call.core.authorize(&asked).await?;
    create_as(call, applied, Ownership::Told).await
}

/// The merged document as its type holds it.
fn checked(call: &Call<'_>, applied: Value) -> Result<Value, Status> {
    let decoded = Expected::of(&call.kind).decode(applied);
    decoded.map(|decoded| decoded.value).map_err(|error| failure::plain(format!("failed to convert new typed object to object: {error}")))
}

impl Config {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Status> {
        let decoded = decode::yaml_reported(bytes).map_err(|error| match error {
            DecodeError::Syntax(why) | DecodeError::Type(why) | DecodeError::Limit(why) => {
                Status::bad_request(format!("error encoding patch: {why}"))
            }
        })?;
        let found = match decoded.value {
            Value::Object(_) => None,
            Value::Null => None,
            Value::Array(_) => Some("array"),
            Value::String(_) => Some("string"),
            Value::Number(_) => Some("number"),
            Value::Bool(_) => Some("bool"),
        };
        if let Some(found) = found {
            let why = format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}");
            return Err(Status::bad_request(format!("error decoding patch: error unmarshaling JSON: while decoding JSON: {why}")));
        }
        let doc = if decoded.value.is_null() { Value::Object(Map::new()) } else { decoded.value };
        Ok(Self { doc, duplicates: decoded.strict_errors.into_iter().next() })
    }

    /// Tells of members given twice, as asked for.
    pub(crate) fn report(&self, how: FieldValidation, warnings: &mut Vec<String>) -> Result<(), Status> {
        match (&self.duplicates, how) {
            (None, _) | (_, FieldValidation::Ignore) => Ok(()),
            (Some(why), FieldValidation::Warn) => {
                warnings.push(why.clone());
                Ok(())
            }
            (Some(why), FieldValidation::Strict) => Err(Status::bad_request(format!("error strict decoding patch: {why}"))),
        }
    }
}
