//! Many small HTTP/2 frames become few large writes.
//!
//! h2 flushes after every data frame, and each stream's task wakes the connection's task at once; so an event that a
//! thousand watchers wait for would cost a TLS record and a system call for each of them. This layer lies between h2 and
//! TLS: bytes gather here, and the first flush after an idle moment is put off by one turn of the scheduler. Whatever other
//! streams have ready by then goes out in the same write. With nothing else to run the turn is over at once.
//!
//! ```text
//! Quiet ──write──► Gathering ──flush: wake ourselves──► PutOff ──next turn, nothing new to add──► written, Quiet
//! ```

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Gathered before it is written without waiting: four TLS records.
const GATHER_MAX: usize = 64 << 10;
/// Kept by an idle connection.
const IDLE_CAPACITY_MAX: usize = 4 << 10;

/// `S` with its writes gathered.
pub(super) struct Coalesce<S> {
    inner: S,
    gathered: Vec<u8>,
    /// What of `gathered` is written already.
    written: usize,
    /// The peer has spoken. Before that (the handshake) nothing is put off.
    is_open: bool,
    /// Something came since the last flush.
    is_fresh: bool,
    /// Turns of the connection's task, counted by its reads that found nothing.
    turn: u64,
    /// The turn in which a flush was put off.
    put_off: Option<u64>,
}

impl<S> Coalesce<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, gathered: Vec::new(), written: 0, is_open: false, is_fresh: false, turn: 0, put_off: None }
    }

    fn room(&self) -> usize {
        GATHER_MAX.saturating_sub(self.gathered.len())
    }

    fn is_empty(&self) -> bool {
        self.written == self.gathered.len()
    }
}

impl<S: AsyncWrite + Unpin> Coalesce<S> {
    /// Hands everything gathered to TLS.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.gathered.len() {
            let count = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.gathered[self.written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        self.written = 0;
        self.gathered.clear();
        if self.gathered.capacity() > IDLE_CAPACITY_MAX {
            self.gathered = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    fn gather(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.room() == 0 {
            ready!(self.drain(cx))?;
        }
        let mut taken = 0;
        for piece in pieces {
            let part = &piece[..piece.len().min(self.room())];
            self.gathered.extend_from_slice(part);
            taken += part.len();
            if part.len() < piece.len() {
                break;
            }
        }
        self.is_fresh = true;
        Poll::Ready(Ok(taken))
    }

    /// Whether this flush waits for the next turn.
    fn puts_off(&mut self, cx: &Context<'_>) -> bool {
        if !self.is_open || self.is_empty() {
            return false;
        }
        let was_fresh = std::mem::take(&mut self.is_fresh);
        let waits = match self.put_off {
            None => true,
            // Later in the same turn, or frames are still being added in this one: the flush that ends the turn counts.
            Some(turn) => turn == self.turn || was_fresh,
        };
        if waits {
            self.put_off.get_or_insert(self.turn);
            // Each time: h2 flushes once after its last frame, and without a wake nobody would come back for what is gathered.
            cx.waker().wake_by_ref();
        }
        waits
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Coalesce<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if read.is_pending() {
            self.turn += 1;
        }
        self.is_open |= buffer.filled().len() > before;
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Coalesce<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.gather(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.gather(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.puts_off(cx) {
            return Poll::Ready(Ok(()));
        }
        ready!(self.drain(cx))?;
        self.put_off = None;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use super::*;

    /// Takes everything and remembers the sizes of the writes; never has anything to read but the first byte.
    #[derive(Default)]
    struct Sink {
        writes: Vec<usize>,
        flushes: usize,
        spoke: bool,
    }

    impl AsyncRead for Sink {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            if std::mem::replace(&mut self.spoke, true) {
                return Poll::Pending;
            }
            buffer.put_slice(b"P");
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Sink {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.writes.push(bytes.len());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.flushes += 1;
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One turn of a connection's task as h2 makes it: read, then each frame with its flush, then the last flush.
    fn turn(io: &mut Coalesce<Sink>, cx: &mut Context<'_>, frames: &[usize]) {
        let mut byte = [0; 1];
        let mut buffer = ReadBuf::new(&mut byte);
        while Pin::new(&mut *io).poll_read(cx, &mut buffer).is_ready() {
            buffer.clear();
        }
        for size in frames {
            assert!(Pin::new(&mut *io).poll_write(cx, &vec![0; *size]).is_ready());
            assert!(Pin::new(&mut *io).poll_flush(cx).is_ready());
        }
        assert!(Pin::new(&mut *io).poll_flush(cx).is_ready());
    }

    #[test]
    fn frames_of_two_turns_go_out_together_and_nothing_stays() {
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut cx = Context::from_waker(&waker);
        let mut io = Coalesce::new(Sink::default());
        turn(&mut io, &mut cx, &[100, 100]);
        assert!(io.inner.writes.is_empty(), "the first flush waits a turn");
        assert!(wakes.0.load(Ordering::Relaxed) > 0, "and that turn comes");
        turn(&mut io, &mut cx, &[50]);
        assert_eq!(io.inner.writes, [250]);
        assert!(io.is_empty() && io.inner.flushes > 0);
        turn(&mut io, &mut cx, &[]);
        assert_eq!(io.inner.writes, [250]);
    }

    #[test]
    fn the_handshake_is_not_put_off_and_large_bursts_do_not_wait() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut io = Coalesce::new(Sink::default());
        assert!(Pin::new(&mut io).poll_write(&mut cx, b"settings").is_ready());
        assert!(Pin::new(&mut io).poll_flush(&mut cx).is_ready());
        assert_eq!(io.inner.writes, [8]);
        turn(&mut io, &mut cx, &[16 << 10; 9]);
        assert_eq!(io.inner.writes, [8, GATHER_MAX, GATHER_MAX]);
        turn(&mut io, &mut cx, &[]);
        assert_eq!(io.inner.writes.iter().sum::<usize>(), 8 + 9 * (16 << 10));
    }
}
