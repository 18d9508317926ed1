//! A [`Request`] as an HTTP request, and HTTP answers as [`Response`]s: JSON both ways.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use http::Method;
use schema::Status;
use schema::decode::FieldValidation;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::request::{Body, List, Options, Patch, Request, Verb, Watch, WatchEvent, WatchKind};
use crate::{Object, Response};

/// A watch line longer than this is no event of ours.
const LINE_MAX: usize = 8 << 20;

pub(crate) fn method(verb: Verb) -> Method {
    match verb {
        Verb::Get | Verb::List | Verb::Watch => Method::GET,
        Verb::Create => Method::POST,
        Verb::Update => Method::PUT,
        Verb::Patch => Method::PATCH,
        Verb::Delete | Verb::DeleteCollection => Method::DELETE,
    }
}

/// Path and query.
pub(crate) fn uri(request: &Request) -> String {
    let query = query(request.verb, &request.options);
    if query.is_empty() { request.target.path() } else { format!("{}?{query}", request.target.path()) }
}

fn query(verb: Verb, options: &Options) -> String {
    let mut pairs: Vec<(&str, String)> = Vec::new();
    let mut add = |name, value: String| {
        if !value.is_empty() {
            pairs.push((name, value));
        }
    };
    add("labelSelector", options.label_selector.clone());
    add("fieldSelector", options.field_selector.clone());
    add("resourceVersion", options.resource_version.clone().unwrap_or_default());
    add("resourceVersionMatch", options.resource_version_match.clone());
    add("limit", nonzero(options.limit));
    add("continue", options.continue_token.clone());
    add("timeoutSeconds", options.timeout_seconds.map(|n| n.to_string()).unwrap_or_default());
    add("allowWatchBookmarks", yes(options.allow_watch_bookmarks));
    add("sendInitialEvents", options.send_initial_events.map(|on| on.to_string()).unwrap_or_default());
    add("watch", yes(verb == Verb::Watch));
    add("dryRun", if options.dry_run { "All".into() } else { String::new() });
    add("fieldManager", options.field_manager.clone());
    add("force", yes(options.force));
    if matches!(verb, Verb::Create | Verb::Update | Verb::Patch) {
        let word = match options.field_validation {
            FieldValidation::Ignore => "Ignore",
            FieldValidation::Warn => "Warn",
            FieldValidation::Strict => "Strict",
        };
        add("fieldValidation", word.into());
    }
    let raw = options.raw.iter().map(|(name, value)| (name.as_str(), value.clone()));
    let texts = pairs.into_iter().chain(raw).map(|(name, value)| format!("{}={}", escape(name), escape(&value)));
    texts.collect::<Vec<_>>().join("&")
}

fn nonzero(n: u64) -> String {
    if n == 0 { String::new() } else { n.to_string() }
}

fn yes(on: bool) -> String {
    if on { "true".into() } else { String::new() }
}

/// Percent-encoding of everything but the unreserved characters.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// Content type and bytes of the body.
pub(crate) fn body(request: &Request) -> Result<Option<(String, Bytes)>, Status> {
    if matches!(request.verb, Verb::Delete | Verb::DeleteCollection) {
        return Ok(Some(("application/json".into(), delete_options(&request.options)?)));
    }
    Ok(match &request.body {
        Body::None => None,
        Body::Value(value) => Some(("application/json".into(), serde_json::to_vec(value).map_err(Status::internal)?.into())),
        Body::Encoded { content_type, bytes } => Some((content_type.clone(), bytes.clone())),
        Body::Patch { kind, bytes } => Some((patch_type(*kind).into(), bytes.clone())),
    })
}

fn patch_type(kind: Patch) -> &'static str {
    match kind {
        Patch::Json => "application/json-patch+json",
        Patch::Merge => "application/merge-patch+json",
        Patch::Strategic => "application/strategic-merge-patch+json",
        Patch::Apply => "application/apply-patch+yaml",
    }
}

fn delete_options(options: &Options) -> Result<Bytes, Status> {
    let delete = &options.delete;
    let mut doc = schema::json!({"kind": "DeleteOptions", "apiVersion": "v1"});
    let mut preconditions = serde_json::Map::new();
    preconditions.extend(delete.uid.iter().map(|uid| ("uid".to_owned(), uid.clone().into())));
    preconditions.extend(delete.resource_version.iter().map(|rv| ("resourceVersion".to_owned(), rv.clone().into())));
    let members = [
        ("gracePeriodSeconds", delete.grace_period_seconds.map(schema::Value::from)),
        ("propagationPolicy", delete.propagation_policy.clone().map(schema::Value::from)),
        ("orphanDependents", delete.orphan_dependents.map(schema::Value::from)),
        ("preconditions", (!preconditions.is_empty()).then_some(schema::Value::Object(preconditions))),
        ("dryRun", options.dry_run.then(|| schema::json!(["All"]))),
    ];
    for (name, value) in members.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        doc[name] = value;
    }
    serde_json::to_vec(&doc).map(Bytes::from).map_err(Status::internal)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListBody<'a> {
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(default)]
    metadata: schema::status::ListMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct KindOnly {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Option<serde_json::Map<String, schema::Value>>,
}

/// A complete answer's body, by what was asked.
pub(crate) fn response(verb: Verb, code: u16, bytes: &Bytes) -> Result<Response, Status> {
    match verb {
        Verb::List => list(bytes).map(Response::List),
        _ => object(code, bytes),
    }
}

fn list(bytes: &Bytes) -> Result<List, Status> {
    let body: ListBody<'_> = serde_json::from_slice(bytes).map_err(Status::internal)?;
    let type_head = body.kind.strip_suffix("List").map(|kind| {
        let head = schema::json!({"apiVersion": body.api_version, "kind": kind}).to_string();
        head.trim_end_matches('}').to_owned()
    });
    let items = body.items.unwrap_or_default().into_iter().map(|item| own(item.get(), type_head.as_deref()));
    Ok(List {
        items: items.collect::<Result<_, _>>()?,
        resource_version: body.metadata.resource_version,
        continue_token: body.metadata.continue_token,
        remaining: body.metadata.remaining_item_count,
    })
}

/// One item with bytes of its own, so that one kept object does not keep the whole list in memory. A list of built-in
/// objects says `apiVersion` and `kind` once for all: `type_head` (`{"apiVersion":"v1","kind":"Pod"`) puts them back.
fn own(item: &str, type_head: Option<&str>) -> Result<Arc<Object>, Status> {
    let body = item.trim_start().strip_prefix('{').unwrap_or_default();
    let typed = body.starts_with("\"apiVersion\":") || body.starts_with("\"kind\":");
    match type_head.filter(|_| !typed && !body.is_empty()) {
        Some(head) => {
            let comma = if body.trim_start().starts_with('}') { "" } else { "," };
            Object::parse(Bytes::from([head, comma, body].concat()))
        }
        None => Object::parse(Bytes::copy_from_slice(item.as_bytes())),
    }
}

/// Stored objects have a resourceVersion; everything else is a plain document.
fn object(code: u16, bytes: &Bytes) -> Result<Response, Status> {
    let head: KindOnly = serde_json::from_slice(bytes).map_err(Status::internal)?;
    let stored = head.kind != "Status" && head.metadata.is_some_and(|meta| meta.contains_key("resourceVersion"));
    if stored {
        return Ok(Response::Object { object: Object::parse(bytes.clone())?, created: code == 201 });
    }
    Ok(Response::Value { value: serde_json::from_slice(bytes).map_err(Status::internal)?, code })
}

/// A failed answer as the status it carries, or as one made of its code.
pub(crate) fn failure(code: u16, bytes: &[u8]) -> Status {
    serde_json::from_slice::<Status>(bytes).ok().filter(|status| status.code >= 400).unwrap_or_else(|| {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(512)]);
        Status::failure(code, "", format!("the server answered {code}: {}", text.trim()))
    })
}

#[derive(Deserialize)]
struct Frame<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// Splits a watch body into its lines and decodes each.
pub(crate) fn watch(body: BoxStream<'static, Result<Bytes, Status>>) -> Watch {
    let state = (body, BytesMut::new());
    Box::pin(futures::stream::unfold(state, |(mut body, mut buffer)| async move {
        // What has been searched of the line that is coming in: a long one arrives in many pieces.
        let mut searched = 0;
        loop {
            if let Some(end) = buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let line = buffer.split_to(searched + end + 1).freeze();
                return Some((event(&line), (body, buffer)));
            }
            searched = buffer.len();
            if buffer.len() > LINE_MAX {
                return Some((
                    Err(Status::internal("a watch line is longer than any event")),
                    (Box::pin(futures::stream::empty()) as _, BytesMut::new()),
                ));
            }
            match body.next().await? {
                Ok(bytes) => buffer.extend_from_slice(&bytes),
                Err(status) => return Some((Err(status), (body, buffer))),
            }
        }
    }))
}

fn event(line: &[u8]) -> Result<WatchEvent, Status> {
    let frame: Frame<'_> = serde_json::from_slice(line).map_err(Status::internal)?;
    let kind = match frame.r#type {
        "ADDED" => WatchKind::Added,
        "MODIFIED" => WatchKind::Modified,
        "DELETED" => WatchKind::Deleted,
        "BOOKMARK" => WatchKind::Bookmark,
        _ => return Err(failure(500, frame.object.get().as_bytes())),
    };
    let object = Object::parse(Bytes::copy_from_slice(frame.object.get().as_bytes()))?;
    Ok(WatchEvent { kind, object })
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;
    use crate::Target;

    fn request(verb: Verb, options: Options) -> Request {
        Request { verb, target: Target::of("v1", "pods", "d"), options, body: Body::None }
    }

    #[test]
    fn a_watch_says_so_in_its_query() {
        let options = Options { field_selector: "spec.nodeName=n 1".into(), resource_version: Some("5".into()), ..Options::default() };
        assert_eq!(
            uri(&request(Verb::Watch, options)),
            "/api/v1/namespaces/d/pods?fieldSelector=spec.nodeName%3Dn%201&resourceVersion=5&watch=true"
        );
    }

    #[test]
    fn preconditions_of_a_delete_travel_in_its_body() {
        let mut options = Options::default();
        options.delete.uid = Some("u".into());
        options.delete.grace_period_seconds = Some(0);
        let (_, bytes) = body(&request(Verb::Delete, options)).unwrap().unwrap();
        let sent: schema::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(sent, json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0, "preconditions": {"uid": "u"}}));
    }

    #[test]
    fn a_list_gives_its_items_their_type() {
        let bytes = Bytes::from_static(
            br#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"9"},"items":[{"metadata":{"name":"a"}},{},
                {"apiVersion":"v1","kind":"Pod","metadata":{"name":"b"}}]}"#,
        );
        let docs: Vec<_> = list(&bytes).unwrap().items.iter().map(|item| item.value()).collect();
        let pod = |metadata: schema::Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata});
        assert_eq!(docs, [pod(json!({"name": "a"})), json!({"apiVersion": "v1", "kind": "Pod"}), pod(json!({"name": "b"}))]);
    }

    #[tokio::test]
    async fn frames_may_split_anywhere() {
        let line = br#"{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"7"}}}"#;
        let whole: Vec<u8> = [&line[..], b"\n", &line[..], b"\n"].concat();
        for cut in 1..whole.len() {
            let parts = vec![Ok(Bytes::copy_from_slice(&whole[..cut])), Ok(Bytes::copy_from_slice(&whole[cut..]))];
            let events: Vec<_> = watch(Box::pin(futures::stream::iter(parts))).collect().await;
            assert_eq!(events.len(), 2, "cut at {cut}");
            assert!(events.iter().all(|event| event.as_ref().unwrap().object.revision() == 7));
        }
    }

    #[tokio::test]
    async fn an_error_frame_is_its_status() {
        let line = br#"{"type":"ERROR","object":{"kind":"Status","code":410,"status":"Failure","reason":"Expired","message":"old","metadata":{}}}"#;
        let part = Ok(Bytes::from([&line[..], b"\n"].concat()));
        let events: Vec<_> = watch(Box::pin(futures::stream::iter(vec![part]))).collect().await;
        assert!(events[0].as_ref().unwrap_err().is_expired());
    }
}
