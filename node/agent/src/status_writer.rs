//! The one writer of pod statuses: at most one request a pod in flight, only what changed, guarded by the version that it
//! was computed from, tried again until it is in or the pod is gone. A pod whose end is complete is deleted here, after its last status.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use client::{Client, Delete, Object, Options, Patch, Target};
use env::Env;
use kinds::core::PodStatus;
use schema::{DocExt, Map, Status, Value, json};
use tokio::sync::Semaphore;

/// Requests in flight over all pods.
const IN_FLIGHT_MAX: usize = 64;
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Fields of a pod's status that are ours to clear.
const OWNED: &[&str] =
    &["message", "reason", "podIP", "podIPs", "startTime", "initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"];

#[derive(Clone, Debug)]
struct Wanted {
    /// The newest version known.
    object: Arc<Object>,
    status: PodStatus,
    /// The pod has ended: the API may forget it.
    delete: bool,
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct StatusWriter(Arc<Inner>);

struct Inner {
    env: Env,
    client: Client,
    slots: Semaphore,
    /// What is to be written, by uid; None while the last of it is on its way. A std mutex, never held across an await.
    wanted: Mutex<HashMap<String, Option<Wanted>>>,
}

impl StatusWriter {
    pub(crate) fn new(env: &Env, client: Client) -> Self {
        Self(Arc::new(Inner { env: env.clone(), client, slots: Semaphore::new(IN_FLIGHT_MAX), wanted: Mutex::default() }))
    }

    /// Makes the API show `status`; what was wanted before and is not yet on its way is forgotten.
    pub(crate) fn publish(&self, object: Arc<Object>, status: PodStatus, delete: bool) {
        let uid = object.meta.uid.clone();
        let wanted = Wanted { object, status, delete };
        let is_running = self.lock().insert(uid.clone(), Some(wanted)).is_some();
        if is_running {
            return;
        }
        let writer = self.clone();
        self.0.env.spawn("pod status", async move {
            let shutdown = writer.0.env.shutdown().clone();
            shutdown.run_until_cancelled(writer.write_all(&uid)).await;
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Option<Wanted>>> {
        self.0.wanted.lock().expect("no holder of the wanted statuses panics")
    }

    /// Takes what is wanted next, or ends this pod's writing.
    fn next(&self, uid: &str) -> Option<Wanted> {
        let mut all = self.lock();
        let next = all.get_mut(uid).and_then(Option::take);
        if next.is_none() {
            all.remove(uid);
        }
        next
    }

    /// Whether something newer is waiting.
    fn is_overtaken(&self, uid: &str) -> bool {
        self.lock().get(uid).is_some_and(Option::is_some)
    }

    async fn write_all(&self, uid: &str) {
        let mut newest: Option<Arc<Object>> = None;
        while let Some(mut wanted) = self.next(uid) {
            let mut delay = RETRY_FIRST;
            loop {
                if let Some(known) = newest.take().filter(|known| known.revision() > wanted.object.revision()) {
                    wanted.object = known;
                }
                match self.write(&wanted).await {
                    Ok(written) => break newest = written,
                    Err(status) if status.is_not_found() => break,
                    Err(status) if status.is_conflict() => match self.reread(&wanted).await {
                        Ok(Some(object)) => wanted.object = object,
                        Ok(None) => break,
                        Err(_) => self.0.env.sleep(delay).await,
                    },
                    Err(error) => {
                        tracing::warn!(pod = %wanted.object.meta.key(), %error, "pod status not written, trying again");
                        self.0.env.sleep(delay).await;
                    }
                }
                delay = (delay * 2).min(RETRY_MAX);
                if self.is_overtaken(uid) {
                    break;
                }
            }
        }
    }

    /// None: the pod is gone, or another pod has its name.
    async fn reread(&self, wanted: &Wanted) -> Result<Option<Arc<Object>>, Status> {
        match self.0.client.get(target(&wanted.object)).await {
            Ok(object) if object.meta.uid == wanted.object.meta.uid => Ok(Some(object)),
            Ok(_) => Ok(None),
            Err(status) if status.is_not_found() => Ok(None),
            Err(status) => Err(status),
        }
    }

    async fn write(&self, wanted: &Wanted) -> Result<Option<Arc<Object>>, Status> {
        let _slot = self.0.slots.acquire().await.expect("the semaphore is never closed");
        let mut newest = None;
        if let Some(patch) = patch(&wanted.object, &wanted.status) {
            newest = Some(self.0.client.patch(target(&wanted.object).sub("status"), Patch::Merge, &patch).await?);
        }
        if wanted.delete {
            let delete = Delete { grace_period_seconds: Some(0), uid: Some(wanted.object.meta.uid.clone()), ..Delete::default() };
            match self.0.client.delete(target(&wanted.object), Options { delete, ..Options::default() }).await {
                // Another pod has the name by now.
                Err(status) if status.is_conflict() => {}
                other => other?,
            }
        }
        Ok(newest)
    }
}

fn target(object: &Object) -> Target {
    Target::of("v1", "pods", &object.meta.namespace).named(&object.meta.name)
}

/// The merge patch that makes the API's pod show `status`; None where it already does.
fn patch(object: &Object, status: &PodStatus) -> Option<Value> {
    let doc = object.value();
    let empty = Map::new();
    let old = doc.map_at("status").unwrap_or(&empty);
    let Ok(Value::Object(mut new)) = serde_json::to_value(status) else { return None };
    new.remove("nominatedNodeName");
    new.insert("conditions".into(), conditions(doc.items_at("status.conditions"), new.get("conditions")));
    let mut changed: Map<String, Value> =
        new.iter().filter(|(name, value)| old.get(*name) != Some(value)).map(|(n, v)| (n.clone(), v.clone())).collect();
    for name in OWNED.iter().filter(|name| old.contains_key(**name) && !new.contains_key(**name)) {
        changed.insert((*name).to_owned(), Value::Null);
    }
    let version = json!({"uid": object.meta.uid, "resourceVersion": object.meta.resource_version});
    (!changed.is_empty()).then(|| json!({"metadata": version, "status": changed}))
}

/// Our conditions, and those of others as the API has them.
fn conditions(old: &[Value], ours: Option<&Value>) -> Value {
    let ours: Vec<Value> = ours.and_then(Value::as_array).cloned().unwrap_or_default();
    let is_own = |condition: &Value| crate::status::CONDITIONS.contains(&condition.str_at("type"));
    let own = ours.into_iter().filter(is_own);
    let others = old.iter().filter(|condition| !is_own(condition)).cloned();
    own.chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(status: Value) -> Arc<Object> {
        Object::from_value(&json!({"metadata": {"name": "p", "namespace": "d", "uid": "u", "resourceVersion": "7"}, "status": status}))
            .unwrap()
    }

    #[test]
    fn only_what_changed_is_written_and_others_conditions_stay() {
        let ready = json!({"type": "Ready", "status": "True", "lastProbeTime": null});
        let gate = json!({"type": "example.com/gate", "status": "True"});
        let status: PodStatus = serde_json::from_value(json!({"phase": "Running", "conditions": [ready]})).unwrap();
        let old = pod(json!({"phase": "Running", "message": "old", "conditions": [gate.clone()], "resize": "x"}));
        let patch = patch(&old, &status).unwrap();
        assert_eq!(patch["metadata"], json!({"uid": "u", "resourceVersion": "7"}));
        assert_eq!(patch["status"], json!({"message": null, "conditions": [ready, gate]}));
    }

    #[test]
    fn nothing_changed_means_no_write() {
        let status: PodStatus = serde_json::from_value(json!({"phase": "Running"})).unwrap();
        assert_eq!(patch(&pod(json!({"phase": "Running", "conditions": []})), &status), None);
    }
}
