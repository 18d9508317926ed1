//! A container's output on its way to the log and to whoever is attached, and input on its way in.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use contract::{Streams, Terminal};
use env::Env;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};

use super::logs::{Log, Stamp, Stream};

/// Chunks that wait for an attached reader.
const WAITING: usize = 64;
const CHUNK: usize = 16 * 1024;
/// An attached reader that takes nothing for so long is let go: it must not hold the container's output up for ever.
const PATIENCE: Duration = Duration::from_secs(5);

/// The node's ends of a container's streams.
pub(super) struct Output {
    env: Env,
    log: Mutex<Log>,
    attached: Mutex<Vec<Attached>>,
    /// Streams still open.
    open: watch::Sender<usize>,
}

#[derive(Clone)]
struct Attached {
    stdout: mpsc::Sender<Bytes>,
    stderr: mpsc::Sender<Bytes>,
}

impl Output {
    /// Starts to read `sources`.
    pub(super) fn start(env: &Env, log: Log, sources: Vec<(Stream, OwnedFd)>) -> io::Result<Arc<Self>> {
        let (open, _) = watch::channel(sources.len());
        let output = Arc::new(Self { env: env.clone(), log: Mutex::new(log), attached: Mutex::default(), open });
        for (stream, fd) in sources {
            let fd = sys::reactor::register(fd, Interest::READABLE)?;
            env.spawn("container output", output.clone().pump(stream, fd));
        }
        Ok(output)
    }

    /// Until every stream has ended, or `patience` has.
    pub(super) async fn drained(&self, patience: Duration) {
        let mut open = self.open.subscribe();
        let _ = tokio::time::timeout(patience, open.wait_for(|open| *open == 0)).await;
    }

    pub(super) fn reopen_log(&self) -> io::Result<()> {
        self.log.lock().expect("writing a log does not panic").reopen()
    }

    /// Output from now on.
    pub(super) fn attach(&self) -> (mpsc::Receiver<Bytes>, mpsc::Receiver<Bytes>) {
        let (stdout, stdout_rx) = mpsc::channel(WAITING);
        let (stderr, stderr_rx) = mpsc::channel(WAITING);
        // A container that has ended gives a stream that ends.
        if *self.open.borrow() > 0 {
            self.attached.lock().expect("no holder panics").push(Attached { stdout, stderr });
        }
        (stdout_rx, stderr_rx)
    }

    async fn pump(self: Arc<Self>, stream: Stream, fd: AsyncFd<OwnedFd>) {
        let stop = self.env.shutdown().clone();
        let take = |fd: &OwnedFd| self.log.lock().expect("writing a log does not panic").take(stream, fd, &self.now());
        // A pipe whose writers were gone before it was opened gives its end, but never becomes ready.
        let mut first = take(fd.get_ref()).ok();
        loop {
            let chunk = match first.take() {
                Some(chunk) => Some(chunk).filter(|chunk| !chunk.is_empty()),
                None => tokio::select! {
                    biased;
                    chunk = fd.async_io(Interest::READABLE, take) => chunk.ok().filter(|chunk| !chunk.is_empty()),
                    () = stop.cancelled() => break,
                },
            };
            let Some(chunk) = chunk else { break };
            self.hand_out(stream, chunk).await;
        }
        self.log.lock().expect("writing a log does not panic").finish(stream, &self.now());
        self.open.send_modify(|open| *open -= 1);
        if *self.open.borrow() == 0 {
            self.attached.lock().expect("no holder panics").clear();
        }
    }

    async fn hand_out(&self, stream: Stream, chunk: Bytes) {
        let attached = self.attached.lock().expect("no holder panics").clone();
        for reader in attached {
            let channel = if stream == Stream::Stdout { &reader.stdout } else { &reader.stderr };
            let taken = tokio::time::timeout(PATIENCE, channel.send(chunk.clone())).await;
            if !matches!(taken, Ok(Ok(()))) {
                self.attached.lock().expect("no holder panics").retain(|other| !other.stdout.same_channel(&reader.stdout));
            }
        }
    }

    fn now(&self) -> Stamp {
        Stamp::now(&self.env)
    }
}

/// The next bytes; None at the end. A terminal whose far end is closed says EIO.
async fn read(fd: &AsyncFd<OwnedFd>) -> Option<Bytes> {
    fd.async_io(Interest::READABLE, read_chunk).await.ok().filter(|chunk| !chunk.is_empty())
}

pub(super) fn read_chunk(fd: &OwnedFd) -> io::Result<Bytes> {
    let mut buffer = [0u8; CHUNK];
    let length = loop {
        match rustix::io::read(fd, &mut buffer) {
            Err(Errno::INTR) => {}
            done => break done?,
        }
    };
    Ok(Bytes::copy_from_slice(&buffer[..length]))
}

/// A task that the node's own end ends too.
fn until_shutdown(env: &Env, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
    let stop = env.shutdown().clone();
    env.spawn(name, async move {
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    });
}

/// Passes everything read from `fd` on; ends the stream at its end.
pub(super) fn reader(env: &Env, fd: OwnedFd) -> io::Result<mpsc::Receiver<Bytes>> {
    let fd = sys::reactor::register(nonblocking(fd)?, Interest::READABLE)?;
    let (chunks, receiver) = mpsc::channel(WAITING);
    until_shutdown(env, "stream reader", async move {
        loop {
            let chunk = tokio::select! {
                chunk = read(&fd) => chunk,
                () = chunks.closed() => None,
            };
            let Some(chunk) = chunk else { return };
            if chunks.send(chunk).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

/// Writes what is sent into `fd`; `done` runs when the sender is closed or the far end is.
pub(super) fn writer(env: &Env, fd: OwnedFd, done: impl FnOnce() + Send + 'static) -> io::Result<mpsc::Sender<Bytes>> {
    let fd = sys::reactor::register(nonblocking(fd)?, Interest::WRITABLE)?;
    let (sender, mut chunks) = mpsc::channel::<Bytes>(WAITING);
    until_shutdown(env, "stream writer", async move {
        while let Some(mut chunk) = chunks.recv().await {
            while !chunk.is_empty() {
                match fd.async_io(Interest::WRITABLE, |fd| Ok(rustix::io::write(fd, &chunk)?)).await {
                    Ok(written) => drop(chunk.split_to(written)),
                    Err(_) => return done(),
                }
            }
        }
        drop(fd);
        done();
    });
    Ok(sender)
}

/// Sets the window size of a terminal for every message.
pub(super) fn resizer(env: &Env, terminal: OwnedFd) -> mpsc::Sender<Terminal> {
    let (sender, mut sizes) = mpsc::channel::<Terminal>(4);
    until_shutdown(env, "terminal size", async move {
        while let Some(size) = sizes.recv().await {
            let size = rustix::termios::Winsize { ws_col: size.columns, ws_row: size.rows, ws_xpixel: 0, ws_ypixel: 0 };
            let _ = rustix::termios::tcsetwinsize(&terminal, size);
        }
    });
    sender
}

/// A terminal's one stream, as the contract's four.
pub(super) fn terminal_streams(env: &Env, master: &OwnedFd, input: bool) -> io::Result<Streams> {
    let stdin = if input { Some(writer(env, master.try_clone()?, || {})?) } else { None };
    Ok(Streams { stdin, stdout: reader(env, master.try_clone()?)?, stderr: closed(), resize: Some(resizer(env, master.try_clone()?)) })
}

/// A stream that has ended.
pub(super) fn closed() -> mpsc::Receiver<Bytes> {
    mpsc::channel(1).1
}

pub(super) fn nonblocking(fd: OwnedFd) -> io::Result<OwnedFd> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    Ok(fd)
}
