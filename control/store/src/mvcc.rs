//! The map with history that all backends share: pure, no I/O, no clock of its own.
//!
//! Each key has a [`Chain`] of versions, newest first to reach; each commit has one slot in a ring, from which watchers
//! resume. Both reach back to the same revision, [`Mvcc::oldest`], and forget together ([`Mvcc::compact`]).
//!
//! Changes are made in two steps, so that nothing is visible before it is durable: a [`Stage`] checks guards against the
//! map and what is staged before, and yields [`Staged`] commits; [`Mvcc::apply`] makes them visible.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use crate::contract::{Entry, Event, EventKind, Guard, Key, Op, Range, Revision, StoreError, Txn};

/// Wall seconds; `NEVER` for keys that stay.
pub(crate) type Deadline = i64;
pub(crate) const NEVER: Deadline = i64::MAX;

/// What a slot of the ring costs beside keys and values: events, chain versions, allocator.
const EVENT_OVERHEAD_BYTES: usize = 256;

/// One value of a key, or its tombstone.
#[derive(Clone, Debug)]
struct Version {
    modified: Revision,
    created: Revision,
    /// None: deleted at `modified`.
    value: Option<Bytes>,
}

/// A key's versions. Only the newest can expire.
#[derive(Debug)]
struct Chain {
    newest: Version,
    expires: Deadline,
    /// Ascending; empty for keys that history has left behind.
    older: Vec<Version>,
}

impl Chain {
    /// What the key was at `at`; None also for tombstones.
    fn at(&self, at: Revision) -> Option<&Version> {
        let version = if self.newest.modified <= at {
            &self.newest
        } else {
            let later = self.older.partition_point(|version| version.modified <= at);
            self.older.get(later.checked_sub(1)?)?
        };
        version.value.is_some().then_some(version)
    }

    /// Forgets what no reader at `oldest` or later can see; true if nothing is left.
    fn trim(&mut self, oldest: Revision) -> bool {
        if self.newest.modified <= oldest {
            self.older = Vec::new();
            return self.newest.value.is_none();
        }
        let visible = self.older.partition_point(|version| version.modified <= oldest);
        let keeps_first = visible.checked_sub(1).is_none_or(|last| self.older[last].value.is_none());
        self.older.drain(..if keeps_first { visible } else { visible - 1 });
        false
    }
}

/// One commit in the ring.
#[derive(Debug)]
struct Slot {
    /// At least one.
    events: Arc<[Event]>,
    at: Instant,
    bytes: usize,
}

impl Slot {
    fn revision(&self) -> Revision {
        self.events[0].revision
    }
}

/// A commit that is checked and numbered but not visible yet.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) revision: Revision,
    pub(crate) events: Arc<[Event]>,
    /// The values written, in the order of the puts.
    pub(crate) values: Vec<Bytes>,
    /// Parallel to `events`.
    pub(crate) deadlines: Vec<Deadline>,
    pub(crate) at: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct Mvcc {
    keys: BTreeMap<Key, Chain>,
    /// In commit order. A store that others write to has gaps here, where they wrote what is not ours.
    ring: VecDeque<Slot>,
    ring_bytes: usize,
    oldest: Revision,
    revision: Revision,
    expiring: BTreeSet<(Deadline, Key)>,
}

impl Mvcc {
    /// An empty store, or the start of a restore: nothing before `revision` is known.
    pub(crate) fn starting_at(revision: Revision) -> Self {
        Self { oldest: revision, revision, ..Self::default() }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn oldest(&self) -> Revision {
        self.oldest
    }

    pub(crate) fn get(&self, key: &str) -> Option<Entry> {
        let (key, chain) = self.keys.get_key_value(key)?;
        entry(key, &chain.newest)
    }

    /// See [`crate::Store::range`].
    pub(crate) fn range(&self, start: &str, end: &str, at: Option<Revision>, limit: usize) -> Result<Range, StoreError> {
        let at = at.unwrap_or(self.revision);
        self.check_kept(at)?;
        if start >= end {
            return Ok(Range { entries: Vec::new(), revision: at, remaining: 0 });
        }
        let bounds = (Bound::Included(start), Bound::Excluded(end));
        let mut live = self.keys.range::<str, _>(bounds).filter_map(|(key, chain)| Some((key, chain.at(at)?)));
        let wanted = if limit == 0 { usize::MAX } else { limit };
        let entries = live.by_ref().take(wanted).filter_map(|(key, version)| entry(key, version)).collect();
        Ok(Range { entries, revision: at, remaining: live.count() as u64 })
    }

    /// The commits after `from`, at most `limit`; the error says that `from` is compacted or not there yet.
    pub(crate) fn commits_after(&self, from: Revision, limit: usize) -> Result<impl Iterator<Item = &Arc<[Event]>>, StoreError> {
        self.check_kept(from)?;
        let skipped = self.ring.partition_point(|slot| slot.revision() <= from);
        Ok(self.ring.range(skipped..).take(limit).map(|slot| &slot.events))
    }

    fn check_kept(&self, asked: Revision) -> Result<(), StoreError> {
        if asked < self.oldest {
            return Err(StoreError::Compacted { asked, oldest: self.oldest });
        }
        if asked > self.revision {
            return Err(StoreError::Future { asked, current: self.revision });
        }
        Ok(())
    }

    /// Makes a commit visible. Commits are applied in the order of their revisions.
    pub(crate) fn apply(&mut self, staged: &Staged) {
        assert!(staged.revision > self.revision, "commits are applied in order");
        let mut bytes = 0;
        for (event, &deadline) in staged.events.iter().zip(&staged.deadlines) {
            bytes += EVENT_OVERHEAD_BYTES + event.key.len() + event.value.len();
            self.put_version(event, deadline);
        }
        let at = self.ring.back().map_or(staged.at, |last| last.at.max(staged.at));
        self.ring.push_back(Slot { events: staged.events.clone(), at, bytes });
        self.ring_bytes += bytes;
        self.revision = staged.revision;
    }

    fn put_version(&mut self, event: &Event, expires: Deadline) {
        let value = (event.kind != EventKind::Delete).then(|| event.value.clone());
        let newest = Version { modified: event.revision, created: event.created, value };
        if let Some(chain) = self.keys.get_mut(&event.key) {
            let before = std::mem::replace(&mut chain.expires, expires);
            chain.older.push(std::mem::replace(&mut chain.newest, newest));
            if before != NEVER {
                self.expiring.remove(&(before, event.key.clone()));
            }
        } else {
            self.keys.insert(event.key.clone(), Chain { newest, expires, older: Vec::new() });
        }
        if expires != NEVER {
            self.expiring.insert((expires, event.key.clone()));
        }
    }

    /// Puts back one entry of a snapshot; only before the first commit.
    pub(crate) fn restore(&mut self, entry: Entry, expires: Deadline) {
        let Entry { key, value, created, modified } = entry;
        if expires != NEVER {
            self.expiring.insert((expires, key.clone()));
        }
        let newest = Version { modified, created, value: Some(value) };
        self.keys.insert(key, Chain { newest, expires, older: Vec::new() });
    }

    /// From now on nothing before `to` is served. The memory goes with [`Mvcc::trim`].
    pub(crate) fn compact(&mut self, to: Revision) -> Result<(), StoreError> {
        if to > self.revision {
            return Err(StoreError::Future { asked: to, current: self.revision });
        }
        self.oldest = self.oldest.max(to);
        Ok(())
    }

    /// Frees up to `limit` commits of what [`Mvcc::compact`] gave up; false when there is nothing left to free.
    pub(crate) fn trim(&mut self, limit: usize) -> bool {
        for _ in 0..limit {
            if self.ring.front().is_none_or(|slot| slot.revision() > self.oldest) {
                self.ring.shrink_to(2 * self.ring.len()); // a burst's ring is not kept for the quiet after it
                return false;
            }
            let slot = self.ring.pop_front().expect("it was just looked at");
            self.ring_bytes -= slot.bytes;
            for event in slot.events.iter() {
                self.trim_key(&event.key);
            }
        }
        true
    }

    fn trim_key(&mut self, key: &Key) {
        let Some(chain) = self.keys.get_mut(key) else { return };
        if chain.trim(self.oldest) {
            self.keys.remove(key);
        }
    }

    /// When the oldest commit in the ring was made.
    pub(crate) fn history_since(&self) -> Option<Instant> {
        self.ring.front().map(|slot| slot.at)
    }

    /// Roughly what history holds in memory.
    pub(crate) fn history_bytes(&self) -> usize {
        self.ring_bytes
    }

    /// Up to where history must go so that nothing made at `before` or earlier is kept, and at most `bytes` of it.
    pub(crate) fn compaction_target(&self, before: Option<Instant>, bytes: usize) -> Revision {
        let mut excess = self.ring_bytes.saturating_sub(bytes);
        let mut target = self.oldest;
        for slot in &self.ring {
            if excess == 0 && before.is_none_or(|before| slot.at > before) {
                break;
            }
            excess = excess.saturating_sub(slot.bytes);
            target = target.max(slot.revision());
        }
        target
    }

    /// The next deadline of any key.
    pub(crate) fn next_deadline(&self) -> Option<Deadline> {
        self.expiring.first().map(|(deadline, _)| *deadline)
    }

    /// Keys due at `now` with the revision at which they may be deleted, at most `limit`.
    pub(crate) fn expired(&self, now: Deadline, limit: usize) -> Vec<(Key, Revision)> {
        let due = self.expiring.iter().take_while(|(deadline, _)| *deadline <= now).take(limit);
        due.filter_map(|(_, key)| Some((key.clone(), self.keys.get(key)?.newest.modified))).collect()
    }

    /// Live entries after `after` at `at` with their deadlines, at most `limit`: the pages of a snapshot.
    pub(crate) fn page(&self, after: Option<&Key>, at: Revision, limit: usize) -> Vec<(Entry, Deadline)> {
        let start = after.map_or(Bound::Unbounded, |key| Bound::Excluded(key.clone()));
        let live = self.keys.range((start, Bound::Unbounded)).filter_map(|(key, chain)| {
            let version = chain.at(at)?;
            let expires = if version.modified == chain.newest.modified { chain.expires } else { NEVER };
            Some((entry(key, version)?, expires))
        });
        live.take(limit).collect()
    }

    /// Whether the newest entries are the same ones.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        fn live(mvcc: &Mvcc) -> impl Iterator<Item = (&Key, Revision)> {
            let live = mvcc.keys.iter().filter(|(_, chain)| chain.newest.value.is_some());
            live.map(|(key, chain)| (key, chain.newest.modified))
        }
        live(self).eq(live(other))
    }

    fn newest(&self, key: &str) -> Option<Live> {
        let version = &self.keys.get(key)?.newest;
        let value = version.value.clone()?;
        Some(Live { created: version.created, modified: version.modified, value })
    }
}

fn entry(key: &Key, version: &Version) -> Option<Entry> {
    let value = version.value.clone()?;
    Some(Entry { key: key.clone(), value, created: version.created, modified: version.modified })
}

/// A key's value as the next transaction sees it.
#[derive(Clone, Debug)]
struct Live {
    created: Revision,
    modified: Revision,
    value: Bytes,
}

/// What a transaction is checked against.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) mvcc: &'a Mvcc,
    /// Staged before and perhaps not applied yet: what it writes hides what the map has.
    pub(crate) above: Option<&'a Stage>,
}

impl Ground<'_> {
    fn newest(&self, key: &str) -> Option<Live> {
        match self.above.and_then(|stage| stage.staged.get(key)) {
            Some(staged) => staged.clone(),
            None => self.mvcc.newest(key),
        }
    }

    fn modified(&self, key: &str) -> Option<Revision> {
        if let Some(staged) = self.above.and_then(|stage| stage.staged.get(key)) {
            return staged.as_ref().map(|live| live.modified);
        }
        let newest = &self.mvcc.keys.get(key)?.newest;
        newest.value.is_some().then_some(newest.modified)
    }
}

/// Transactions checked in order, each seeing those before it, none visible yet.
pub(crate) struct Stage {
    revision: Revision,
    /// None: deleted.
    staged: HashMap<Key, Option<Live>>,
}

impl Stage {
    /// An empty one whose first commit follows `revision`.
    pub(crate) fn after(revision: Revision) -> Self {
        Self { revision, staged: HashMap::new() }
    }

    /// The revision that the last staged commit will have.
    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    /// Checks the guards and numbers the commit; None when the transaction writes nothing (only guards, or deletes of
    /// keys that do not exist). `now` is wall seconds.
    pub(crate) fn push(&mut self, ground: Ground<'_>, txn: Txn, now: Deadline, at: Instant) -> Result<Option<Staged>, StoreError> {
        for guard in &txn.guards {
            self.check(ground, guard)?;
        }
        let revision = Revision(self.revision.0 + 1);
        let mut events = Vec::with_capacity(txn.ops.len());
        let mut deadlines = Vec::with_capacity(txn.ops.len());
        let mut values = Vec::with_capacity(txn.ops.len());
        for op in txn.ops {
            match op {
                Op::Put { key, value, rv_at, ttl_seconds } => {
                    let value = fill_hole(value, rv_at, revision);
                    values.push(value.clone());
                    events.push(self.put(ground, key, value, revision));
                    deadlines.push(ttl_seconds.map_or(NEVER, |ttl| now.saturating_add(i64::from(ttl))));
                }
                Op::Delete { key } => {
                    let Some(event) = self.delete(ground, key, revision) else { continue };
                    events.push(event);
                    deadlines.push(NEVER);
                }
            }
        }
        if events.is_empty() {
            return Ok(None);
        }
        self.revision = revision;
        Ok(Some(Staged { revision, events: events.into(), values, deadlines, at }))
    }

    fn check(&self, ground: Ground<'_>, guard: &Guard) -> Result<(), StoreError> {
        let (Guard::Absent(key) | Guard::At(key, _) | Guard::Present(key)) = guard;
        let current = match self.staged.get(key) {
            Some(staged) => staged.as_ref().map(|live| live.modified),
            None => ground.modified(key),
        };
        let holds = match guard {
            Guard::Absent(_) => current.is_none(),
            Guard::At(_, revision) => current == Some(*revision),
            Guard::Present(_) => current.is_some(),
        };
        if holds { Ok(()) } else { Err(StoreError::Conflict { key: key.clone(), current }) }
    }

    fn put(&mut self, ground: Ground<'_>, key: Key, value: Bytes, revision: Revision) -> Event {
        let before = self.live(ground, &key);
        let created = before.as_ref().map_or(revision, |live| live.created);
        let kind = if before.is_some() { EventKind::Update } else { EventKind::Create };
        self.staged.insert(key.clone(), Some(Live { created, modified: revision, value: value.clone() }));
        Event {
            kind,
            key,
            revision,
            value,
            previous_at: before.as_ref().map(|live| live.modified),
            previous: before.map(|live| live.value),
            created,
        }
    }

    fn delete(&mut self, ground: Ground<'_>, key: Key, revision: Revision) -> Option<Event> {
        let before = self.live(ground, &key)?;
        self.staged.insert(key.clone(), None);
        let (value, previous, previous_at) = (Bytes::new(), Some(before.value), Some(before.modified));
        Some(Event { kind: EventKind::Delete, key, revision, value, previous, previous_at, created: before.created })
    }

    fn live(&self, ground: Ground<'_>, key: &Key) -> Option<Live> {
        match self.staged.get(key) {
            Some(staged) => staged.clone(),
            None => ground.newest(key),
        }
    }
}

/// The document with its resourceVersion put where the hole is.
pub fn fill_hole(value: Bytes, rv_at: Option<u32>, revision: Revision) -> Bytes {
    let Some(at) = rv_at else { return value };
    let (before, after) = value.split_at(at as usize);
    let mut digits = [0u8; 20];
    let number = decimal(revision.0, &mut digits);
    let mut filled = BytesMut::with_capacity(value.len() + number.len());
    filled.extend_from_slice(before);
    filled.extend_from_slice(number);
    filled.extend_from_slice(after);
    filled.freeze()
}

/// `number` in decimal, at the end of `digits`.
fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[first..];
        }
    }
}

/// Panics when a transaction breaks its own contract: that is the caller's bug and must not reach the writer.
pub(crate) fn assert_well_formed(txn: &Txn) {
    let mut keys: Vec<&str> = txn.ops.iter().map(|op| &**op_key(op)).collect();
    keys.sort_unstable();
    assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "a key occurs at most once in a transaction");
    for op in &txn.ops {
        if let Op::Put { key, value, rv_at: Some(at), .. } = op {
            assert!(*at as usize <= value.len(), "the hole of {key} lies inside its value");
        }
    }
}

fn op_key(op: &Op) -> &Key {
    let (Op::Put { key, .. } | Op::Delete { key }) = op;
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hole_is_filled_in_decimal() {
        let table: [(&str, u32, u64, &str); 3] =
            [("\"\"", 1, 7, "\"7\""), ("ab", 2, 1_234_567_890, "ab1234567890"), ("", 0, u64::MAX, "18446744073709551615")];
        for (value, at, revision, want) in table {
            assert_eq!(fill_hole(Bytes::from(value), Some(at), Revision(revision)), want);
        }
    }

    #[test]
    fn a_chain_forgets_what_no_reader_can_see() {
        let version =
            |revision: u64, live: bool| Version { modified: Revision(revision), created: Revision(1), value: live.then(Bytes::new) };
        let chain =
            || Chain { newest: version(9, true), expires: NEVER, older: vec![version(1, true), version(4, true), version(6, false)] };
        let kept = |oldest: u64| {
            let mut chain = chain();
            assert!(!chain.trim(Revision(oldest)));
            chain.older.iter().map(|version| version.modified.0).collect::<Vec<_>>()
        };
        assert_eq!(kept(3), [1, 4, 6]);
        assert_eq!(kept(5), [4, 6]);
        assert_eq!(kept(6), [] as [u64; 0], "a tombstone that nothing precedes says nothing");
        assert_eq!(kept(9), [] as [u64; 0]);
    }

    #[test]
    fn a_tombstone_goes_once_it_is_the_oldest() {
        let mut chain =
            Chain { newest: Version { modified: Revision(5), created: Revision(1), value: None }, expires: NEVER, older: Vec::new() };
        assert!(!chain.trim(Revision(4)));
        assert!(chain.trim(Revision(5)));
    }
}
