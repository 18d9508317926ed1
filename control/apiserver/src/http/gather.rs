//! Many small HTTP/2 frames become few large writes.
//!
//! h2 flushes after every data frame, and each stream's task wakes the connection's task at once: an event that a thousand
//! watchers wait for would cost a TLS record and a system call for each of them. Two things prevent that.
//!
//! ```text
//! h2 ──writes, flushes──► Gather (bytes stay) ─┐
//!                                              │ shared, in one task
//! Turns: [give way once, in a burst] ─► poll h2 ─► Outlet::settle ──one write──► TLS ──► socket
//! ```
//! What h2 writes within one poll of the connection gathers in a buffer; *every* poll ends with [`Outlet::settle`], which
//! hands it all on or is woken when the socket takes more. So nothing waits for a later turn, whatever h2 does. And
//! [`Turns`] lets the tasks that are ready go first when polls come in a burst, so that their frames are part of the same turn.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Gathered before it is written without waiting for the end of the turn: four TLS records.
const GATHER_MAX: usize = 64 << 10;
/// A full TLS record.
const RECORD_BYTES: usize = 16 << 10;
/// Kept by an idle connection.
const IDLE_CAPACITY_MAX: usize = 1 << 10;
/// Polls that follow each other faster than this are of one burst.
const BURST_GAP: Duration = Duration::from_micros(50);
/// Polls that make a burst: what a request and its answer need comes below.
const BURST_POLLS: u32 = 6;

/// The side that h2 reads and writes.
pub(super) struct Gather<S>(Arc<Mutex<Gathered<S>>>);

/// The side of the connection's task.
pub(super) struct Outlet<S>(Arc<Mutex<Gathered<S>>>);

struct Gathered<S> {
    inner: S,
    buffer: Vec<u8>,
    /// What of `buffer` is written already.
    written: usize,
}

/// Both sides of a connection whose writes are gathered.
pub(super) fn gather<S>(inner: S) -> (Gather<S>, Outlet<S>) {
    let shared = Arc::new(Mutex::new(Gathered { inner, buffer: Vec::new(), written: 0 }));
    (Gather(Arc::clone(&shared)), Outlet(shared))
}

impl<S> Gather<S> {
    /// Never contended: both sides live in one task.
    fn open(&self) -> MutexGuard<'_, Gathered<S>> {
        self.0.lock().expect("nothing panics between h2 and TLS")
    }
}

impl<S: AsyncWrite + Unpin> Outlet<S> {
    /// Writes and flushes everything gathered; Pending when the socket is full, and then the task is woken when it is not.
    pub(super) fn settle(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.0.lock().expect("nothing panics between h2 and TLS");
        ready!(gathered.drain(cx))?;
        Pin::new(&mut gathered.inner).poll_flush(cx)
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    fn room(&self) -> usize {
        GATHER_MAX.saturating_sub(self.buffer.len())
    }

    /// Grows the buffer in two steps, so that a burst copies little.
    fn make_room(&mut self, wanted: usize) {
        let needed = self.buffer.len() + wanted;
        if needed > self.buffer.capacity() && needed > IDLE_CAPACITY_MAX {
            let capacity = if needed <= RECORD_BYTES { RECORD_BYTES } else { GATHER_MAX };
            self.buffer.reserve_exact(capacity - self.buffer.len());
        }
    }

    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.buffer.len() {
            let count = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.buffer[self.written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        self.written = 0;
        self.buffer.clear();
        self.buffer.shrink_to(IDLE_CAPACITY_MAX);
        Poll::Ready(Ok(()))
    }

    fn take(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.room() == 0 {
            ready!(self.drain(cx))?;
        }
        let wanted = pieces.iter().map(|piece| piece.len()).sum::<usize>().min(self.room());
        self.make_room(wanted);
        let mut taken = 0;
        for piece in pieces {
            let part = &piece[..piece.len().min(self.room())];
            self.buffer.extend_from_slice(part);
            taken += part.len();
        }
        Poll::Ready(Ok(taken))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gather<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.open().inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gather<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.open().take(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.open().take(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The end of the turn flushes.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.open();
        ready!(gathered.drain(cx))?;
        Pin::new(&mut gathered.inner).poll_shutdown(cx)
    }
}

/// When a connection's task lets others go first.
pub(super) struct Turns {
    last: Instant,
    quick: u32,
    gave_way: bool,
}

impl Turns {
    pub(super) fn new(now: Instant) -> Self {
        Self { last: now, quick: 0, gave_way: false }
    }

    /// Whether this poll should only wake itself: it then comes after everything that is ready now. Never twice in a row.
    pub(super) fn gives_way(&mut self, now: Instant) -> bool {
        if std::mem::take(&mut self.gave_way) {
            self.last = now;
            return false;
        }
        let in_burst = now.duration_since(self.last) < BURST_GAP;
        self.quick = if in_burst { self.quick.saturating_add(1) } else { 0 };
        self.last = now;
        self.gave_way = self.quick >= BURST_POLLS;
        self.gave_way
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Takes what it has room for; remembers the sizes of the writes.
    #[derive(Default)]
    struct Sink {
        writes: Vec<usize>,
        room: usize,
    }

    impl AsyncWrite for Sink {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Poll::Pending;
            }
            self.room -= count;
            self.writes.push(count);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn write(io: &mut Gather<Sink>, size: usize) -> Poll<usize> {
        let mut cx = Context::from_waker(Waker::noop());
        let written = Pin::new(&mut *io).poll_write(&mut cx, &vec![0; size]).map(Result::unwrap);
        assert!(Pin::new(io).poll_flush(&mut cx).is_ready(), "a flush never waits for the socket");
        written
    }

    #[test]
    fn the_frames_of_a_turn_go_out_together_at_its_end() {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut io, outlet) = gather(Sink { room: usize::MAX, ..Sink::default() });
        for size in [100, 200, 50] {
            assert_eq!(write(&mut io, size), Poll::Ready(size));
        }
        assert!(io.open().inner.writes.is_empty());
        assert!(outlet.settle(&mut cx).is_ready());
        assert_eq!(io.open().inner.writes, [350]);
        assert!(io.open().buffer.capacity() <= IDLE_CAPACITY_MAX);
    }

    #[test]
    fn a_full_socket_holds_h2_back_and_nothing_is_lost() {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut io, outlet) = gather(Sink { room: 1000, ..Sink::default() });
        assert_eq!(write(&mut io, GATHER_MAX + 1), Poll::Ready(GATHER_MAX));
        assert_eq!(write(&mut io, 1), Poll::Pending);
        assert!(outlet.settle(&mut cx).is_pending());
        io.open().inner.room = usize::MAX;
        assert_eq!(write(&mut io, 7), Poll::Ready(7));
        assert!(Pin::new(&mut io).poll_shutdown(&mut cx).is_ready());
        assert_eq!(io.open().inner.writes, [1000, GATHER_MAX - 1000, 7]);
    }

    #[test]
    fn only_bursts_give_way_and_never_twice_in_a_row() {
        let mut now = Instant::now();
        let mut turns = Turns::new(now);
        let mut poll = |gap| {
            now += gap;
            turns.gives_way(now)
        };
        let slow = BURST_GAP * 2;
        assert!((0..100).all(|_| !poll(slow)));
        let quick: Vec<bool> = (0..10).map(|_| poll(Duration::from_micros(1))).collect();
        let first = BURST_POLLS as usize - 1;
        assert!(quick[..first].iter().all(|gave| !gave));
        assert_eq!(quick[first..first + 4], [true, false, true, false]);
        assert!(!poll(slow));
    }
}
