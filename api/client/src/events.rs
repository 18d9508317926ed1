//! Events: what a component tells a person about an object.
//!
//! Recording never waits and never fails: texts go into a bounded queue, a task writes them. The same text about the
//! same object again within ten minutes counts up on the one Event (`count`, `lastTimestamp`), as upstream's correlator does.

use std::collections::HashMap;
use std::time::Duration;

use env::Env;
use jiff::Timestamp;
use schema::{ObjectMeta, Status, Value, json};
use tokio::sync::mpsc;

use crate::request::Patch;
use crate::{Client, Target};

/// Texts waiting to be written; beyond it new ones are dropped and counted in the log.
const QUEUE_MAX: usize = 1024;
/// Remembered (object, text) pairs.
const REMEMBERED_MAX: usize = 4096;
const AGGREGATION_WINDOW: Duration = Duration::from_secs(600);

/// The object that an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reference {
    pub api_version: String,
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    /// `spec.containers{web}`
    pub field_path: String,
}

impl Reference {
    pub fn to(api_version: &str, kind: &str, meta: &ObjectMeta) -> Self {
        Self {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            field_path: String::new(),
        }
    }

    #[must_use]
    pub fn field(mut self, path: impl Into<String>) -> Self {
        self.field_path = path.into();
        self
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    Normal,
    Warning,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Note {
    about: Reference,
    severity: Severity,
    reason: String,
    message: String,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    notes_tx: mpsc::Sender<Note>,
}

impl Recorder {
    /// `component` is who speaks (`kubelet`, `default-scheduler`, `deployment-controller`); `host` is its node, or `""`.
    pub fn start(env: &Env, client: Client, component: &str, host: &str) -> Self {
        let (notes_tx, notes_rx) = mpsc::channel(QUEUE_MAX);
        let writer = Writer { env: env.clone(), client, component: component.into(), host: host.into(), known: HashMap::new() };
        env.spawn("events", writer.run(notes_rx));
        Self { notes_tx }
    }

    pub fn normal(&self, about: Reference, reason: &str, message: impl Into<String>) {
        self.note(about, Severity::Normal, reason, message.into());
    }

    pub fn warning(&self, about: Reference, reason: &str, message: impl Into<String>) {
        self.note(about, Severity::Warning, reason, message.into());
    }

    fn note(&self, about: Reference, severity: Severity, reason: &str, message: String) {
        let note = Note { about, severity, reason: reason.into(), message };
        if self.notes_tx.try_send(note).is_err() {
            tracing::warn!(reason, "the queue of events is full, one was dropped");
        }
    }
}

struct Writer {
    env: Env,
    client: Client,
    component: String,
    host: String,
    known: HashMap<Note, Written>,
}

struct Written {
    name: String,
    count: i64,
    last: Timestamp,
}

impl Writer {
    async fn run(mut self, mut notes_rx: mpsc::Receiver<Note>) {
        let shutdown = self.env.shutdown().clone();
        while let Some(Some(note)) = shutdown.run_until_cancelled(notes_rx.recv()).await {
            if let Err(error) = self.write(&note).await {
                tracing::debug!(%error, reason = note.reason, "event not written");
            }
        }
    }

    async fn write(&mut self, note: &Note) -> Result<(), Status> {
        let now = self.env.now();
        // A resourceVersion moves with each status write; it must not make the same text a new event.
        let mut key = note.clone();
        key.about.resource_version.clear();
        if let Some(written) = self.known.get_mut(&key).filter(|written| age(now, written.last) < AGGREGATION_WINDOW) {
            written.count += 1;
            written.last = now;
            let patch = json!({"count": written.count, "lastTimestamp": schema::time::format(now)});
            let target = events(&note.about).named(&written.name);
            match self.client.patch(target, Patch::Merge, &patch).await {
                Err(status) if status.is_not_found() => {}
                other => return other.map(|_| ()),
            }
        }
        let name = format!("{}.{:016x}", note.about.name, self.env.random_u64());
        self.client.create(events(&note.about), self.document(note, &name, now)).await?;
        if self.known.len() >= REMEMBERED_MAX {
            self.known.retain(|_, written| age(now, written.last) < AGGREGATION_WINDOW);
        }
        if self.known.len() < REMEMBERED_MAX {
            self.known.insert(key, Written { name, count: 1, last: now });
        }
        Ok(())
    }

    fn document(&self, note: &Note, name: &str, now: Timestamp) -> Value {
        let about = &note.about;
        let time = schema::time::format(now);
        let mut involved = json!({
            "apiVersion": about.api_version, "kind": about.kind, "name": about.name, "uid": about.uid, "resourceVersion": about.resource_version,
        });
        if !about.namespace.is_empty() {
            involved["namespace"] = json!(about.namespace);
        }
        if !about.field_path.is_empty() {
            involved["fieldPath"] = json!(about.field_path);
        }
        let mut source = json!({"component": self.component});
        if !self.host.is_empty() {
            source["host"] = json!(self.host);
        }
        json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": name, "namespace": namespace(about)},
            "involvedObject": involved,
            "type": if note.severity == Severity::Normal { "Normal" } else { "Warning" },
            "reason": note.reason, "message": note.message, "source": source, "count": 1,
            "firstTimestamp": time, "lastTimestamp": time,
            "reportingComponent": self.component, "reportingInstance": self.host,
        })
    }
}

fn age(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

/// Events about cluster-scoped objects live in `default`.
fn namespace(about: &Reference) -> &str {
    if about.namespace.is_empty() { "default" } else { &about.namespace }
}

fn events(about: &Reference) -> Target {
    Target::of("v1", "events", namespace(about))
}
