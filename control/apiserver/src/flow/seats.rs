//! Seats: how many requests of a priority level run at once, and who waits for the next free one.
//!
//! A level owns some seats and may take more from a pool, into which all levels put what they can lend. With a seat free and
//! nobody waiting a request takes it by one atomic operation; locks are met by those who wait, and by who gives a seat back to them.
//!
//! ```text
//! enter ─┬─ nobody waits, seat free ──► place
//!        ├─ level queues ──► queue of its flow (the shortest of a hand) ──► place, when its turn comes
//!        └─ level rejects, queue full, waited too long ──► refused
//! ```

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::oneshot;

/// How a level treats who finds no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queuing {
    pub queues: usize,
    /// Queues that a flow may choose from.
    pub hand: usize,
    /// Requests in one queue.
    pub length_max: usize,
}

/// What a level may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    /// Its own, which nobody else gets.
    pub own: u32,
    /// From the pool: what it lent, and what it may borrow.
    pub from_pool: u32,
    /// None: who finds no seat is refused.
    pub queuing: Option<Queuing>,
}

/// The seats that levels lend each other.
#[derive(Default)]
pub(super) struct Pool {
    size: AtomicU32,
    used: AtomicU32,
    waiting: AtomicUsize,
    levels: Mutex<Vec<Weak<Seats>>>,
}

impl Pool {
    pub(super) fn resize(&self, size: u32, levels: Vec<Weak<Seats>>) {
        self.size.store(size, Ordering::SeqCst);
        *self.levels.lock().expect("no holder of the levels panics") = levels;
    }

    /// A seat came back, or the pool grew: whoever waits may have it.
    pub(super) fn serve(&self) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let levels: Vec<Arc<Seats>> =
            self.levels.lock().expect("no holder of the levels panics").iter().filter_map(Weak::upgrade).collect();
        levels.iter().for_each(|level| level.dispatch());
    }
}

/// The seats of one level.
pub(super) struct Seats {
    own_max: AtomicU32,
    own_used: AtomicU32,
    borrowed_max: AtomicU32,
    borrowed_used: AtomicU32,
    waiting: AtomicUsize,
    pool: Arc<Pool>,
    queues: Mutex<Queues>,
}

/// Who waits. A queue's turn comes when it is the one that has had the least.
#[derive(Default)]
struct Queues {
    queuing: Option<Queuing>,
    queues: Vec<Queue>,
    /// What the queue served last had had by then; a queue that was empty starts from here.
    now: u64,
    next_ticket: u64,
}

#[derive(Default)]
struct Queue {
    waiters: VecDeque<Waiter>,
    served: u64,
}

struct Waiter {
    ticket: u64,
    tell: oneshot::Sender<Seat>,
}

/// Why there is no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Refused {
    /// The level lets nobody wait.
    ConcurrencyLimit,
    QueueFull,
    TimeOut,
}

impl Refused {
    /// Upstream's word in metrics.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::ConcurrencyLimit => "concurrency-limit",
            Self::QueueFull => "queue-full",
            Self::TimeOut => "time-out",
        }
    }
}

/// A seat, until it is dropped.
pub(super) struct Seat {
    level: Arc<Seats>,
    borrowed: bool,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let level = &self.level;
        if self.borrowed {
            level.borrowed_used.fetch_sub(1, Ordering::SeqCst);
            level.pool.used.fetch_sub(1, Ordering::SeqCst);
            level.pool.serve();
        } else {
            level.own_used.fetch_sub(1, Ordering::SeqCst);
        }
        level.dispatch();
    }
}

impl Seats {
    pub(super) fn new(pool: &Arc<Pool>) -> Arc<Self> {
        Arc::new(Self {
            own_max: AtomicU32::default(),
            own_used: AtomicU32::default(),
            borrowed_max: AtomicU32::default(),
            borrowed_used: AtomicU32::default(),
            waiting: AtomicUsize::default(),
            pool: Arc::clone(pool),
            queues: Mutex::default(),
        })
    }

    /// Other limits from now on; who holds a seat or waits goes on.
    pub(super) fn limit(self: &Arc<Self>, limits: &Limits) {
        self.own_max.store(limits.own, Ordering::SeqCst);
        self.borrowed_max.store(limits.from_pool, Ordering::SeqCst);
        {
            let mut queues = self.queues.lock().expect("no holder of the queues panics");
            queues.queuing = limits.queuing;
            let wanted = limits.queuing.map_or(0, |queuing| queuing.queues).max(queues.queues.len());
            queues.queues.resize_with(wanted, Queue::default);
        }
        self.dispatch();
    }

    /// Seats taken now.
    pub(super) fn taken(&self) -> u32 {
        self.own_used.load(Ordering::Relaxed) + self.borrowed_used.load(Ordering::Relaxed)
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// A seat, at once if there is one and nobody waits for it.
    pub(super) fn try_enter(self: &Arc<Self>) -> Option<Seat> {
        if self.waiting.load(Ordering::SeqCst) > 0 { None } else { self.take() }
    }

    /// A seat for a request of the flow with this hash, in at most `patience`.
    pub(super) async fn enter(self: &Arc<Self>, flow: u64, patience: Duration) -> Result<Seat, Refused> {
        if let Some(seat) = self.try_enter() {
            return Ok(seat);
        }
        let (mut place, told) = self.enqueue(flow)?;
        // One may have become free before we were seen to wait.
        self.dispatch();
        match tokio::time::timeout(patience, told).await {
            Ok(Ok(seat)) => {
                place.served = true;
                Ok(seat)
            }
            _ => Err(Refused::TimeOut),
        }
    }

    fn take(self: &Arc<Self>) -> Option<Seat> {
        if add_below(&self.own_used, &self.own_max) {
            return Some(Seat { level: Arc::clone(self), borrowed: false });
        }
        // Looked at, not reserved: to give a reservation back could leave somebody waiting beside a free seat. At worst a level borrows
        // one more for each thread; the pool itself is exact.
        if self.borrowed_used.load(Ordering::SeqCst) >= self.borrowed_max.load(Ordering::SeqCst)
            || !add_below(&self.pool.used, &self.pool.size)
        {
            return None;
        }
        self.borrowed_used.fetch_add(1, Ordering::SeqCst);
        Some(Seat { level: Arc::clone(self), borrowed: true })
    }

    fn enqueue(self: &Arc<Self>, flow: u64) -> Result<(Place, oneshot::Receiver<Seat>), Refused> {
        let mut held = self.queues.lock().expect("no holder of the queues panics");
        let queues = &mut *held;
        let queuing = queues.queuing.ok_or(Refused::ConcurrencyLimit)?;
        let hand = hand(flow, queuing.queues, queuing.hand);
        let chosen = hand.into_iter().min_by_key(|index| queues.queues[*index].waiters.len()).ok_or(Refused::ConcurrencyLimit)?;
        let queue = &mut queues.queues[chosen];
        if queue.waiters.len() >= queuing.length_max {
            return Err(Refused::QueueFull);
        }
        if queue.waiters.is_empty() {
            queue.served = queue.served.max(queues.now);
        }
        let (tell, told) = oneshot::channel();
        let ticket = queues.next_ticket;
        queues.next_ticket += 1;
        queue.waiters.push_back(Waiter { ticket, tell });
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.pool.waiting.fetch_add(1, Ordering::SeqCst);
        Ok((Place { level: Arc::clone(self), queue: chosen, ticket, served: false }, told))
    }

    /// Gives free seats to those who wait.
    fn dispatch(self: &Arc<Self>) {
        while self.waiting.load(Ordering::SeqCst) > 0 {
            let Some((waiter, seat)) = self.next() else { return };
            // Who has gone meanwhile leaves it to the next: dropping it comes back here.
            let _ = waiter.tell.send(seat);
        }
    }

    fn next(self: &Arc<Self>) -> Option<(Waiter, Seat)> {
        let mut held = self.queues.lock().expect("no holder of the queues panics");
        let queues = &mut *held;
        let queue = queues.queues.iter_mut().filter(|queue| !queue.waiters.is_empty()).min_by_key(|queue| queue.served)?;
        let seat = self.take()?;
        let waiter = queue.waiters.pop_front().expect("it is not empty");
        queues.now = queue.served;
        queue.served += 1;
        self.left();
        Some((waiter, seat))
    }

    fn left(&self) {
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        self.pool.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Somebody in a queue; leaves it when dropped.
struct Place {
    level: Arc<Seats>,
    queue: usize,
    ticket: u64,
    served: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.served {
            return;
        }
        let mut queues = self.level.queues.lock().expect("no holder of the queues panics");
        let waiters = &mut queues.queues[self.queue].waiters;
        if let Some(at) = waiters.iter().position(|waiter| waiter.ticket == self.ticket) {
            waiters.remove(at);
            self.level.left();
        }
    }
}

fn add_below(counter: &AtomicU32, max: &AtomicU32) -> bool {
    let max = max.load(Ordering::SeqCst);
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| (used < max).then_some(used + 1)).is_ok()
}

/// Shuffle sharding: `size` different queues out of `queues`, by the flow's hash.
fn hand(flow: u64, queues: usize, size: usize) -> Vec<usize> {
    let (mut rest, mut cards): (u64, Vec<usize>) = (flow, Vec::with_capacity(size));
    for dealt in 0..size.min(queues) {
        let left = (queues - dealt) as u64;
        let mut card = (rest % left) as usize;
        rest /= left;
        let mut taken = cards.clone();
        taken.sort_unstable();
        for other in taken {
            card += usize::from(other <= card);
        }
        cards.push(card);
    }
    cards
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(15);

    fn level(pool: &Arc<Pool>, own: u32, from_pool: u32, queuing: Option<Queuing>) -> Arc<Seats> {
        let seats = Seats::new(pool);
        seats.limit(&Limits { own, from_pool, queuing });
        seats
    }

    const TWO: Option<Queuing> = Some(Queuing { queues: 8, hand: 1, length_max: 2 });

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_seat_waits_or_is_refused() {
        let pool = Arc::default();
        let rejecting = level(&pool, 1, 0, None);
        let seat = rejecting.enter(1, PATIENCE).await.ok().unwrap();
        assert_eq!(rejecting.enter(1, PATIENCE).await.err(), Some(Refused::ConcurrencyLimit));
        drop(seat);
        assert!(rejecting.enter(1, PATIENCE).await.is_ok());

        let queuing = level(&pool, 1, 0, TWO);
        let seat = queuing.enter(1, PATIENCE).await.ok().unwrap();
        assert_eq!(queuing.enter(1, PATIENCE).await.err(), Some(Refused::TimeOut));
        assert_eq!(queuing.waiting(), 0, "who has given up does not wait");
        let (first, second, third) = tokio::join!(biased;
            async { let seat = queuing.enter(1, PATIENCE).await; seat.is_ok() },
            async { let seat = queuing.enter(1, PATIENCE).await; seat.is_ok() },
            async { let refused = queuing.enter(1, PATIENCE).await.err(); drop(seat); refused },
        );
        assert_eq!((first, second, third), (true, true, Some(Refused::QueueFull)));
        assert_eq!((queuing.taken(), queuing.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn a_flow_with_many_requests_does_not_hold_another_up() {
        let pool = Arc::default();
        let seats = level(&pool, 1, 0, Some(Queuing { queues: 8, hand: 1, length_max: 100 }));
        let held = seats.enter(0, PATIENCE).await.ok().unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let waiting = |flow: u64| {
            let (seats, order) = (Arc::clone(&seats), Arc::clone(&order));
            async move {
                let seat = seats.enter(flow, PATIENCE).await.ok().unwrap();
                order.lock().unwrap().push(flow);
                drop(seat);
            }
        };
        let elephants = futures::future::join_all((0..5).map(|_| waiting(1)));
        tokio::join!(biased; elephants, waiting(2), async { drop(held) });
        assert_eq!(*order.lock().unwrap(), [1, 2, 1, 1, 1, 1]);
    }

    #[tokio::test]
    async fn levels_lend_what_they_do_not_need_and_never_more_than_there_is() {
        let pool: Arc<Pool> = Arc::default();
        let (a, b) = (level(&pool, 1, 9, None), level(&pool, 1, 9, TWO));
        pool.resize(2, vec![Arc::downgrade(&a), Arc::downgrade(&b)]);
        let mut seats: Vec<Seat> = Vec::new();
        while let Some(seat) = a.try_enter() {
            seats.push(seat);
        }
        assert_eq!(a.taken(), 3);
        let own = b.try_enter().expect("what is its own nobody else gets");
        let waits = b.enter(1, PATIENCE);
        let (waited, ()) = tokio::join!(biased; waits, async { drop(seats.pop()) });
        assert!(waited.is_ok(), "a lent seat that comes back goes to who waits on any level");
        drop(own);
    }

    #[test]
    fn a_hand_is_different_queues() {
        for flow in [0, 7, u64::MAX, 0x1234_5678_9abc_def0] {
            let mut cards = hand(flow, 64, 6);
            cards.sort_unstable();
            cards.dedup();
            assert_eq!(cards.len(), 6);
            assert!(cards.iter().all(|card| *card < 64));
        }
        assert_eq!(hand(5, 2, 6).len(), 2);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_seat_is_lost_under_contention() {
        let pool: Arc<Pool> = Arc::default();
        let seats = level(&pool, 2, 3, Some(Queuing { queues: 16, hand: 2, length_max: 1000 }));
        pool.resize(2, vec![Arc::downgrade(&seats)]);
        let env = env::Env::real();
        let tasks = (0..64u64).map(|flow| {
            let seats = Arc::clone(&seats);
            env.spawn("asks", async move {
                for _ in 0..200 {
                    let seat = seats.enter(flow, PATIENCE).await;
                    assert!(seats.taken() <= 4);
                    tokio::task::yield_now().await;
                    drop(seat);
                }
            })
        });
        for task in futures::future::join_all(tasks).await {
            task.unwrap();
        }
        assert_eq!((seats.taken(), seats.waiting(), pool.used.load(Ordering::SeqCst)), (0, 0, 0));
    }
}
