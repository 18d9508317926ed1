//! `meta/v1 Status`: the one shape of every error that a caller of the API sees, with upstream's sentences
//! (`apimachinery/pkg/api/errors`). Clients match on these texts.

use serde::{Deserialize, Serialize};

use crate::field::FieldErrors;
use crate::{Value, json};

/// A failed (or, for some deletes, successful) outcome.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, thiserror::Error)]
#[error("{message}")]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// `Success` or `Failure`.
    pub status: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Machine word: `NotFound`, `Conflict`, `Invalid` …
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
    /// Only list errors carry something here: the continue token and the remaining revision.
    #[serde(default)]
    pub metadata: ListMeta,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Details {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: i32,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct Cause {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ListMeta {
    #[serde(rename = "continue", skip_serializing_if = "String::is_empty")]
    pub continue_token: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining_item_count: Option<i64>,
}

fn is_zero(n: &i32) -> bool {
    *n == 0
}

/// `group` + plural, as upstream's messages print it: `deployments.apps`, `pods`.
pub fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

impl Status {
    /// A failure without details.
    pub fn failure(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            status: "Failure".into(),
            message: message.into(),
            reason: reason.into(),
            details: None,
            metadata: ListMeta::default(),
        }
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        self.details = Some(Details { group: group.into(), kind: kind.into(), name: name.into(), ..Details::default() });
        self
    }

    /// 404: `pods "web" not found`
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        Self::failure(404, "NotFound", format!("{} {name:?} not found", qualified(group, resource))).about(group, resource, name)
    }

    /// 409 on create: `pods "web" already exists`
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        Self::failure(409, "AlreadyExists", format!("{} {name:?} already exists", qualified(group, resource))).about(group, resource, name)
    }

    /// 409 on a stale write; `why` is the part after the colon.
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", qualified(group, resource));
        Self::failure(409, "Conflict", message).about(group, resource, name)
    }

    /// 409 with the sentence of an outdated resourceVersion.
    pub fn stale(group: &str, resource: &str, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(group, resource, name, why)
    }

    /// 422 from validation. `kind` is the kind's name (`Pod`), as upstream prints `Pod.apps "x" is invalid: …`.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &FieldErrors) -> Self {
        // What is wrong twice is two causes, and told once.
        let mut texts: Vec<String> = Vec::new();
        for text in errors.0.iter().map(ToString::to_string) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let list = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{} {name:?} is invalid: {list}", qualified(group, kind));
        let mut status = Self::failure(422, "Invalid", message).about(group, kind, name);
        let causes = errors.0.iter().map(|error| Cause {
            reason: error.reason.as_str().into(),
            message: error.message.clone(),
            field: error.path.to_string(),
        });
        status.details.as_mut().expect("about() has set it").causes = causes.collect();
        status
    }

    /// 403: `pods "web" is forbidden: User "x" cannot …`; `why` is the part after the colon.
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let subject = match (resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{} is forbidden: {why}", qualified(group, resource)),
            (false, false) => format!("{} {name:?} is forbidden: {why}", qualified(group, resource)),
        };
        Self::failure(403, "Forbidden", subject).about(group, resource, name)
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::failure(401, "Unauthorized", "Unauthorized")
    }

    /// 400 with the reason's own sentence.
    pub fn bad_request(why: impl Into<String>) -> Self {
        Self::failure(400, "BadRequest", why)
    }

    /// 405.
    pub fn method_not_supported(group: &str, resource: &str, action: &str) -> Self {
        let message = format!("{action} is not supported on resources of kind {:?}", qualified(group, resource));
        Self::failure(405, "MethodNotAllowed", message).about(group, resource, "")
    }

    /// 406.
    pub fn not_acceptable(types: &str) -> Self {
        let message = format!("only the following media types are accepted: {types}");
        Self::failure(406, "NotAcceptable", message)
    }

    /// 410: the revision asked for is compacted away.
    pub fn expired(why: impl Into<String>) -> Self {
        Self::failure(410, "Expired", why)
    }

    /// 413.
    pub fn too_large(why: impl Into<String>) -> Self {
        Self::failure(413, "RequestEntityTooLarge", why)
    }

    /// 415.
    pub fn unsupported_media_type(why: impl Into<String>) -> Self {
        Self::failure(415, "UnsupportedMediaType", why)
    }

    /// 429 with a `Retry-After`.
    pub fn too_many_requests(why: impl Into<String>, retry_after_seconds: i32) -> Self {
        let mut status = Self::failure(429, "TooManyRequests", why);
        status.details = Some(Details { retry_after_seconds, ..Details::default() });
        status
    }

    /// 500: `Internal error occurred: …`
    pub fn internal(why: impl std::fmt::Display) -> Self {
        let mut status = Self::failure(500, "InternalError", format!("Internal error occurred: {why}"));
        let cause = Cause { message: why.to_string(), ..Cause::default() };
        status.details = Some(Details { causes: vec![cause], ..Details::default() });
        status
    }

    /// 503.
    pub fn unavailable(why: impl Into<String>) -> Self {
        Self::failure(503, "ServiceUnavailable", why)
    }

    /// 504: the server gave up waiting.
    pub fn timeout(why: impl Into<String>) -> Self {
        Self::failure(504, "Timeout", why)
    }

    /// The answer to a delete that leaves nothing behind.
    pub fn deleted(group: &str, resource: &str, name: &str, uid: &str) -> Self {
        let details = Details { group: group.into(), kind: resource.into(), name: name.into(), uid: uid.into(), ..Details::default() };
        Self {
            code: 200,
            status: "Success".into(),
            message: String::new(),
            reason: String::new(),
            details: Some(details),
            metadata: ListMeta::default(),
        }
    }

    pub fn is_not_found(&self) -> bool {
        self.code == 404
    }

    pub fn is_conflict(&self) -> bool {
        self.reason == "Conflict"
    }

    pub fn is_already_exists(&self) -> bool {
        self.reason == "AlreadyExists"
    }

    pub fn is_expired(&self) -> bool {
        self.code == 410
    }

    /// The document: `{"kind":"Status","apiVersion":"v1",…}`. A success has no `code` on upstream's wire.
    pub fn to_value(&self) -> Value {
        let mut doc = serde_json::to_value(self).unwrap_or_else(|_| json!({}));
        doc["kind"] = json!("Status");
        doc["apiVersion"] = json!("v1");
        if self.status == "Success" {
            doc.as_object_mut().expect("a struct serialises to an object").remove("code");
        }
        doc
    }
}
