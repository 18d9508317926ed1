//! Events: what a component tells a person about an object.
//!
//! Recording never waits and never fails: texts go into a bounded queue, a task writes them. The same text about the
//! same object again within ten minutes counts up on the one Event (`count`, `lastTimestamp`); from the tenth different text
//! for one reason on they share one Event; and an object that is talked about without end is heard 25 times, then once in five
//! minutes. All three are as upstream's correlator does it.

use std::collections::{HashMap, HashSet};
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
/// Different texts for one reason that get their own Event.
const SIMILAR_MAX: usize = 10;
/// Writes about one object before it is slowed down to one each [`BURST_REFILL`].
const BURST: f64 = 25.0;
const BURST_REFILL: Duration = Duration::from_secs(300);

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
        let writer = Writer {
            env: env.clone(),
            client,
            component: component.into(),
            host: host.into(),
            known: HashMap::new(),
            similar: HashMap::new(),
            budgets: HashMap::new(),
        };
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
    /// Different texts by note without text.
    similar: HashMap<Note, Similar>,
    budgets: HashMap<Reference, Budget>,
}

struct Similar {
    messages: HashSet<String>,
    last: Timestamp,
}

/// A token bucket.
struct Budget {
    left: f64,
    last: Timestamp,
}

impl Budget {
    fn take(&mut self, now: Timestamp) -> bool {
        let refilled = age(now, self.last).as_secs_f64() / BURST_REFILL.as_secs_f64();
        self.left = (self.left + refilled).min(BURST);
        self.last = now;
        let enough = self.left >= 1.0;
        if enough {
            self.left -= 1.0;
        }
        enough
    }
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
        let message = self.combine(&mut key, now);
        if !self.may_speak(&key.about, now) {
            return Ok(());
        }
        if let Some(written) = self.known.get_mut(&key).filter(|written| age(now, written.last) < AGGREGATION_WINDOW) {
            written.count += 1;
            written.last = now;
            let patch = json!({"count": written.count, "lastTimestamp": schema::time::format(now), "message": message});
            let target = events(&note.about).named(&written.name);
            match self.client.patch(target, Patch::Merge, &patch).await {
                Err(status) if status.is_not_found() => {}
                other => return other.map(|_| ()),
            }
        }
        let name = format!("{}.{:016x}", note.about.name, self.env.random_u64());
        self.client.create(events(&note.about), self.document(note, &message, &name, now)).await?;
        make_room(&mut self.known, |written| age(now, written.last) < AGGREGATION_WINDOW);
        self.known.insert(key, Written { name, count: 1, last: now });
        Ok(())
    }

    /// The text to write. Where one reason has brought many texts already, they share a key from now on.
    fn combine(&mut self, key: &mut Note, now: Timestamp) -> String {
        let message = std::mem::take(&mut key.message);
        make_room(&mut self.similar, |similar| age(now, similar.last) < AGGREGATION_WINDOW);
        let similar = self.similar.entry(key.clone()).or_insert_with(|| Similar { messages: HashSet::new(), last: now });
        if age(now, similar.last) >= AGGREGATION_WINDOW {
            similar.messages.clear();
        }
        similar.last = now;
        if similar.messages.len() >= SIMILAR_MAX - 1 && !similar.messages.contains(&message) {
            return format!("(combined from similar events): {message}");
        }
        similar.messages.insert(message.clone());
        key.message.clone_from(&message);
        message
    }

    fn may_speak(&mut self, about: &Reference, now: Timestamp) -> bool {
        let mut about = about.clone();
        about.field_path.clear();
        // Whoever is forgotten after so long has a full budget again anyway, or nearly so.
        make_room(&mut self.budgets, |budget| age(now, budget.last) < AGGREGATION_WINDOW);
        self.budgets.entry(about).or_insert(Budget { left: BURST, last: now }).take(now)
    }

    fn document(&self, note: &Note, message: &str, name: &str, now: Timestamp) -> Value {
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
            "reason": note.reason, "message": message, "source": source, "count": 1,
            "firstTimestamp": time, "lastTimestamp": time,
            "reportingComponent": self.component, "reportingInstance": self.host,
        })
    }
}

/// Keeps a memory bounded at a cost that does not grow with each entry: stale entries go first, then all.
fn make_room<K: Eq + std::hash::Hash, V>(held: &mut HashMap<K, V>, is_fresh: impl Fn(&V) -> bool) {
    if held.len() < REMEMBERED_MAX {
        return;
    }
    held.retain(|_, value| is_fresh(value));
    if held.len() > REMEMBERED_MAX * 3 / 4 {
        held.clear();
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;

    use super::*;
    use crate::request::Body;
    use crate::{Answer, Object, Request, Response, Transport, Verb};

    /// Keeps the messages of creates and counts patches.
    #[derive(Default)]
    struct Written(Mutex<(Vec<String>, usize)>);

    #[async_trait]
    impl Transport for Written {
        async fn call(&self, request: Request) -> Result<Answer, Status> {
            let mut written = self.0.lock().unwrap();
            match (request.verb, request.body) {
                (Verb::Create, Body::Value(doc)) => written.0.push(doc["message"].as_str().unwrap().to_owned()),
                _ => written.1 += 1,
            }
            let object = Object::from_value(&json!({"metadata": {"name": "e"}}))?;
            Ok(Answer { response: Response::Object { object, created: true }, warnings: Vec::new() })
        }
    }

    async fn spoken(about: impl Fn(usize) -> &'static str, messages: impl IntoIterator<Item = String>) -> (Vec<String>, usize) {
        let (env, sink) = (Env::sim(1), Arc::new(Written::default()));
        let recorder = Recorder::start(&env, Client::new(sink.clone()), "c", "");
        for (n, message) in messages.into_iter().enumerate() {
            let about = Reference { kind: "Pod".into(), namespace: "d".into(), name: about(n).into(), ..Reference::default() };
            recorder.normal(about, "Reason", message);
        }
        env.sleep(Duration::from_secs(1)).await;
        let written = sink.0.lock().unwrap();
        (written.0.clone(), written.1)
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_text_counts_up_and_many_texts_share_one_event() {
        let (created, patched) = spoken(|_| "a", (0..3).map(|_| "same".into())).await;
        assert_eq!((created.as_slice(), patched), (&["same".to_owned()][..], 2));
        let (created, patched) = spoken(|_| "a", (0..15).map(|n| format!("text {n}"))).await;
        assert_eq!((created.len(), patched), (10, 5));
        assert_eq!(created[9], "(combined from similar events): text 9");
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_is_talked_about_without_end_is_heard_25_times() {
        let (created, patched) = spoken(|_| "a", (0..500).map(|_| "again".into())).await;
        assert_eq!(created.len() + patched, 25);
        let (created, _) = spoken(|n| if n < 100 { "a" } else { "b" }, (0..101).map(|_| "again".into())).await;
        assert_eq!(created.len(), 2, "others are heard");
    }

    #[test]
    fn memory_is_bounded() {
        let mut held: HashMap<usize, ()> = HashMap::new();
        for n in 0..REMEMBERED_MAX * 3 {
            make_room(&mut held, |()| true);
            held.insert(n, ());
            assert!(held.len() <= REMEMBERED_MAX);
        }
    }
}
