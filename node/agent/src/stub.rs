//! A small API server for tests: objects in a map, watches that follow, graceful deletion of pods.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use client::{Answer, Body, List, Object, Request, Response, Target, Transport, Verb, WatchEvent, WatchKind};
use schema::{DocExt, Status, Value, json};
use tokio::sync::mpsc;

#[derive(Clone, Default)]
pub(crate) struct Stub(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    revision: u64,
    watchers: Vec<(Target, String, mpsc::UnboundedSender<Result<WatchEvent, Status>>)>,
    /// Every pod status written, as `phase`.
    pub(crate) log: Vec<String>,
    fail: Option<Status>,
}

impl Stub {
    /// Puts an object as a user would.
    pub(crate) fn put(&self, api_version: &str, resource: &str, mut doc: Value) {
        let target = Target::of(api_version, resource, doc.str_at("metadata.namespace")).named(doc.str_at("metadata.name"));
        let mut state = self.0.lock().unwrap();
        let uid = format!("uid-{}", doc.str_at("metadata.name"));
        doc.default_at("metadata.uid", uid);
        doc.default_at("metadata.creationTimestamp", "2026-01-01T00:00:00Z");
        state.store(&target, doc);
    }

    pub(crate) fn get(&self, api_version: &str, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(&Target::of(api_version, resource, namespace).named(name).path()).cloned()
    }

    pub(crate) fn edit(&self, api_version: &str, resource: &str, namespace: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        let target = Target::of(api_version, resource, namespace).named(name);
        let mut state = self.0.lock().unwrap();
        let mut doc = state.objects.get(&target.path()).cloned().unwrap();
        edit(&mut doc);
        state.store(&target, doc);
    }

    pub(crate) fn delete_pod(&self, name: &str, grace: i64) {
        let target = Target::of("v1", "pods", "d").named(name);
        let mut state = self.0.lock().unwrap();
        state.delete(&target, Some(grace)).unwrap();
    }

    /// Every request fails with this until it is taken back.
    pub(crate) fn fail(&self, status: Option<Status>) {
        self.0.lock().unwrap().fail = status;
    }

    /// `name phase` of each status written.
    pub(crate) fn log(&self) -> Vec<String> {
        self.0.lock().unwrap().log.clone()
    }

    pub(crate) fn events(&self) -> Vec<String> {
        let state = self.0.lock().unwrap();
        let events = state.objects.iter().filter(|(path, _)| path.contains("/events/")).map(|(_, doc)| doc);
        events.map(|doc| format!("{} {}: {}", doc.str_at("type"), doc.str_at("reason"), doc.str_at("message"))).collect()
    }
}

impl State {
    fn store(&mut self, target: &Target, mut doc: Value) -> Arc<Object> {
        self.revision += 1;
        doc.set_at("metadata.resourceVersion", self.revision.to_string());
        let existed = self.objects.insert(target.path(), doc.clone()).is_some();
        self.announce(target, if existed { WatchKind::Modified } else { WatchKind::Added }, &doc)
    }

    fn announce(&mut self, target: &Target, kind: WatchKind, doc: &Value) -> Arc<Object> {
        let object = Object::from_value(doc).unwrap();
        self.watchers.retain(|(of, selector, tx)| {
            let same = of.resource == target.resource && (of.namespace.is_empty() || of.namespace == target.namespace);
            !same || !selected(selector, doc) || tx.send(Ok(WatchEvent { kind, object: Arc::clone(&object) })).is_ok()
        });
        object
    }

    fn delete(&mut self, target: &Target, grace: Option<i64>) -> Result<(), Status> {
        let Some(mut doc) = self.objects.get(&target.path()).cloned() else {
            return Err(Status::not_found("", &target.resource, &target.name));
        };
        let grace = grace.or(doc.i64_at("spec.terminationGracePeriodSeconds")).unwrap_or(30);
        if target.resource == "pods" && grace > 0 {
            doc.set_at("metadata.deletionTimestamp", "2026-01-01T00:01:00Z");
            doc.set_at("metadata.deletionGracePeriodSeconds", grace);
            self.store(target, doc);
            return Ok(());
        }
        self.objects.remove(&target.path());
        self.revision += 1;
        doc.set_at("metadata.resourceVersion", self.revision.to_string());
        doc.set_at("metadata.deletionGracePeriodSeconds", grace);
        self.announce(target, WatchKind::Deleted, &doc);
        Ok(())
    }
}

fn selected(selector: &str, doc: &Value) -> bool {
    match selector.split_once('=') {
        Some(("metadata.name", name)) => doc.str_at("metadata.name") == name,
        Some(("spec.nodeName", node)) => doc.str_at("spec.nodeName") == node,
        _ => true,
    }
}

fn merge(doc: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *doc = patch.clone();
        return;
    };
    if !doc.is_object() {
        *doc = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            doc.as_object_mut().unwrap().remove(name);
        } else {
            merge(doc.as_object_mut().unwrap().entry(name).or_insert(Value::Null), value);
        }
    }
}

#[async_trait]
impl Transport for Stub {
    async fn call(&self, request: Request) -> Result<Answer, Status> {
        let Request { verb, mut target, options, body } = request;
        let mut state = self.0.lock().unwrap();
        if let Some(failure) = &state.fail {
            return Err(failure.clone());
        }
        let subresource = std::mem::take(&mut target.subresource);
        let missing = Status::not_found("", &target.resource, &target.name);
        let response = match (verb, body) {
            (Verb::Get, _) => {
                Response::Object { object: Object::from_value(state.objects.get(&target.path()).ok_or(missing)?)?, created: false }
            }
            (Verb::List, _) => {
                let all = state.objects.iter().filter(|(path, doc)| {
                    let parts: Vec<&str> = path.rsplitn(3, '/').collect();
                    parts[1] == target.resource && (target.namespace.is_empty() || doc.str_at("metadata.namespace") == target.namespace)
                });
                let items = all
                    .filter(|(_, doc)| selected(&options.field_selector, doc))
                    .map(|(_, doc)| Object::from_value(doc).unwrap())
                    .collect();
                Response::List(List { items, resource_version: state.revision.to_string(), continue_token: String::new(), remaining: None })
            }
            (Verb::Watch, _) => {
                let (tx, rx) = mpsc::unbounded_channel();
                state.watchers.push((target, options.field_selector, tx));
                Response::Watch(Box::pin(futures::stream::unfold(rx, async |mut rx| rx.recv().await.map(|event| (event, rx)))))
            }
            (Verb::Create, Body::Value(doc)) if subresource == "token" => {
                let token = format!("token-{}", state.revision);
                state.revision += 1;
                Response::Value { value: json!({"status": {"token": token, "expirationTimestamp": doc.str_at("spec.expires")}}), code: 201 }
            }
            (Verb::Create, Body::Value(mut doc)) => {
                let target = target.named(doc.str_at("metadata.name"));
                if state.objects.contains_key(&target.path()) {
                    return Err(Status::already_exists("", &target.resource, &target.name));
                }
                doc.default_at("metadata.uid", format!("uid-{}", target.name));
                Response::Object { object: state.store(&target, doc), created: true }
            }
            (Verb::Patch, Body::Patch { bytes, .. }) => {
                let mut doc = state.objects.get(&target.path()).cloned().ok_or(missing)?;
                let mut patch: Value = serde_json::from_slice(&bytes).unwrap();
                let expected = patch.remove_at("metadata.resourceVersion");
                if expected.is_some_and(|expected| expected != doc["metadata"]["resourceVersion"]) {
                    return Err(Status::stale("", &target.resource, &target.name));
                }
                merge(&mut doc, &patch);
                if target.resource == "pods" {
                    state.log.push(format!("{} {}", target.name, doc.str_at("status.phase")));
                }
                Response::Object { object: state.store(&target, doc), created: false }
            }
            (Verb::Delete, _) => {
                state.delete(&target, options.delete.grace_period_seconds)?;
                Response::Value { value: json!({}), code: 200 }
            }
            (verb, _) => return Err(Status::internal(format!("the stub does not answer {verb:?}"))),
        };
        Ok(Answer { response, warnings: Vec::new() })
    }
}
