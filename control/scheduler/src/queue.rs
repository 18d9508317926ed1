//! Which pod is next: by priority, then by age; what failed waits for an event that may help it, and for its back-off.
//!
//! A node that comes or changes is rare and may help everybody: it ends the back-off of what did not fit. Pods go all the time
//! where a cluster is full: one that goes ends only a first back-off, so that those that wait are not tried all the time.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use kinds::core::Pod;
use tokio::time::Instant;

use crate::metrics::Pending;

const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// A pod in the queue.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub pod: Arc<Pod>,
    /// Tries that found no place or failed.
    pub attempts: u32,
    /// When it was first seen.
    pub since: Instant,
    sequence: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rank {
    priority: i32,
    sequence: u64,
    uid: String,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        other.priority.cmp(&self.priority).then(self.sequence.cmp(&other.sequence)).then(self.uid.cmp(&other.uid))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

enum Place {
    Active(Rank),
    BackOff {
        at: Instant,
        /// It failed by an error; no event helps, only time.
        by_error: bool,
    },
    /// Waits for an event; `for_room`: a pod that goes may help.
    Parked {
        for_room: bool,
        since: Instant,
    },
}

/// Owned by the scheduler's loop; no locks.
#[derive(Default)]
pub struct Queue {
    pods: HashMap<String, (Waiting, Place)>,
    active: BTreeSet<Rank>,
    back_off: BTreeMap<(Instant, String), ()>,
    /// Uids of the parked pods, by whether a pod that goes may help them.
    parked_for_room: HashSet<String>,
    parked_for_nodes: HashSet<String>,
    /// Events since the last look. A thousand pods that go at once are one reason to look at those that wait, not a thousand.
    room_made: bool,
    nodes_changed: bool,
    sequence: u64,
}

impl Queue {
    /// A pod that is new here. A pod that is known gets its newer document; if it was parked it is tried again, since what changed may
    /// be what hindered it.
    pub fn add(&mut self, pod: Arc<Pod>) {
        let uid = pod.metadata.uid.clone();
        match self.pods.get_mut(&uid) {
            Some((waiting, place)) => {
                let changed = waiting.pod.metadata.generation != pod.metadata.generation
                    || waiting.pod.metadata.labels != pod.metadata.labels
                    || waiting.pod.spec != pod.spec;
                waiting.pod = pod;
                if changed && matches!(place, Place::Parked { .. }) {
                    self.retry(&uid, false);
                }
            }
            None => {
                self.sequence += 1;
                let waiting = Waiting { pod, attempts: 0, since: Instant::now(), sequence: self.sequence };
                self.activate(uid, waiting);
            }
        }
    }

    pub fn remove(&mut self, uid: &str) {
        if let Some((_, place)) = self.pods.remove(uid) {
            self.leave(uid, &place);
        }
    }

    /// The next pod; it leaves the queue.
    pub fn pop(&mut self, now: Instant) -> Option<Waiting> {
        self.take_in_events();
        self.wake(now);
        let rank = self.active.pop_first()?;
        let (waiting, _) = self.pods.remove(&rank.uid)?;
        Some(waiting)
    }

    /// When the next back-off ends, if nothing is ready before.
    pub fn next_alarm(&mut self) -> Option<Instant> {
        self.take_in_events();
        self.back_off.first_key_value().map(|((at, _), ())| *at)
    }

    /// Nothing fitted: the pod waits for an event.
    pub fn park(&mut self, mut waiting: Waiting, for_room: bool, now: Instant) {
        waiting.attempts += 1;
        let uid = waiting.pod.metadata.uid.clone();
        self.parked(for_room).insert(uid.clone());
        self.pods.insert(uid, (waiting, Place::Parked { for_room, since: now }));
    }

    /// An error that is nobody's fault (a failed bind): again after the back-off.
    pub fn back_off(&mut self, mut waiting: Waiting, now: Instant) {
        waiting.attempts += 1;
        let at = now + delay(waiting.attempts);
        self.enter_back_off(waiting, at, true);
    }

    /// A node came or changed: every pod that did not fit may fit now.
    pub fn nodes_changed(&mut self) {
        self.nodes_changed = true;
    }

    /// A pod has gone: those that wait for room may fit now.
    pub fn room_made(&mut self) {
        self.room_made = true;
    }

    pub fn len(&self) -> usize {
        self.pods.len()
    }

    pub(crate) fn pending(&self) -> Pending {
        let unschedulable = self.parked_for_room.len() + self.parked_for_nodes.len();
        Pending { active: self.active.len(), back_off: self.back_off.len(), unschedulable }
    }

    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    /// Removes every pod for which `is` does not hold.
    pub fn retain(&mut self, is: impl Fn(&Pod) -> bool) {
        let gone: Vec<String> = self.pods.iter().filter(|(_, (waiting, _))| !is(&waiting.pod)).map(|(uid, _)| uid.clone()).collect();
        gone.iter().for_each(|uid| self.remove(uid));
    }

    fn take_in_events(&mut self) {
        let (room, nodes) = (std::mem::take(&mut self.room_made), std::mem::take(&mut self.nodes_changed));
        if nodes {
            let parked = std::mem::take(&mut self.parked_for_nodes).into_iter().chain(std::mem::take(&mut self.parked_for_room));
            let helped: Vec<String> = parked.chain(self.backing_off_for_room()).collect();
            helped.iter().for_each(|uid| self.retry(uid, true));
        } else if room {
            std::mem::take(&mut self.parked_for_room).iter().for_each(|uid| self.retry(uid, false));
        }
    }

    /// What an event has freed, though not from its back-off.
    fn backing_off_for_room(&self) -> Vec<String> {
        let fits_not = |uid: &&String| matches!(self.pods.get(*uid), Some((_, Place::BackOff { by_error: false, .. })));
        self.back_off.keys().map(|(_, uid)| uid).filter(fits_not).cloned().collect()
    }

    fn parked(&mut self, for_room: bool) -> &mut HashSet<String> {
        if for_room { &mut self.parked_for_room } else { &mut self.parked_for_nodes }
    }

    /// Back into the queue: at once after a first failure, and where `at_once` says so; else when the back-off is over, which counts
    /// from when it was parked.
    fn retry(&mut self, uid: &str, at_once: bool) {
        let Some((waiting, place)) = self.pods.remove(uid) else { return };
        self.leave(uid, &place);
        match place {
            Place::Parked { since, .. } if !at_once && waiting.attempts > 1 => {
                let at = since + delay(waiting.attempts);
                self.enter_back_off(waiting, at, false);
            }
            _ => self.activate(uid.to_owned(), waiting),
        }
    }

    fn enter_back_off(&mut self, waiting: Waiting, at: Instant, by_error: bool) {
        let uid = waiting.pod.metadata.uid.clone();
        self.back_off.insert((at, uid.clone()), ());
        self.pods.insert(uid, (waiting, Place::BackOff { at, by_error }));
    }

    fn wake(&mut self, now: Instant) {
        while let Some(entry) = self.back_off.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((_, uid), ()) = entry.remove_entry();
            if let Some((waiting, _)) = self.pods.remove(&uid) {
                self.activate(uid, waiting);
            }
        }
    }

    fn activate(&mut self, uid: String, waiting: Waiting) {
        let rank = Rank { priority: waiting.pod.spec.priority.unwrap_or_default(), sequence: waiting.sequence, uid: uid.clone() };
        self.active.insert(rank.clone());
        self.pods.insert(uid, (waiting, Place::Active(rank)));
    }

    fn leave(&mut self, uid: &str, place: &Place) {
        match place {
            Place::Active(rank) => {
                self.active.remove(rank);
            }
            Place::BackOff { at, .. } => {
                self.back_off.remove(&(*at, uid.to_owned()));
            }
            Place::Parked { for_room, .. } => {
                self.parked(*for_room).remove(uid);
            }
        }
    }
}

fn delay(attempts: u32) -> Duration {
    BACKOFF_MIN.saturating_mul(1 << attempts.saturating_sub(1).min(4)).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    fn pod(name: &str, priority: i32) -> Arc<Pod> {
        Arc::new(serde_json::from_value(json!({"metadata": {"name": name, "uid": name}, "spec": {"priority": priority}})).unwrap())
    }

    fn names(queue: &mut Queue, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| queue.pop(now)).map(|waiting| waiting.pod.metadata.name.clone()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn higher_priority_then_older_first() {
        let mut queue = Queue::default();
        for (name, priority) in [("a", 0), ("b", 10), ("c", 0), ("d", 10)] {
            queue.add(pod(name, priority));
        }
        assert_eq!(names(&mut queue, Instant::now()), ["b", "d", "a", "c"]);
    }

    /// Pops the next pod and finds no place for it.
    fn fail(queue: &mut Queue, for_room: bool, now: Instant) {
        let waiting = queue.pop(now).expect("somebody is ready");
        queue.park(waiting, for_room, now);
    }

    #[tokio::test(start_paused = true)]
    async fn parked_pods_wait_for_the_event_that_helps() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(pod("room", 0));
        queue.add(pod("node", 0));
        fail(&mut queue, true, now);
        fail(&mut queue, false, now);
        assert!(queue.pop(now + Duration::from_secs(60)).is_none(), "nothing has happened");
        queue.room_made();
        assert_eq!(names(&mut queue, now), ["room"]);
        queue.nodes_changed();
        assert_eq!(names(&mut queue, now), ["node"]);
    }

    #[tokio::test(start_paused = true)]
    async fn room_ends_a_first_back_off_at_once_and_later_ones_in_time() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(pod("a", 0));
        fail(&mut queue, true, now);
        queue.room_made();
        fail(&mut queue, true, now);
        queue.room_made();
        assert_eq!(queue.next_alarm(), Some(now + Duration::from_secs(2)));
        assert!(queue.pop(now).is_none(), "its second back-off is not over");
        assert_eq!(names(&mut queue, now + Duration::from_secs(2)), ["a"]);
    }

    /// The first pod of a cluster is there before the node, then before the node is ready, and waits for neither second.
    #[tokio::test(start_paused = true)]
    async fn a_node_that_comes_or_becomes_ready_ends_every_back_off_but_that_of_errors() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for name in ["parked", "waiting", "failed"] {
            queue.add(pod(name, 0));
        }
        fail(&mut queue, false, now);
        fail(&mut queue, true, now);
        let failed = queue.pop(now).unwrap();
        queue.back_off(failed, now);
        for _ in 0..3 {
            queue.nodes_changed();
            fail(&mut queue, false, now);
            fail(&mut queue, true, now);
        }
        queue.room_made();
        assert!(queue.pop(now).is_none(), "room does not end a later back-off");
        queue.nodes_changed();
        assert_eq!(names(&mut queue, now), ["parked", "waiting"]);
        assert_eq!(names(&mut queue, now + Duration::from_secs(1)), ["failed"]);
        assert!(queue.is_empty() && queue.back_off.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_there_any_more_leaves_every_place() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for name in ["parked", "failed", "active"] {
            queue.add(pod(name, 0));
        }
        let parked = queue.pop(now).unwrap();
        queue.park(parked, false, now);
        let failed = queue.pop(now).unwrap();
        queue.back_off(failed, now);
        queue.retain(|_| false);
        queue.nodes_changed();
        assert!(names(&mut queue, now + Duration::from_secs(60)).is_empty() && queue.is_empty() && queue.parked_for_nodes.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_deleted_pod_is_never_popped() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(pod("a", 0));
        queue.add(pod("b", 0));
        queue.remove("a");
        let waiting = queue.pop(now).unwrap();
        queue.back_off(waiting, now);
        queue.remove("b");
        assert!(names(&mut queue, now + Duration::from_secs(60)).is_empty() && queue.is_empty());
    }
}
