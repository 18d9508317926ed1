//! One kind's live objects and its recent history.
//!
//! The history is one ring of shared events. Each *topic* (everything, one namespace, one node, one object) that somebody
//! watches keeps the positions of its own events in that ring and one [`Signal`], so that foreign events cost a watcher
//! nothing: it is neither woken nor does it step over them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use store::Key;
use tokio::time::Instant;

use super::event::Event;
use super::item::Item;
use super::signal::Signal;

/// The part of a kind that a watcher follows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    All,
    Namespace(Box<str>),
    /// Pods on one node.
    Node(Box<str>),
    /// One object, by key.
    Object(Box<str>),
}

/// Events younger than this stay up to the ring's byte bound; a resuming watcher is seldom away for longer.
const KEEP: Duration = Duration::from_secs(75);
/// What an idle kind may keep of older events.
const IDLE_BYTES_MAX: usize = 1 << 20;

pub struct Ring {
    items: BTreeMap<Key, Arc<Item>>,
    by_node: HashMap<Box<str>, BTreeMap<Key, Arc<Item>>>,
    events: VecDeque<Arc<Event>>,
    /// Position of the next event.
    next_seq: u64,
    bytes: usize,
    bytes_max: usize,
    /// Every event after this revision is in `events`.
    oldest: u64,
    /// Revision of the newest event applied.
    revision: u64,
    /// Changes when the ring starts afresh: older cursors are void.
    epoch: u32,
    topics: HashMap<Topic, Positions>,
}

/// A topic's events in the ring.
struct Positions {
    seqs: VecDeque<u64>,
    /// The newest position that left the ring; cursors at or before it have missed something.
    lost: Option<u64>,
    watchers: usize,
    signal: Arc<Signal>,
}

/// One write, parsed and ready to apply.
pub struct Change {
    pub key: Key,
    pub revision: u64,
    /// None: deleted.
    pub item: Option<Arc<Item>>,
}

/// A cursor's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub epoch: u32,
    /// The first position not yet seen.
    pub next: u64,
}

/// The watcher is too far behind.
pub struct Lagged {
    pub oldest: u64,
}

impl Ring {
    pub fn new(bytes_max: usize) -> Self {
        Self {
            items: BTreeMap::new(),
            by_node: HashMap::new(),
            events: VecDeque::new(),
            next_seq: 1,
            bytes: 0,
            bytes_max,
            oldest: 0,
            revision: 0,
            epoch: 0,
            topics: HashMap::new(),
        }
    }

    /// Starts afresh with `items` as they were at `revision`; every cursor is void. Returns whom to wake.
    pub fn reset(&mut self, revision: u64, items: Vec<(Key, Arc<Item>)>) -> Vec<Arc<Signal>> {
        self.items.clear();
        self.by_node.clear();
        for (key, item) in items {
            self.put(key, item);
        }
        self.events.clear();
        (self.bytes, self.oldest, self.revision) = (0, revision, revision);
        self.epoch += 1;
        for topic in self.topics.values_mut() {
            topic.seqs.clear();
            topic.signal.void();
        }
        self.signals()
    }

    /// Of everything that is watched.
    pub fn signals(&self) -> Vec<Arc<Signal>> {
        self.topics.values().map(|topic| Arc::clone(&topic.signal)).collect()
    }

    /// Applies changes in commit order; returns the signals of the topics that got something.
    pub fn apply(&mut self, changes: Vec<Change>, now: Instant) -> Vec<Arc<Signal>> {
        let mut wake: Vec<Arc<Signal>> = Vec::new();
        for change in changes {
            let previous = self.items.get(&change.key).cloned();
            if previous.is_none() && change.item.is_none() {
                continue;
            }
            self.revision = change.revision;
            let event = Arc::new(Event::new(Arc::clone(&change.key), self.next_seq, change.revision, now, previous, change.item));
            self.note(&event, &mut wake);
            self.store(&event);
            self.bytes += event.weight();
            self.next_seq += 1;
            self.events.push_back(event);
        }
        self.trim(now);
        wake
    }

    fn store(&mut self, event: &Event) {
        let key = &event.key;
        if let Some(previous) = &event.previous {
            self.leave_node(key, &previous.node);
        }
        match &event.current {
            Some(item) => self.put(Arc::clone(key), Arc::clone(item)),
            None => drop(self.items.remove(key)),
        }
    }

    fn put(&mut self, key: Key, item: Arc<Item>) {
        if !item.node.is_empty() {
            self.by_node.entry(item.node.clone()).or_default().insert(Arc::clone(&key), Arc::clone(&item));
        }
        self.items.insert(key, item);
    }

    fn leave_node(&mut self, key: &Key, node: &str) {
        if let Some(there) = self.by_node.get_mut(node) {
            there.remove(key);
            if there.is_empty() {
                self.by_node.remove(node);
            }
        }
    }

    /// Tells the watched topics that `event` is theirs.
    fn note(&mut self, event: &Event, wake: &mut Vec<Arc<Signal>>) {
        for topic in topics_of(event) {
            if let Some(positions) = self.topics.get_mut(&topic) {
                positions.seqs.push_back(event.seq);
                positions.signal.extend(event.seq + 1);
                if !wake.iter().any(|have| Arc::ptr_eq(have, &positions.signal)) {
                    wake.push(Arc::clone(&positions.signal));
                }
            }
        }
    }

    /// Lets go of what is too much, and of what is old and not little.
    fn trim(&mut self, now: Instant) {
        while let Some(front) = self.events.front() {
            let old = now.duration_since(front.at) > KEEP;
            if self.bytes <= IDLE_BYTES_MAX || (self.bytes <= self.bytes_max && !old) {
                break;
            }
            let front = self.events.pop_front().expect("looked at just above");
            (self.bytes, self.oldest) = (self.bytes - front.weight(), front.revision);
            for topic in topics_of(&front) {
                if let Some(positions) = self.topics.get_mut(&topic) {
                    positions.forget(front.seq);
                }
            }
        }
    }

    fn first_seq(&self) -> u64 {
        self.events.front().map_or(self.next_seq, |event| event.seq)
    }

    /// Revision of the newest event in here.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Changes with every change of what is here: for who keeps something that it made of it.
    pub fn moment(&self) -> (u32, u64) {
        (self.epoch, self.revision)
    }

    /// Every event after this revision can be replayed.
    pub fn oldest(&self) -> u64 {
        self.oldest
    }

    pub fn get(&self, key: &str) -> Option<&Arc<Item>> {
        self.items.get(key)
    }

    /// Items with keys in `[start, end)`, in key order.
    pub fn range<'a>(&'a self, start: &str, end: &str) -> impl Iterator<Item = (&'a Key, &'a Arc<Item>)> + use<'a> {
        self.items.range::<str, _>((Bound::Included(start), Bound::Excluded(end)))
    }

    /// Pods on `node`, in key order.
    pub fn on_node(&self, node: &str) -> impl Iterator<Item = (&Key, &Arc<Item>)> {
        self.by_node.get(node).into_iter().flatten()
    }

    /// Follows `topic`: events after `revision`, which is not before [`Ring::oldest`].
    pub fn subscribe(&mut self, topic: &Topic, revision: u64) -> (Place, Arc<Signal>) {
        let first_after = self.events.partition_point(|event| event.revision <= revision);
        let next = self.events.get(first_after).map_or(self.next_seq, |event| event.seq);
        let events = &self.events;
        let positions = self.topics.entry(topic.clone()).or_insert_with(|| Positions::gather(topic, events));
        positions.watchers += 1;
        (Place { epoch: self.epoch, next }, Arc::clone(&positions.signal))
    }

    pub fn unsubscribe(&mut self, topic: &Topic) {
        if let Some(positions) = self.topics.get_mut(topic) {
            positions.watchers -= 1;
            if positions.watchers == 0 {
                self.topics.remove(topic);
            }
        }
    }

    /// Hands the topic's events from `place` on to `take` until it says enough (false); returns whether all were taken.
    pub fn drain(&self, topic: &Topic, place: &mut Place, mut take: impl FnMut(&Arc<Event>) -> bool) -> Result<bool, Lagged> {
        let positions = self.topics.get(topic).expect("a topic lives as long as its watchers");
        if place.epoch != self.epoch || positions.lost.is_some_and(|lost| lost >= place.next) {
            return Err(Lagged { oldest: self.oldest });
        }
        let first = self.first_seq();
        let from = positions.seqs.partition_point(|seq| *seq < place.next);
        for seq in positions.seqs.range(from..) {
            let event = &self.events[usize::try_from(seq - first).expect("positions lie within the ring")];
            place.next = seq + 1;
            if !take(event) {
                return Ok(false);
            }
        }
        place.next = self.next_seq;
        Ok(true)
    }
}

impl Positions {
    fn gather(topic: &Topic, events: &VecDeque<Arc<Event>>) -> Self {
        let seqs: VecDeque<u64> = events.iter().filter(|event| event.is_in(topic)).map(|event| event.seq).collect();
        let signal = Arc::new(Signal::default());
        signal.extend(seqs.back().map_or(0, |seq| seq + 1));
        Self { seqs, lost: None, watchers: 0, signal }
    }

    fn forget(&mut self, seq: u64) {
        if self.seqs.front() == Some(&seq) {
            self.lost = self.seqs.pop_front();
        }
    }
}

/// The topics that `event` belongs to.
fn topics_of(event: &Event) -> impl Iterator<Item = Topic> + use<> {
    let states = || event.previous.iter().chain(&event.current);
    let namespace = states().next().map(|item| Box::<str>::from(item.object.meta.namespace.as_str())).filter(|name| !name.is_empty());
    let before = event.previous.as_ref().map(|item| item.node.clone()).filter(|node| !node.is_empty());
    let after = event.current.as_ref().map(|item| item.node.clone()).filter(|node| !node.is_empty() && Some(node) != before.as_ref());
    [Topic::All, Topic::Object((*event.key).into())]
        .into_iter()
        .chain(namespace.map(Topic::Namespace))
        .chain(before.into_iter().chain(after).map(Topic::Node))
}
