//! One connection to the keeper: calls out, answers and exits in.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use sys::seqpacket;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use crate::protocol::{Answer, Call, Ended, Message, Request};

pub(super) struct Connection {
    socket: AsyncFd<OwnedFd>,
    /// Held for a moment only, never across an await. None once the connection has ended.
    pending: Mutex<Option<HashMap<u64, oneshot::Sender<Reply>>>>,
    number: AtomicU64,
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// It never reached the keeper: the next one may be asked instead.
    #[error("keeper: {0}")]
    NotSent(io::Error),
    /// The keeper may have acted on it.
    #[error("keeper: {0}")]
    Lost(io::Error),
}

/// An answer and the descriptors that came with it.
pub(super) type Reply = (Answer, Vec<OwnedFd>);

impl Connection {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let socket = seqpacket::connect(path)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self {
            socket: sys::reactor::register(socket, Interest::READABLE | Interest::WRITABLE)?,
            pending: Mutex::new(Some(HashMap::new())),
            number: AtomicU64::new(1),
        })
    }

    pub(super) async fn call(&self, request: Request, fds: &[OwnedFd]) -> Result<Reply, CallError> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let bytes = serde_json::to_vec(&Call { number, request }).expect("calls are plain data");
        let (answer_tx, answer) = oneshot::channel();
        match self.pending.lock().expect("no holder panics").as_mut() {
            Some(pending) => drop(pending.insert(number, answer_tx)),
            None => return Err(CallError::NotSent(ended())),
        }
        let send = |socket: &OwnedFd| {
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            seqpacket::send(socket, &bytes, &fds)
        };
        self.socket.async_io(Interest::WRITABLE, send).await.map_err(CallError::NotSent)?;
        answer.await.map_err(|_| CallError::Lost(ended()))
    }

    /// Hands exits to `exited` until the connection ends; every open call then fails.
    pub(super) async fn serve(&self, exited: impl Fn(Ended)) -> io::Error {
        let error = loop {
            let message = match self.socket.async_io(Interest::READABLE, |socket| seqpacket::receive(socket)).await {
                Ok(message) if message.is_end() => break ended(),
                Ok(message) => message,
                Err(error) => break error,
            };
            match serde_json::from_slice(&message.bytes) {
                Ok(Message::Answer { number, answer }) => self.deliver(number, (answer, message.fds)),
                Ok(Message::Exited(ended)) => exited(ended),
                Err(error) => break error.into(),
            }
        };
        *self.pending.lock().expect("no holder panics") = None;
        error
    }

    fn deliver(&self, number: u64, reply: Reply) {
        let waiting = self.pending.lock().expect("no holder panics").as_mut().and_then(|pending| pending.remove(&number));
        // A caller that went away: what came with the answer is closed with it.
        let _ = waiting.map(|waiting| waiting.send(reply));
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the keeper closed its connection")
}
