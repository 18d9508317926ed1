//! What the watchers of one topic share beside the ring: the bell, how far the topic reaches, and the newest frames.
//!
//! Watchers that stand at the same place and want the same form are told the same bytes. Whoever comes first makes them;
//! the others take them from here, without the ring's lock, without stepping over events, without a copy.
//!
//! To wake a thousand watchers is work in itself, whether for one event or for ten. So the bell of a topic with many watchers
//! pauses after it rang, for about as long as they take; what happens meanwhile is told together when it rings again.
//! ```text
//! Quiet ──event: ring──► Pausing ──event──► Due ──pause over: ring──► Pausing ──pause over──► Quiet
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use env::Env;
use kinds::KindRef;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::ring::Place;

/// Watchers of a topic stand at few places: where the newest events begin, and a little behind.
const FRAMES_MAX: usize = 4;
/// Larger ones are not kept: with several topics they would add up. Their single events are still shared by the ring.
const FRAME_BYTES_MAX: usize = 64 << 10;

/// What one watcher adds to the pause after a ring.
const PAUSE_PER_WATCHER: Duration = Duration::from_micros(4);
/// Shorter pauses are not worth a timer: below some hundred watchers the bell always rings at once.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(10);

#[derive(Default)]
pub struct Signal {
    bell: Notify,
    pace: Mutex<Pace>,
    /// The position after the topic's newest event; more than any position when every place is void.
    head: AtomicU64,
    frames: Mutex<Vec<Frame>>,
}

#[derive(Default)]
struct Pace {
    /// The pause after the last ring ends here.
    pause_end: Option<Instant>,
    /// The bell will ring then.
    is_due: bool,
}

/// Which bytes a watcher wants.
#[derive(Clone)]
pub struct Form {
    /// The media type and its parameters.
    pub media: &'static str,
    /// As the kind is served.
    pub kind: KindRef,
}

/// All of a topic's events between two places.
#[derive(Clone)]
pub struct Frame {
    pub form: Form,
    pub from: Place,
    pub to: Place,
    /// Revision of the first event in it.
    pub first: u64,
    /// Revision of the last.
    pub last: u64,
    pub bytes: Bytes,
}

impl PartialEq for Form {
    fn eq(&self, other: &Self) -> bool {
        self.media == other.media && Arc::ptr_eq(&self.kind, &other.kind)
    }
}

impl Signal {
    pub fn bell(&self) -> &Notify {
        &self.bell
    }

    /// Wakes every watcher that waits, now.
    pub fn ring(&self) {
        self.bell.notify_waiters();
    }

    /// Wakes every watcher that waits, as soon as the pause is over.
    pub fn ring_paced(self: &Arc<Self>, env: &Env) {
        let pause = pause_for(Arc::strong_count(self));
        if pause < PAUSE_MIN {
            return self.ring();
        }
        let now = env.instant();
        let mut pace = self.pace();
        if pace.is_due {
            return;
        }
        let Some(pause_end) = pace.pause_end.filter(|end| *end > now) else {
            pace.pause_end = Some(now + pause);
            drop(pace);
            return self.ring();
        };
        pace.is_due = true;
        drop(pace);
        let (signal, task_env) = (Arc::clone(self), env.clone());
        env.spawn("watch bell", async move {
            tokio::time::sleep_until(pause_end).await;
            // Before the ring: an event from now on may come too late for it and asks for its own.
            *signal.pace() = Pace { pause_end: Some(task_env.instant() + pause), is_due: false };
            signal.ring();
        });
    }

    fn pace(&self) -> std::sync::MutexGuard<'_, Pace> {
        self.pace.lock().expect("nobody panics while holding the pace")
    }

    /// The topic has an event before `head`. Before the ring, and under the ring's lock.
    pub fn extend(&self, head: u64) {
        self.head.store(head, Ordering::SeqCst);
    }

    /// Every place is void: whoever looks finds out.
    pub fn void(&self) {
        self.head.store(u64::MAX, Ordering::SeqCst);
        self.frames().clear();
    }

    /// Whether there may be something after `place`.
    pub fn reaches_beyond(&self, place: Place) -> bool {
        self.head.load(Ordering::SeqCst) > place.next
    }

    /// What somebody else was told at this place.
    pub fn find(&self, form: &Form, from: Place) -> Option<Frame> {
        self.frames().iter().find(|frame| frame.from == from && frame.form == *form).cloned()
    }

    /// Keeps a frame for those who come to its place next. `form` and the places are what it is found by.
    pub fn keep(&self, frame: Frame) {
        if frame.bytes.len() > FRAME_BYTES_MAX {
            return;
        }
        let mut frames = self.frames();
        // Two may have made the same one at the same time.
        frames.retain(|have| have.from != frame.from || have.form != frame.form);
        if frames.len() == FRAMES_MAX {
            frames.remove(0);
        }
        frames.push(frame);
    }

    fn frames(&self) -> std::sync::MutexGuard<'_, Vec<Frame>> {
        self.frames.lock().expect("nobody panics while holding the frames")
    }
}

fn pause_for(watchers: usize) -> Duration {
    let watchers = u32::try_from(watchers).unwrap_or(u32::MAX);
    PAUSE_PER_WATCHER.saturating_mul(watchers).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the rings that one listener hears.
    fn listen(signal: &Arc<Signal>) -> Arc<AtomicU64> {
        let (signal, heard) = (Arc::clone(signal), Arc::new(AtomicU64::new(0)));
        let count = Arc::clone(&heard);
        Env::real().spawn("listener", async move {
            loop {
                signal.bell().notified().await;
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        heard
    }

    #[tokio::test(start_paused = true)]
    async fn few_watchers_hear_every_ring_and_many_hear_a_burst_once_more() {
        let env = Env::real();
        for (watchers, rings) in [(1, 10), (1000, 2)] {
            let signal = Arc::new(Signal::default());
            let heard = listen(&signal);
            let others: Vec<Arc<Signal>> = (1..watchers).map(|_| Arc::clone(&signal)).collect();
            tokio::task::yield_now().await;
            for _ in 0..10 {
                signal.ring_paced(&env);
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(PAUSE_MAX * 2).await;
            assert_eq!(heard.load(Ordering::SeqCst), rings, "{watchers} watchers");
            signal.ring_paced(&env);
            tokio::task::yield_now().await;
            assert_eq!(heard.load(Ordering::SeqCst), rings + 1, "after the pause the bell rings at once");
            drop(others);
        }
    }

    fn frame(from: u64, size: usize) -> Frame {
        let kind = Arc::clone(kinds::all().first().expect("there are kinds"));
        let place = |next| Place { epoch: 0, next };
        let form = Form { media: "json", kind };
        Frame { form, from: place(from), to: place(from + 1), first: from, last: from, bytes: vec![0; size].into() }
    }

    #[test]
    fn the_newest_frames_are_found_by_place_and_form() {
        let signal = Signal::default();
        let kept: Vec<Frame> = (0..=FRAMES_MAX as u64).map(|from| frame(from, 1)).collect();
        kept.iter().for_each(|frame| signal.keep(frame.clone()));
        let find = |at: &Frame| signal.find(&at.form, at.from).map(|found| found.to);
        assert_eq!(find(&kept[0]), None, "the oldest went");
        assert!(kept[1..].iter().all(|frame| find(frame) == Some(frame.to)));
        assert!(signal.find(&Form { media: "protobuf", ..kept[1].form.clone() }, kept[1].from).is_none());
        signal.keep(frame(9, FRAME_BYTES_MAX + 1));
        assert!(find(&frame(9, 1)).is_none(), "large ones are not kept");
        signal.void();
        assert!(find(&kept[1]).is_none() && signal.reaches_beyond(Place { epoch: 0, next: u64::MAX - 1 }));
    }
}
