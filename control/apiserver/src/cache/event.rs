//! One write as watchers see it, encoded at most once per form.

use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use client::{Object, WatchKind};
use store::Key;
use tokio::time::Instant;

use super::item::Item;
use super::ring::Topic;
use super::signal::Form;
use crate::document;
use crate::select::Selector;

/// Which form of an event some bytes are, and what it tells.
type FormKey = (Form, WatchKind);

/// Shared by all watchers of a kind.
pub struct Event {
    pub key: Key,
    /// Position in the kind's ring.
    pub seq: u64,
    /// Revision of the write.
    pub revision: u64,
    /// When it was applied; old events leave the ring first.
    pub at: Instant,
    pub previous: Option<Arc<Item>>,
    /// None for a delete.
    pub current: Option<Arc<Item>>,
    /// The last state, at this event's revision: what DELETED carries.
    departed: OnceLock<Arc<Object>>,
    forms: Mutex<Vec<(FormKey, Bytes)>>,
}

impl Event {
    pub fn new(key: Key, seq: u64, revision: u64, at: Instant, previous: Option<Arc<Item>>, current: Option<Arc<Item>>) -> Self {
        Self { key, seq, revision, at, previous, current, departed: OnceLock::new(), forms: Mutex::default() }
    }

    /// What this event is to a watcher with `selector`: a change into the selection is ADDED, out of it DELETED.
    pub fn seen_by(&self, selector: &Selector) -> Option<WatchKind> {
        if selector.is_everything() {
            return self.seen_by_all();
        }
        let matches = |item: &Option<Arc<Item>>| item.as_ref().is_some_and(|item| selector.matches(item));
        match (matches(&self.previous), matches(&self.current)) {
            (false, true) => Some(WatchKind::Added),
            (true, true) => Some(WatchKind::Modified),
            (true, false) => Some(WatchKind::Deleted),
            (false, false) => None,
        }
    }

    fn seen_by_all(&self) -> Option<WatchKind> {
        match (&self.previous, &self.current) {
            (None, Some(_)) => Some(WatchKind::Added),
            (Some(_), Some(_)) => Some(WatchKind::Modified),
            (Some(_), None) => Some(WatchKind::Deleted),
            (None, None) => None,
        }
    }

    /// The object that an event of `kind` carries, in the stored version.
    pub fn object(&self, kind: WatchKind) -> Arc<Object> {
        match (&self.current, kind) {
            (Some(current), WatchKind::Added | WatchKind::Modified) => Arc::clone(&current.object),
            _ => Arc::clone(self.departed.get_or_init(|| self.depart())),
        }
    }

    fn depart(&self) -> Arc<Object> {
        let last = self.previous.as_ref().or(self.current.as_ref()).expect("an event has a state before or after it");
        let raw = document::restamp(&last.object.raw, self.revision);
        Object::parse(raw).unwrap_or_else(|_| Arc::clone(&last.object))
    }

    /// The bytes of one form, made by the first that asks and shared with all others. A maker's failure is shared with nobody.
    pub fn form<E>(&self, form: &Form, kind: WatchKind, make: impl FnOnce() -> Result<Bytes, E>) -> Result<Bytes, E> {
        let mut forms = self.forms.lock().expect("makers of event forms do not panic");
        if let Some((_, bytes)) = forms.iter().find(|((have, of), _)| have == form && *of == kind) {
            return Ok(bytes.clone());
        }
        let bytes = make()?;
        forms.push(((form.clone(), kind), bytes.clone()));
        Ok(bytes)
    }

    /// Whether a watcher of `topic` cares.
    pub fn is_in(&self, topic: &Topic) -> bool {
        let mut states = self.previous.iter().chain(&self.current);
        match topic {
            Topic::All => true,
            Topic::Namespace(name) => states.any(|item| *item.object.meta.namespace == **name),
            Topic::Node(node) => states.any(|item| item.node == *node),
            Topic::Object(key) => *self.key == **key,
        }
    }

    /// What it costs the ring.
    pub fn weight(&self) -> usize {
        const OVERHEAD_BYTES: usize = 256;
        self.current.as_ref().or(self.previous.as_ref()).map_or(0, |item| item.object.raw.len()) + OVERHEAD_BYTES
    }
}
