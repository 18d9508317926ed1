//! Where a watch starts, and the watch as a stream for callers in this process.
//!
//! | asked | initial state | then |
//! |---|---|---|
//! | no resourceVersion | all as ADDED, newest | what follows |
//! | `0` | all as ADDED, as cached | what follows |
//! | a revision | nothing | everything after it, from the ring or the store's history; 410 when compacted |
//! | sendInitialEvents | all as ADDED, not older than the revision, then the annotated bookmark | what follows |

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use client::{Object, Options, Watch, WatchEvent, WatchKind};
use env::Env;
use futures::StreamExt;
use kinds::KindRef;
use schema::{FieldErrors, Path, Status, json};
use store::{EventKind, Revision, Store, StoreError};

use crate::cache::cursor::{Cursor, Start, Step, too_old};
use crate::cache::event::Event;
use crate::cache::item::Item;
use crate::cache::ring::Topic;
use crate::cache::{Cache, KindCache};
use crate::list::{self, Lister};
use crate::select::Selector;
use crate::{convert, failure};

/// Watches end between this and twice this, so that they spread over servers and leaks do not live for ever.
const TIMEOUT_MIN: Duration = Duration::from_secs(30 * 60);
/// History from before the ring that one watcher may bring into memory.
const BACKLOG_BYTES_MAX: usize = 64 << 20;
pub const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// One collection to watch.
pub struct Watcher<'a> {
    pub cache: &'a Arc<Cache>,
    pub store: &'a dyn Store,
    pub env: &'a Env,
    pub kind: &'a KindRef,
    pub kind_cache: &'a Arc<KindCache>,
    /// `""`: all.
    pub namespace: &'a str,
}

/// Which events come first.
#[derive(Clone, Copy)]
enum From {
    /// The state, not older than this, then what follows.
    State(u64),
    /// What follows this revision.
    After(u64),
}

impl Watcher<'_> {
    pub async fn watch(&self, options: &Options) -> Result<Cursor, Status> {
        let selector = Selector::parse(self.kind, &self.kind_cache.kind, &options.label_selector, &options.field_selector)?;
        check_initial(options)?;
        let timeout = self.timeout(options);
        let start = |selector, topic| Start {
            kind: Arc::clone(self.kind),
            topic,
            selector,
            initial: Vec::new(),
            converted: None,
            mark_initial_end: false,
            after: 0,
            bookmarks: options.allow_watch_bookmarks,
            timeout,
        };
        let topic = self.topic(&selector);
        let start = |topic| {
            if !convert::may_ask(self.kind) {
                return start(selector, topic);
            }
            let first = selector.of_any_version();
            Start { converted: Some(selector), ..start(first, topic) }
        };
        match self.from(options).await? {
            From::State(revision) => {
                list::wait(self.cache, revision).await?;
                self.lister().check_readable().await?;
                let mut start = start(topic);
                start.mark_initial_end = options.send_initial_events == Some(true);
                Ok(self.with_state(start))
            }
            From::After(revision) => self.after(start(topic), revision).await,
        }
    }

    fn timeout(&self, options: &Options) -> Duration {
        match options.timeout_seconds {
            Some(seconds) if seconds > 0 => Duration::from_secs(seconds),
            _ => TIMEOUT_MIN + Duration::from_secs(self.env.random_below(TIMEOUT_MIN.as_secs())),
        }
    }

    async fn from(&self, options: &Options) -> Result<From, Status> {
        let text = options.resource_version.as_deref().unwrap_or_default();
        let initial = options.send_initial_events;
        match text {
            "" if initial == Some(false) => Ok(From::After(list::newest(self.store).await?)),
            "" => Ok(From::State(list::newest(self.store).await?)),
            "0" if initial == Some(false) => Ok(From::After(self.cache.applied())),
            "0" => Ok(From::State(0)),
            text => {
                let asked =
                    list::revision(text).map_err(|why| failure::plain(format!("resourceVersion: Invalid value: {text:?}: {why}")))?;
                Ok(if initial == Some(true) { From::State(asked) } else { From::After(asked) })
            }
        }
    }

    /// The narrowest topic that holds everything the selector can match.
    fn topic(&self, selector: &Selector) -> Topic {
        let namespace = if self.namespace.is_empty() { selector.namespace().unwrap_or_default() } else { self.namespace };
        let node = selector.own("spec.nodeName").filter(|node| self.kind_cache.on_node() && !node.is_empty());
        match (selector.name(), node) {
            (Some(name), _) if !namespace.is_empty() || !self.kind.is_namespaced() => {
                Topic::Object(format!("{}{name}", list::bounds(&self.kind.storage_prefix, namespace).0).into())
            }
            (_, Some(node)) => Topic::Node(node.into()),
            _ if !namespace.is_empty() => Topic::Namespace(namespace.into()),
            _ => Topic::All,
        }
    }

    fn lister(&self) -> Lister<'_> {
        Lister { cache: self.cache, store: self.store, kind: self.kind, kind_cache: self.kind_cache, namespace: self.namespace }
    }

    /// Subscribes and takes the state in one step, so that no event is lost or doubled between them.
    fn with_state(&self, mut start: Start) -> Cursor {
        let applied = self.cache.applied();
        let (place, signal) = {
            let mut ring = self.kind_cache.write();
            start.after = applied.max(ring.revision());
            ring.subscribe(&start.topic, start.after)
        };
        // A later state than the place is fine only if its events are not told twice: the state is read again under its own lock.
        let (items, _, revision) = self.lister().matching(&start.selector);
        (start.initial, start.after) = (items, revision);
        Cursor::new(Arc::clone(self.cache), Arc::clone(self.kind_cache), start, place, signal)
    }

    async fn after(&self, mut start: Start, revision: u64) -> Result<Cursor, Status> {
        start.after = revision;
        let (oldest, (place, signal)) = {
            let mut ring = self.kind_cache.write();
            let oldest = ring.oldest();
            (oldest, ring.subscribe(&start.topic, revision.max(oldest)))
        };
        let topic = start.topic.clone();
        let cursor = Cursor::new(Arc::clone(self.cache), Arc::clone(self.kind_cache), start, place, signal);
        if revision >= oldest {
            return Ok(cursor);
        }
        let backlog = self.history(&topic, revision, oldest).await?;
        Ok(cursor.with_backlog(backlog))
    }

    /// The topic's events in `(after, until]`, which the ring no longer has, out of the store's history. 410 when that is compacted.
    async fn history(&self, topic: &Topic, after: u64, until: u64) -> Result<VecDeque<Arc<Event>>, Status> {
        let gone = |oldest: u64| too_old(after, oldest);
        // Every revision has an event of some kind, so a watch of everything tells when `until` is reached.
        let mut events = match self.store.watch("/", Revision(after)).await {
            Ok(events) => events,
            Err(StoreError::Compacted { oldest, .. }) => return Err(gone(oldest.0)),
            Err(error) => return Err(failure::of_store(&error)),
        };
        let (mut backlog, mut bytes) = (VecDeque::new(), 0);
        while let Some(batch) = events.next().await {
            let batch = batch.map_err(|_| gone(until))?;
            for event in batch.iter().filter(|event| event.revision.0 <= until && event.key.starts_with(self.kind.storage_prefix.as_ref()))
            {
                let event = self.replayed(event)?;
                if event.is_in(topic) {
                    bytes += event.weight();
                    backlog.push_back(event);
                }
            }
            if bytes > BACKLOG_BYTES_MAX {
                return Err(gone(until));
            }
            if batch.last().is_some_and(|event| event.revision.0 >= until) {
                break;
            }
        }
        Ok(backlog)
    }

    fn replayed(&self, event: &store::Event) -> Result<Arc<Event>, Status> {
        let on_node = self.kind_cache.on_node();
        let parse = |raw: &bytes::Bytes| Item::parse(raw.clone(), on_node);
        let current = if event.kind == EventKind::Delete { None } else { Some(parse(&event.value)?) };
        let previous = event.previous.as_ref().map(parse).transpose()?;
        Ok(Arc::new(Event::new(Arc::clone(&event.key), 0, event.revision.0, self.env.instant(), previous, current)))
    }
}

/// 422 for combinations of sendInitialEvents that mean nothing.
fn check_initial(options: &Options) -> Result<(), Status> {
    let mut errors = FieldErrors::default();
    let path = Path::new("resourceVersionMatch");
    match (options.send_initial_events, options.resource_version_match.as_str()) {
        (None, "") | (Some(_), "NotOlderThan") => {}
        (None, _) => errors.forbidden(&path, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"),
        (Some(_), "") => errors.forbidden(&path, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
        (Some(_), other) => errors.not_supported(&path, other, &["NotOlderThan"]),
    }
    if !options.continue_token.is_empty() {
        errors.forbidden(&Path::new("continue"), "continue is forbidden for watch");
    }
    if errors.is_empty() { Ok(()) } else { Err(failure::invalid_options("ListOptions", &errors)) }
}

/// The cursor as a stream of events, in the version that it is served in.
pub fn stream(cursor: Cursor) -> Watch {
    let batches = futures::stream::unfold(Some(cursor), |cursor| async {
        let mut cursor = cursor?;
        match cursor.next().await {
            Ok(Step::End) => None,
            Ok(step) => Some((told(&cursor, step), Some(cursor))),
            Err(status) => Some((vec![Err(status)], None)),
        }
    });
    Box::pin(batches.flat_map(futures::stream::iter))
}

fn told(cursor: &Cursor, step: Step) -> Vec<Result<WatchEvent, Status>> {
    let kind = cursor.kind();
    match step {
        Step::Events(deliveries) => {
            deliveries.iter().map(|delivery| Ok(WatchEvent { kind: delivery.kind, object: delivery.object(kind)? })).collect()
        }
        Step::Bookmark { revision, initial_events_end } => {
            vec![bookmark(kind, revision, initial_events_end).map(|object| WatchEvent { kind: WatchKind::Bookmark, object })]
        }
        Step::End => Vec::new(),
    }
}

/// The object of a bookmark: nothing but its revision.
pub fn bookmark(kind: &KindRef, revision: u64, initial_events_end: bool) -> Result<Arc<Object>, Status> {
    let mut doc = json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"resourceVersion": revision.to_string()}});
    if initial_events_end {
        doc["metadata"]["annotations"] = json!({INITIAL_EVENTS_END: "true"});
    }
    Object::from_value(&doc)
}
