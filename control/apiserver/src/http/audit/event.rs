//! A line of the audit log: what was asked, by whom, with which answer. It is put together by the log's own task, so that a
//! request pays for references alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use auth::UserInfo;
use auth::impersonation::Impersonated;
use bytes::Bytes;
use jiff::Timestamp;
use schema::{DocExt, Status, Value, json, time};

use super::policy::{Level, Stage};

/// What is known of a request when it comes.
pub(crate) struct Asked {
    pub level: Level,
    pub omit_managed_fields: bool,
    pub id: String,
    pub uri: String,
    pub verb: String,
    /// None: nobody that we know.
    pub user: Option<Arc<UserInfo>>,
    pub source_ips: Vec<String>,
    pub user_agent: String,
    pub object: Option<ObjectRef>,
    pub received: Timestamp,
}

/// Which resource a request is about.
#[derive(Clone, Default)]
pub(crate) struct ObjectRef {
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
}

/// A body as it was sent or answered.
#[derive(Clone)]
pub(crate) struct Document {
    pub content_type: String,
    pub bytes: Bytes,
}

/// How a request was answered.
#[derive(Clone)]
pub(crate) enum Outcome {
    Code(u16),
    Failed(Arc<Status>),
}

/// One line, not yet written.
pub(crate) struct Event {
    pub asked: Arc<Asked>,
    pub stage: Stage,
    pub at: Timestamp,
    pub impersonated: Option<Impersonated>,
    pub outcome: Option<Outcome>,
    pub request: Option<Document>,
    pub response: Option<Document>,
    pub annotations: BTreeMap<String, String>,
}

impl Event {
    /// Bytes that it holds on to while it waits.
    pub(super) fn weight(&self) -> usize {
        const EMPTY: usize = 1024;
        let bodies = [&self.request, &self.response].into_iter().flatten().map(|body| body.bytes.len()).sum::<usize>();
        let annotations = self.annotations.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        EMPTY + bodies + annotations
    }

    /// `audit.k8s.io/v1` `Event`.
    pub(super) fn to_value(&self) -> Value {
        let asked = &*self.asked;
        let request = self.request.as_ref().map(|body| body.value(asked.omit_managed_fields));
        let mut doc = json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": asked.level, "auditID": asked.id, "stage": self.stage,
            "requestURI": asked.uri, "verb": asked.verb, "user": asked.user.as_deref().map_or_else(|| json!({}), user),
        });
        if let Some(impersonated) = &self.impersonated {
            doc["impersonatedUser"] = user(&impersonated.user);
            if !impersonated.constraint.is_empty() {
                doc["authenticationMetadata"] = json!({"impersonationConstraint": impersonated.constraint});
            }
        }
        doc["sourceIPs"] = json!(asked.source_ips);
        if !asked.user_agent.is_empty() {
            doc["userAgent"] = json!(asked.user_agent);
        }
        if let Some(object) = &asked.object {
            doc["objectRef"] = object.value(request.as_ref().filter(|_| self.stage != Stage::RequestReceived));
        }
        if let Some(outcome) = &self.outcome {
            doc["responseStatus"] = outcome.value();
        }
        if let Some(request) = request.filter(|_| asked.level >= Level::Request && !request_is_empty(self.request.as_ref())) {
            doc["requestObject"] = request;
        }
        if let Some(response) = &self.response {
            doc["responseObject"] = response.value(asked.omit_managed_fields);
        }
        doc["requestReceivedTimestamp"] = json!(time::format_micro(asked.received));
        doc["stageTimestamp"] = json!(time::format_micro(self.at));
        if !self.annotations.is_empty() {
            doc["annotations"] = json!(self.annotations);
        }
        doc
    }
}

fn request_is_empty(body: Option<&Document>) -> bool {
    body.is_none_or(|body| body.bytes.is_empty())
}

fn user(user: &UserInfo) -> Value {
    let mut doc = json!({"username": user.name});
    if !user.uid.is_empty() {
        doc["uid"] = json!(user.uid);
    }
    if !user.groups.is_empty() {
        doc["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        doc["extra"] = json!(user.extra);
    }
    doc
}

impl ObjectRef {
    /// With what the body of a create says of the object that the path could not name.
    fn value(&self, body: Option<&Value>) -> Value {
        let from_body = |path: &str| body.map_or("", |body| body.str_at(path));
        let or_body = |own: &'static str, held: &str| if held.is_empty() { from_body(own).to_owned() } else { held.to_owned() };
        let fields = [
            ("resource", self.resource.clone()),
            ("namespace", or_body("metadata.namespace", &self.namespace)),
            ("name", or_body("metadata.name", &self.name)),
            ("uid", from_body("metadata.uid").to_owned()),
            ("apiGroup", self.group.clone()),
            ("apiVersion", self.version.clone()),
            ("resourceVersion", from_body("metadata.resourceVersion").to_owned()),
            ("subresource", self.subresource.clone()),
        ];
        fields.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.to_owned(), json!(value))).collect()
    }
}

impl Outcome {
    fn value(&self) -> Value {
        match self {
            Self::Code(code) => json!({"metadata": {}, "code": code}),
            Self::Failed(status) => {
                let whole = status.to_value();
                let mut doc = json!({"metadata": {}});
                for field in ["status", "message", "reason", "details", "code"] {
                    if let Some(value) = whole.get(field) {
                        doc[field] = value.clone();
                    }
                }
                doc
            }
        }
    }
}

impl Document {
    /// As JSON; what cannot be read is told as its length.
    fn value(&self, omit_managed_fields: bool) -> Value {
        let mut doc = self.parse().unwrap_or_else(|| json!(format!("{} bytes of {}", self.bytes.len(), self.content_type)));
        if omit_managed_fields {
            let _ = doc.remove_at("metadata.managedFields");
            for item in doc.items_at_mut("items") {
                let _ = item.remove_at("metadata.managedFields");
            }
        }
        doc
    }

    fn parse(&self) -> Option<Value> {
        let media = self.content_type.split(';').next().unwrap_or_default().trim();
        match media {
            _ if self.bytes.is_empty() => Some(Value::Null),
            "application/vnd.kubernetes.protobuf" => schema::protobuf::decode_document(&self.bytes).ok(),
            media if media.ends_with("yaml") => serde_saphyr::from_str(std::str::from_utf8(&self.bytes).ok()?).ok(),
            _ => serde_json::from_slice(&self.bytes).ok(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn asked(level: Level) -> Arc<Asked> {
        let object = ObjectRef { version: "v1".into(), resource: "pods".into(), namespace: "d".into(), ..ObjectRef::default() };
        Arc::new(Asked {
            level,
            omit_managed_fields: true,
            id: "id".into(),
            uri: "/api/v1/namespaces/d/pods?x=y".into(),
            verb: "create".into(),
            user: Some(Arc::new(UserInfo::new("ann", &["dev"]))),
            source_ips: vec!["10.0.0.1".into()],
            user_agent: "kubectl".into(),
            object: Some(object),
            received: Timestamp::UNIX_EPOCH,
        })
    }

    pub(in crate::http::audit) fn event(level: Level) -> Event {
        let body = r#"{"metadata":{"name":"web","managedFields":[{}]},"spec":{}}"#;
        Event {
            asked: asked(level),
            stage: Stage::ResponseComplete,
            at: Timestamp::UNIX_EPOCH,
            impersonated: None,
            outcome: Some(Outcome::Failed(Arc::new(Status::bad_request("no")))),
            request: Some(Document { content_type: "application/json".into(), bytes: body.into() }),
            response: None,
            annotations: [("authorization.k8s.io/decision".to_owned(), "allow".to_owned())].into(),
        }
    }

    #[test]
    fn a_line_is_upstreams_event() {
        let want = json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Request", "auditID": "id", "stage": "ResponseComplete",
            "requestURI": "/api/v1/namespaces/d/pods?x=y", "verb": "create", "user": {"username": "ann", "groups": ["dev"]},
            "sourceIPs": ["10.0.0.1"], "userAgent": "kubectl",
            "objectRef": {"resource": "pods", "namespace": "d", "name": "web", "apiVersion": "v1"},
            "responseStatus": {"metadata": {}, "status": "Failure", "message": "no", "reason": "BadRequest", "code": 400},
            "requestObject": {"metadata": {"name": "web"}, "spec": {}},
            "requestReceivedTimestamp": "1970-01-01T00:00:00.000000Z", "stageTimestamp": "1970-01-01T00:00:00.000000Z",
            "annotations": {"authorization.k8s.io/decision": "allow"},
        });
        assert_eq!(event(Level::Request).to_value(), want);
    }

    #[test]
    fn metadata_names_the_object_and_shows_nothing_of_it() {
        let doc = event(Level::Metadata).to_value();
        assert_eq!((doc.str_at("objectRef.name"), doc.get("requestObject")), ("web", None));
    }
}
