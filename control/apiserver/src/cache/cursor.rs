//! One watcher's way through a kind's events.
//!
//! ```text
//! subscribed ─► initial state (ADDED …) ─► end-of-initial-events bookmark ─► backlog from the store ─► ring, as it grows
//!                                                                                     │ bookmarks, when asked for
//!      410: fell off the ring, the revision is gone  ◄────────────────────────────────┴─► end: time-out, shutdown
//! ```
//! A cursor holds a place in the shared ring and nothing of its own but what is not in the ring (the initial state and
//! history from before it). Dropping it ends the subscription.
//!
//! What a thousand watchers do for each event is kept short: the bell rings, a look at the topic's head, a frame that another
//! one has made ([`Cursor::next_frame`]). The timer stays registered from one wait to the next, and the end of the process
//! is a flag, because each of them would be a lock that all watchers want at once.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::{Object, WatchKind};
use env::Env;
use kinds::KindRef;
use schema::Status;
use tokio::time::{Instant, Sleep};

use super::event::Event;
use super::item::Item;
use super::ring::{Place, Topic};
use super::signal::{Form, Frame, Signal};
use super::{Cache, KindCache};
use crate::select::Selector;
use crate::{convert, document};

/// Deliveries handed out at once: enough to fill an h2 frame, few enough to let others run.
const BATCH_MAX: usize = 64;
const BATCH_BYTES_MAX: usize = 16 << 10;
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// The last bookmark comes this long before the time-out.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);

/// What a watcher is told next.
pub enum Step {
    /// At least one.
    Events(Vec<Delivery>),
    Bookmark {
        revision: u64,
        /// The initial state is complete.
        initial_events_end: bool,
    },
    /// The time is up, or the server stops.
    End,
}

/// What a watcher that shares its form is told next.
pub enum Told {
    /// Some events in that form.
    Frame(Bytes),
    /// Something that is this watcher's own.
    Step(Step),
}

/// One event for one watcher.
#[derive(Clone)]
pub struct Delivery {
    pub kind: WatchKind,
    source: Source,
    /// What a webhook made of the object that it carries.
    made: Option<Arc<Item>>,
}

#[derive(Clone)]
enum Source {
    Event(Arc<Event>),
    /// Of the initial state.
    State(Arc<Item>),
}

/// How a cursor begins.
pub(crate) struct Start {
    pub kind: KindRef,
    pub topic: Topic,
    pub selector: Selector,
    /// Where a webhook converts objects: what they must match after that.
    pub converted: Option<Selector>,
    /// The state to tell as ADDED before anything else.
    pub initial: Vec<Arc<Item>>,
    /// Tell the end of the initial state.
    pub mark_initial_end: bool,
    /// Only events after this revision.
    pub after: u64,
    pub bookmarks: bool,
    pub timeout: Duration,
}

pub struct Cursor {
    cache: Arc<Cache>,
    kind_cache: Arc<KindCache>,
    kind: KindRef,
    topic: Topic,
    selector: Selector,
    converted: Option<Selector>,
    /// Taken and not yet converted.
    pending: Vec<Delivery>,
    place: Place,
    signal: Arc<Signal>,
    initial: std::vec::IntoIter<Arc<Item>>,
    mark_initial_end: bool,
    backlog: VecDeque<Arc<Event>>,
    after: u64,
    /// The newest revision that the watcher knows of.
    told: u64,
    bookmarks: bool,
    deadline: Instant,
    next_bookmark: Instant,
    /// Made at the first wait.
    timer: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

impl Cursor {
    /// `place` and `signal` come from the subscription to `start.topic`, which the cursor ends when it is dropped.
    pub(crate) fn new(cache: Arc<Cache>, kind_cache: Arc<KindCache>, start: Start, place: Place, signal: Arc<Signal>) -> Self {
        let now = cache.env.instant();
        let deadline = now + start.timeout;
        Self {
            cache,
            kind_cache,
            kind: start.kind,
            topic: start.topic,
            selector: start.selector,
            converted: start.converted,
            pending: Vec::new(),
            place,
            signal,
            initial: start.initial.into_iter(),
            mark_initial_end: start.mark_initial_end,
            backlog: VecDeque::new(),
            after: start.after,
            told: start.after,
            bookmarks: start.bookmarks,
            deadline,
            next_bookmark: next_bookmark(now, deadline),
            timer: None,
            ended: false,
        }
    }

    /// Tells `backlog`, which is older than the ring, first.
    #[must_use]
    pub(crate) fn with_backlog(mut self, backlog: VecDeque<Arc<Event>>) -> Self {
        self.backlog = backlog;
        self
    }

    /// The kind as it is served to this watcher.
    pub fn kind(&self) -> &KindRef {
        &self.kind
    }

    /// Waits for the next thing to tell. Cancel-safe. After [`Step::End`] or an error (410) there is nothing more.
    pub async fn next(&mut self) -> Result<Step, Status> {
        if self.converted.is_none() {
            return self.step().await;
        }
        loop {
            if self.pending.is_empty() {
                match self.step().await? {
                    Step::Events(events) => self.pending = events,
                    other => return Ok(other),
                }
            }
            let converted = self.convert_pending().await.inspect_err(|_| self.ended = true)?;
            self.pending.clear();
            if !converted.is_empty() {
                return Ok(Step::Events(converted));
            }
        }
    }

    /// Whether objects are converted by a webhook on their way: such a cursor shares no frames.
    pub fn converts(&self) -> bool {
        self.converted.is_some()
    }

    /// The pending events as the converted objects make them. They stay pending until that is done.
    async fn convert_pending(&self) -> Result<Vec<Delivery>, Status> {
        let states: Vec<Arc<Item>> = self.pending.iter().flat_map(|delivery| delivery.states()).flatten().collect();
        let mut made = convert::items(&self.cache, &self.kind, states).await?.into_iter();
        let selector = self.converted.as_ref().unwrap_or(&self.selector);
        let converted = self.pending.iter().map(|delivery| {
            let [before, after] = delivery.states().map(|state| state.and_then(|_| made.next()));
            delivery.as_converted(selector, before, after)
        });
        Ok(converted.collect::<Vec<_>>().into_iter().flatten().collect())
    }

    async fn step(&mut self) -> Result<Step, Status> {
        if let Some(step) = self.initial_step() {
            return Ok(step);
        }
        match self.there_or_due(Self::events).await? {
            There(events) => Ok(Step::Events(events)),
            Due(step) => Ok(step),
        }
    }

    /// As [`Cursor::next`], with the events as `form`: made by `join`, unless another watcher had the same to tell just now.
    pub async fn next_frame(&mut self, form: &Form, join: impl Fn(&[Delivery]) -> Result<Bytes, Status>) -> Result<Told, Status> {
        if let Some(step) = self.initial_step() {
            return Ok(Told::Step(step));
        }
        match self.there_or_due(|cursor| cursor.frame(form, &join)).await? {
            There(bytes) => Ok(Told::Frame(bytes)),
            Due(step) => Ok(Told::Step(step)),
        }
    }

    async fn there_or_due<T>(&mut self, mut look: impl FnMut(&mut Self) -> Result<Option<T>, Status>) -> Result<Next<T>, Status> {
        loop {
            if self.ended {
                return Ok(Due(Step::End));
            }
            let signal = Arc::clone(&self.signal);
            let mut woken = std::pin::pin!(signal.bell().notified());
            woken.as_mut().enable(); // before looking, so that nothing falls between
            let applied = self.cache.applied();
            if (!self.backlog.is_empty() || signal.reaches_beyond(self.place))
                && let Some(found) = look(self)?
            {
                return Ok(There(found));
            }
            if let Some(step) = self.due(applied) {
                return Ok(Due(step));
            }
            self.sleep(woken).await;
        }
    }

    /// The initial state, then its end.
    fn initial_step(&mut self) -> Option<Step> {
        let state: Vec<Delivery> = self.initial.by_ref().take(BATCH_MAX).map(|item| Delivery::state(&item)).collect();
        if !state.is_empty() {
            return Some(Step::Events(state));
        }
        let mark = std::mem::take(&mut self.mark_initial_end);
        mark.then_some(Step::Bookmark { revision: self.after, initial_events_end: true })
    }

    fn events(&mut self) -> Result<Option<Vec<Delivery>>, Status> {
        let events = self.drain()?.deliveries;
        Ok((!events.is_empty()).then_some(events))
    }

    /// What has happened since the last look, as one piece: another watcher's, or made here and left for others.
    fn frame(&mut self, form: &Form, join: impl Fn(&[Delivery]) -> Result<Bytes, Status>) -> Result<Option<Bytes>, Status> {
        if let Some(frame) = self.others_frame(form) {
            (self.place, self.told) = (frame.to, self.told.max(frame.last));
            return Ok(Some(frame.bytes));
        }
        let (from, is_shared) = (self.place, self.shares());
        let drained = self.drain()?;
        if drained.deliveries.is_empty() {
            return Ok(None);
        }
        let bytes = join(&drained.deliveries)?;
        if is_shared && let Some(first) = drained.first_of_all {
            let (form, to, bytes) = (form.clone(), self.place, bytes.clone());
            self.signal.keep(Frame { form, from, to, first, last: self.told, bytes });
        }
        Ok(Some(bytes))
    }

    fn others_frame(&self, form: &Form) -> Option<Frame> {
        let frame = self.shares().then(|| self.signal.find(form, self.place)).flatten()?;
        (frame.first > self.after).then_some(frame)
    }

    /// Whether this watcher is told what everybody in its topic is told, and is not alone there.
    fn shares(&self) -> bool {
        const ONE_WATCHER: usize = 2; // its own reference and the ring's
        self.selector.is_everything() && self.backlog.is_empty() && Arc::strong_count(&self.signal) > ONE_WATCHER
    }

    /// What has happened since the last look, as far as it concerns this watcher.
    fn drain(&mut self) -> Result<Drained, Status> {
        let mut batch = Batch {
            selector: &self.selector,
            after: self.after,
            told: self.told,
            bytes: 0,
            first: None,
            left_out: false,
            deliveries: Vec::new(),
        };
        while let Some(event) = self.backlog.pop_front() {
            if !batch.take(&event) {
                break;
            }
        }
        if self.backlog.is_empty() && batch.has_room() {
            let drained = self.kind_cache.read().drain(&self.topic, &mut self.place, |event| batch.take(event));
            drained.map_err(|lagged| {
                self.ended = true;
                too_old(self.after.max(batch.told), lagged.oldest)
            })?;
        }
        self.told = batch.told;
        Ok(Drained { first_of_all: batch.first.filter(|_| !batch.left_out), deliveries: batch.deliveries })
    }

    /// A bookmark or the end, when its time has come. Nothing is left to drain; `applied` was read before draining.
    fn due(&mut self, applied: u64) -> Option<Step> {
        let now = self.cache.env.instant();
        let stopping = self.cache.is_stopping();
        self.ended = stopping || now >= self.deadline;
        let bookmark_due = stopping || (!self.ended && now >= self.next_bookmark);
        if bookmark_due {
            self.next_bookmark = next_bookmark(now, self.deadline);
            if self.bookmarks && applied > self.told {
                self.told = applied;
                return Some(Step::Bookmark { revision: applied, initial_events_end: false });
            }
        }
        self.ended.then_some(Step::End)
    }

    async fn sleep(&mut self, woken: impl Future<Output = ()>) {
        let until = if self.bookmarks { self.deadline.min(self.next_bookmark) } else { self.deadline };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        tokio::select! {
            () = woken => {}
            () = timer => {}
        }
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.kind_cache.write().unsubscribe(&self.topic);
    }
}

use Next::{Due, There};

/// What a wait ends with.
enum Next<T> {
    There(T),
    Due(Step),
}

/// Events out of the backlog and the ring.
struct Drained {
    /// Revision of the first one, when this is everything that the topic had.
    first_of_all: Option<u64>,
    deliveries: Vec<Delivery>,
}

/// Collects what one step tells.
struct Batch<'a> {
    selector: &'a Selector,
    after: u64,
    told: u64,
    bytes: usize,
    first: Option<u64>,
    /// An event was not for this watcher.
    left_out: bool,
    deliveries: Vec<Delivery>,
}

impl Batch<'_> {
    /// Returns whether there is room for more.
    fn take(&mut self, event: &Arc<Event>) -> bool {
        if event.revision <= self.after {
            self.left_out = true;
            return true;
        }
        self.told = self.told.max(event.revision);
        self.first.get_or_insert(event.revision);
        match event.seen_by(self.selector) {
            Some(kind) => {
                self.bytes += event.weight();
                self.deliveries.push(Delivery { kind, source: Source::Event(Arc::clone(event)), made: None });
            }
            None => self.left_out = true,
        }
        self.has_room()
    }

    fn has_room(&self) -> bool {
        self.deliveries.len() < BATCH_MAX && self.bytes < BATCH_BYTES_MAX
    }
}

impl Delivery {
    fn state(item: &Arc<Item>) -> Self {
        Self { kind: WatchKind::Added, source: Source::State(Arc::clone(item)), made: None }
    }

    /// What was there before and what is there now.
    fn states(&self) -> [Option<Arc<Item>>; 2] {
        match &self.source {
            Source::Event(event) => [event.previous.clone(), event.current.clone()],
            Source::State(item) => [None, Some(Arc::clone(item))],
        }
    }

    /// The same of converted states; None where they do not concern a watcher with `selector`.
    fn as_converted(&self, selector: &Selector, before: Option<Arc<Item>>, after: Option<Arc<Item>>) -> Option<Self> {
        let matches = |item: &Option<Arc<Item>>| item.as_ref().is_some_and(|item| selector.matches(item));
        let (kind, made) = match (matches(&before), matches(&after)) {
            (false, true) => (WatchKind::Added, after?),
            (true, true) => (WatchKind::Modified, after?),
            (true, false) => (WatchKind::Deleted, before?),
            (false, false) => return None,
        };
        Some(Self { kind, source: self.source.clone(), made: Some(made) })
    }

    /// The object as `kind` serves it. Canonical JSON in `raw`; for DELETED the last state at the revision of the delete.
    pub fn object(&self, kind: &KindRef) -> Result<Arc<Object>, Status> {
        match (&self.source, &self.made) {
            (Source::Event(event), Some(made)) if self.kind == WatchKind::Deleted => {
                Object::parse(document::restamp(&made.object.raw, event.revision))
            }
            (_, Some(made)) => Ok(Arc::clone(&made.object)),
            (Source::Event(event), None) => convert::served(kind, event.object(self.kind)),
            (Source::State(item), None) => convert::served(kind, Arc::clone(&item.object)),
        }
    }

    /// Bytes of one form (a JSON line, a protobuf frame), made once for all watchers that want the same.
    pub fn form(&self, form: &Form, make: impl FnOnce() -> Result<Bytes, Status>) -> Result<Bytes, Status> {
        match &self.source {
            Source::Event(event) => event.form(form, self.kind, make),
            Source::State(_) => make(),
        }
    }
}

/// 410 to a watcher whose revision is gone.
pub(crate) fn too_old(asked: u64, oldest: u64) -> Status {
    Status::expired(format!("too old resource version: {asked} ({oldest})"))
}

fn next_bookmark(now: Instant, deadline: Instant) -> Instant {
    let regular = now + BOOKMARK_EVERY;
    let last = deadline.checked_sub(BOOKMARK_BEFORE_END).unwrap_or(now);
    if last > now && regular > last { last } else { regular }
}

impl Cursor {
    /// The environment that its timers follow.
    pub fn env(&self) -> &Env {
        &self.cache.env
    }
}
