//! One connection: a reader that sorts frames into streams and a writer that sends what streams want sent.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc, oneshot};

use super::frame::{Decoder, Encoder, Frame, reset};
use super::headers::Headers;
use crate::{Error, Io};

const STREAMS_MAX: usize = 512;
/// Frames waiting to be written, of all streams.
const OUT_MAX: usize = 32;
/// Pieces of one stream waiting to be read.
const PIECES_MAX: usize = 32;
const DATA_MAX: usize = 32 << 10;
const WINDOW: u32 = 64 << 10;

/// The connection's handle. Streams outlive it; the connection ends when its driver does.
pub struct Connection {
    shared: Arc<Shared>,
    incoming_rx: mpsc::Receiver<Stream>,
}

/// Both directions of one stream.
pub struct Stream {
    pub id: u32,
    /// Of the peer's SYN_STREAM; of a stream opened here, ours.
    pub headers: Headers,
    pub reader: Reader,
    pub writer: Writer,
}

/// Ends when the peer has finished or the connection is gone.
pub struct Reader {
    id: u32,
    pieces_rx: mpsc::Receiver<Bytes>,
    shared: Arc<Shared>,
    /// Read, and not yet granted again.
    owed: u32,
}

/// Dropping it finishes this direction.
pub struct Writer {
    id: u32,
    shared: Arc<Shared>,
    window: Arc<Window>,
    is_finished: bool,
}

struct Shared {
    streams: Mutex<HashMap<u32, Entry>>,
    out_tx: mpsc::Sender<Out>,
    next_id: AtomicU32,
    /// The peer takes part in flow control.
    grants: AtomicBool,
    peer_window: AtomicU32,
    is_closed: AtomicBool,
    closed: Notify,
}

/// What waits to be written.
enum Out {
    Frame(Frame),
    /// Answered when everything before it is written.
    Flush(oneshot::Sender<()>),
}

struct Entry {
    /// None: the peer has finished.
    pieces_tx: Option<mpsc::Sender<Bytes>>,
    window: Arc<Window>,
    /// We have finished.
    is_finished: bool,
    /// What the peer may still send.
    granted: i64,
}

/// What we may still send on one stream.
struct Window {
    left: Mutex<i64>,
    changed: Notify,
}

/// The side that accepts streams first. Spawn the future: it is the connection.
pub fn server(io: impl Io) -> (Connection, impl Future<Output = ()> + Send) {
    start(io, 2, false)
}

/// The side that opens streams first.
pub fn client(io: impl Io) -> (Connection, impl Future<Output = ()> + Send) {
    start(io, 1, true)
}

fn start(io: impl Io, first_id: u32, announces: bool) -> (Connection, impl Future<Output = ()> + Send) {
    let (out_tx, out_rx) = mpsc::channel(OUT_MAX);
    let (incoming_tx, incoming_rx) = mpsc::channel(STREAMS_MAX);
    let shared = Arc::new(Shared {
        streams: Mutex::default(),
        out_tx,
        next_id: AtomicU32::new(first_id),
        grants: AtomicBool::new(false),
        peer_window: AtomicU32::new(WINDOW),
        is_closed: AtomicBool::new(false),
        closed: Notify::new(),
    });
    let (read, write) = tokio::io::split(io);
    let reading = Reading { shared: Arc::clone(&shared), incoming_tx, last_id: 0, is_odd: first_id == 2, has_announced: announces };
    let close = Close(Arc::clone(&shared));
    let drive = async move {
        let _close = close;
        if announces {
            let _ = reading.shared.send(Frame::Settings { initial_window: Some(WINDOW) }).await;
        }
        let shared = Arc::clone(&reading.shared);
        let closed = shared.wait_closed();
        tokio::select! {
            result = reading.run(read) => {
                if let Err(error) = result {
                    tracing::debug!(%error, "SPDY connection ends");
                }
            }
            () = write_all(out_rx, write) => {}
            () = closed => {}
        }
    };
    (Connection { shared, incoming_rx }, drive)
}

impl Connection {
    /// The next stream that the peer opens; None when the connection is gone.
    pub async fn accept(&mut self) -> Option<Stream> {
        self.incoming_rx.recv().await
    }

    /// Opens a stream; data may follow at once.
    pub async fn open(&self, headers: Headers) -> Result<Stream, Error> {
        let id = self.shared.next_id.fetch_add(2, Ordering::Relaxed);
        let stream = self.shared.add(id, headers.clone()).ok_or(Error::Closed)?;
        self.shared.send(Frame::SynStream { id, headers, fin: false, unidirectional: false }).await?;
        Ok(stream)
    }

    /// Tells the peer that this is the end, and ends it when everything before has been sent.
    pub async fn close(self) {
        let _ = self.shared.send(Frame::GoAway { last_id: 0, status: 0 }).await;
        let (flushed_tx, flushed_rx) = oneshot::channel();
        if self.shared.out_tx.send(Out::Flush(flushed_tx)).await.is_ok() {
            let _ = flushed_rx.await;
        }
        self.shared.close();
    }
}

impl Reader {
    pub async fn recv(&mut self) -> Option<Bytes> {
        let piece = self.pieces_rx.recv().await?;
        self.owed += u32::try_from(piece.len()).unwrap_or(u32::MAX);
        if self.owed >= WINDOW / 2 {
            self.grant().await;
        }
        Some(piece)
    }

    async fn grant(&mut self) {
        let delta = std::mem::take(&mut self.owed);
        if let Some(entry) = self.shared.lock().get_mut(&self.id) {
            entry.granted += i64::from(delta);
        }
        if self.shared.grants.load(Ordering::Relaxed) {
            let _ = self.shared.send(Frame::WindowUpdate { id: self.id, delta }).await;
        }
    }
}

impl Writer {
    /// Waits until there is room.
    pub async fn send(&self, mut data: Bytes) -> Result<(), Error> {
        if self.is_finished {
            return Err(Error::Closed);
        }
        if data.is_empty() {
            return self.shared.send(Frame::Data { id: self.id, data, fin: false }).await;
        }
        while !data.is_empty() {
            let most = self.window.take(data.len().min(DATA_MAX), &self.shared).await?;
            let data = data.split_to(most);
            self.shared.send(Frame::Data { id: self.id, data, fin: false }).await?;
        }
        Ok(())
    }

    /// Nothing more will come.
    pub async fn finish(mut self) -> Result<(), Error> {
        self.is_finished = true;
        let result = self.shared.send(Frame::Data { id: self.id, data: Bytes::new(), fin: true }).await;
        self.shared.finish(self.id);
        result
    }

    /// Breaks the stream off in both directions.
    pub async fn reset(mut self) -> Result<(), Error> {
        self.is_finished = true;
        self.shared.lock().remove(&self.id);
        self.shared.send(Frame::Reset { id: self.id, status: reset::CANCEL }).await
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        self.shared.finish(self.id);
        let frame = Frame::Data { id: self.id, data: Bytes::new(), fin: true };
        // A full queue cannot wait here; the peer then learns of it at the latest with the connection's end.
        let _ = self.shared.out_tx.try_send(Out::Frame(frame));
    }
}

impl Window {
    fn new(size: u32) -> Arc<Self> {
        Arc::new(Self { left: Mutex::new(i64::from(size)), changed: Notify::new() })
    }

    /// Takes up to `wanted` of what may be sent. Against a peer without flow control that is all of it.
    async fn take(&self, wanted: usize, shared: &Shared) -> Result<usize, Error> {
        loop {
            let changed = self.changed.notified();
            if shared.is_closed.load(Ordering::Relaxed) {
                return Err(Error::Closed);
            }
            {
                let mut left = self.left.lock().expect("no holder of a window panics");
                let enforced = shared.grants.load(Ordering::Relaxed);
                let room = usize::try_from(*left).unwrap_or(0);
                let taken = if enforced { wanted.min(room) } else { wanted };
                if taken > 0 {
                    *left -= i64::try_from(taken).expect("a piece is small");
                    return Ok(taken);
                }
            }
            changed.await;
        }
    }

    /// false: more than the protocol can count.
    fn grow(&self, delta: i64) -> bool {
        let mut left = self.left.lock().expect("no holder of a window panics");
        *left += delta;
        self.changed.notify_waiters();
        *left <= i64::from(i32::MAX)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Entry>> {
        self.streams.lock().expect("no holder of the streams panics")
    }

    async fn send(&self, frame: Frame) -> Result<(), Error> {
        self.out_tx.send(Out::Frame(frame)).await.map_err(|_| Error::Closed)
    }

    fn add(self: &Arc<Self>, id: u32, headers: Headers) -> Option<Stream> {
        let (pieces_tx, pieces_rx) = mpsc::channel(PIECES_MAX);
        let window = Window::new(self.peer_window.load(Ordering::Relaxed));
        let mut streams = self.lock();
        if self.is_closed.load(Ordering::Relaxed) || streams.len() >= STREAMS_MAX {
            return None;
        }
        let entry = Entry { pieces_tx: Some(pieces_tx), window: Arc::clone(&window), is_finished: false, granted: i64::from(WINDOW) };
        streams.insert(id, entry);
        let reader = Reader { id, pieces_rx, shared: Arc::clone(self), owed: 0 };
        Some(Stream { id, headers, reader, writer: Writer { id, shared: Arc::clone(self), window, is_finished: false } })
    }

    /// Our side of the stream is done.
    fn finish(&self, id: u32) {
        let mut streams = self.lock();
        if let Some(entry) = streams.get_mut(&id) {
            entry.is_finished = true;
            if entry.pieces_tx.is_none() {
                streams.remove(&id);
            }
        }
    }

    /// The peer's side of the stream is done.
    fn finished_by_peer(&self, id: u32) {
        let mut streams = self.lock();
        if let Some(entry) = streams.get_mut(&id) {
            entry.pieces_tx = None;
            if entry.is_finished {
                streams.remove(&id);
            }
        }
    }

    fn close(&self) {
        let mut streams = self.lock();
        self.is_closed.store(true, Ordering::Relaxed);
        streams.values().for_each(|entry| entry.window.changed.notify_waiters());
        streams.clear();
        self.closed.notify_waiters();
    }

    async fn wait_closed(&self) {
        let closed = self.closed.notified();
        if !self.is_closed.load(Ordering::Relaxed) {
            closed.await;
        }
    }
}

/// Whatever ends the driver ends every stream.
struct Close(Arc<Shared>);

impl Drop for Close {
    fn drop(&mut self) {
        self.0.close();
    }
}

async fn write_all(mut out_rx: mpsc::Receiver<Out>, mut io: WriteHalf<impl Io>) {
    let (mut encoder, mut buffer) = (Encoder::default(), BytesMut::new());
    while let Some(first) = out_rx.recv().await {
        let mut next = Some(first);
        let mut flushes = Vec::new();
        while let Some(out) = next {
            match out {
                Out::Frame(frame) => encoder.put(&frame, &mut buffer),
                Out::Flush(flushed_tx) => flushes.push(flushed_tx),
            }
            next = if buffer.len() < DATA_MAX { out_rx.try_recv().ok() } else { None };
        }
        if io.write_all_buf(&mut buffer).await.is_err() || io.flush().await.is_err() {
            return;
        }
        for flushed_tx in flushes {
            let _ = flushed_tx.send(());
        }
    }
    let _ = io.shutdown().await;
}

struct Reading {
    shared: Arc<Shared>,
    incoming_tx: mpsc::Sender<Stream>,
    last_id: u32,
    /// The peer's streams have odd ids.
    is_odd: bool,
    has_announced: bool,
}

impl Reading {
    async fn run(mut self, mut io: ReadHalf<impl Io>) -> Result<(), Error> {
        let (mut decoder, mut buffer) = (Decoder::default(), BytesMut::with_capacity(8 << 10));
        loop {
            while let Some(frame) = decoder.next(&mut buffer)? {
                self.take(frame).await?;
            }
            if io.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
    }

    async fn take(&mut self, frame: Frame) -> Result<(), Error> {
        match frame {
            Frame::SynStream { id, headers, fin, .. } => self.opened(id, headers, fin).await,
            Frame::Data { id, data, fin } => self.data(id, data, fin).await,
            Frame::SynReply { id, fin, .. } | Frame::Headers { id, fin, .. } => {
                if fin {
                    self.shared.finished_by_peer(id);
                }
                Ok(())
            }
            Frame::Reset { id, .. } => {
                if let Some(entry) = self.shared.lock().remove(&id) {
                    entry.window.changed.notify_waiters();
                }
                Ok(())
            }
            Frame::Ping { id } if (id % 2 == 1) == self.is_odd => self.shared.send(Frame::Ping { id }).await,
            Frame::Settings { initial_window } => self.settings(initial_window).await,
            Frame::WindowUpdate { id, delta } => self.granted(id, delta).await,
            Frame::GoAway { .. } | Frame::Ping { .. } | Frame::Unknown => Ok(()),
        }
    }

    async fn opened(&mut self, id: u32, headers: Headers, fin: bool) -> Result<(), Error> {
        if (id % 2 == 1) != self.is_odd || id <= self.last_id {
            return Err(Error::protocol(format!("stream id {id} is not the peer's next")));
        }
        self.last_id = id;
        let Some(stream) = self.shared.add(id, headers) else {
            return self.shared.send(Frame::Reset { id, status: reset::REFUSED_STREAM }).await;
        };
        // Before any data of ours: Go's peers drop data on a stream without its reply.
        self.shared.send(Frame::SynReply { id, headers: Headers::default(), fin: false }).await?;
        if fin {
            self.shared.finished_by_peer(id);
        }
        self.incoming_tx.send(stream).await.map_err(|_| Error::Closed)
    }

    async fn data(&mut self, id: u32, data: Bytes, fin: bool) -> Result<(), Error> {
        let pieces_tx = {
            let mut streams = self.shared.lock();
            let Some(entry) = streams.get_mut(&id) else { return Ok(()) };
            entry.granted -= i64::try_from(data.len()).unwrap_or(i64::MAX);
            if entry.granted < 0 && self.shared.grants.load(Ordering::Relaxed) {
                streams.remove(&id);
                None
            } else {
                Some(entry.pieces_tx.clone())
            }
        };
        let Some(pieces_tx) = pieces_tx else {
            return self.shared.send(Frame::Reset { id, status: reset::FLOW_CONTROL_ERROR }).await;
        };
        if let Some(pieces_tx) = pieces_tx.filter(|_| !data.is_empty()) {
            // An error only says that nobody reads this stream any more.
            let _ = pieces_tx.send(data).await;
        }
        if fin {
            self.shared.finished_by_peer(id);
        }
        Ok(())
    }

    async fn settings(&mut self, initial_window: Option<u32>) -> Result<(), Error> {
        if let Some(window) = initial_window {
            let before = self.shared.peer_window.swap(window, Ordering::Relaxed);
            let delta = i64::from(window) - i64::from(before);
            let streams = self.shared.lock();
            for entry in streams.values() {
                let _ = entry.window.grow(delta);
            }
        }
        self.shared.grants.store(true, Ordering::Relaxed);
        if !std::mem::replace(&mut self.has_announced, true) {
            self.shared.send(Frame::Settings { initial_window: Some(WINDOW) }).await?;
        }
        Ok(())
    }

    async fn granted(&mut self, id: u32, delta: u32) -> Result<(), Error> {
        self.shared.grants.store(true, Ordering::Relaxed);
        let fits = {
            let mut streams = self.shared.lock();
            let fits = streams.get(&id).is_none_or(|entry| entry.window.grow(delta.into()));
            if !fits {
                streams.remove(&id);
            }
            fits
        };
        if fits { Ok(()) } else { self.shared.send(Frame::Reset { id, status: reset::FLOW_CONTROL_ERROR }).await }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::spawn;

    fn pair(buffer: usize) -> (Connection, Connection) {
        let (a, b) = tokio::io::duplex(buffer);
        let ((client, drive_a), (server, drive_b)) = (client(a), server(b));
        spawn(drive_a);
        spawn(drive_b);
        (client, server)
    }

    async fn read_all(reader: &mut Reader) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(piece) = reader.recv().await {
            all.extend_from_slice(&piece);
        }
        all
    }

    #[tokio::test]
    async fn streams_carry_headers_and_bytes_both_ways() {
        let (client, mut server) = pair(1024);
        let mut ours = client.open(Headers::of(&[("streamType", "data"), ("port", "80")])).await.unwrap();
        let mut theirs = server.accept().await.unwrap();
        assert_eq!((theirs.id, theirs.headers.get("port")), (1, "80"));
        let (big, small) = (vec![7_u8; 1 << 20], Bytes::from_static(b"answer"));
        let (sent, got) = tokio::join!(ours.writer.send(big.clone().into()), async {
            let mut got = 0;
            while got < 1 << 20 {
                got += theirs.reader.recv().await.unwrap().len();
            }
            got
        });
        sent.unwrap();
        assert_eq!(got, 1 << 20);
        ours.writer.finish().await.unwrap();
        assert_eq!(theirs.reader.recv().await, None, "a finished direction ends");
        theirs.writer.send(small.clone()).await.unwrap();
        theirs.writer.finish().await.unwrap();
        assert_eq!(read_all(&mut ours.reader).await, small);
    }

    #[tokio::test]
    async fn a_stream_that_nobody_reads_does_not_stop_the_others() {
        let (client, mut server) = pair(1 << 10);
        let (stuck, other) = (client.open(Headers::default()).await.unwrap(), client.open(Headers::default()).await.unwrap());
        let (_stuck_peer, mut other_peer) = (server.accept().await.unwrap(), server.accept().await.unwrap());
        // The windows are agreed upon by now: both sides have announced.
        let hello = async {
            other.writer.send("hello".into()).await.unwrap();
            other_peer.reader.recv().await.unwrap()
        };
        assert_eq!(hello.await, "hello");
        let flood = stuck.writer.send(vec![0; 1 << 20].into());
        let rest = async {
            for _ in 0..50 {
                other.writer.send("still here".into()).await.unwrap();
                assert_eq!(other_peer.reader.recv().await.unwrap(), "still here");
            }
        };
        tokio::select! {
            _ = flood => panic!("a megabyte does not fit into a window"),
            () = rest => {}
        }
    }

    #[tokio::test]
    async fn resets_and_the_end_of_the_connection_reach_the_streams() {
        let (client, mut server) = pair(1024);
        let (a, mut b) = (client.open(Headers::default()).await.unwrap(), client.open(Headers::default()).await.unwrap());
        let (mut peer_a, peer_b) = (server.accept().await.unwrap(), server.accept().await.unwrap());
        a.writer.reset().await.unwrap();
        assert_eq!(peer_a.reader.recv().await, None);
        peer_b.writer.send("last".into()).await.unwrap();
        server.close().await;
        assert_eq!(b.reader.recv().await.unwrap(), "last");
        assert_eq!(b.reader.recv().await, None);
        assert!(client.open(Headers::default()).await.is_err());
    }

    #[tokio::test]
    async fn a_peer_without_flow_control_is_served_all_the_same() {
        let (io, mut peer) = tokio::io::duplex(1 << 10);
        let (mut server, drive) = server(io);
        spawn(drive);
        let (mut encoder, mut wire) = (Encoder::default(), BytesMut::new());
        encoder.put(&Frame::SynStream { id: 1, headers: Headers::default(), fin: false, unidirectional: false }, &mut wire);
        peer.write_all_buf(&mut wire).await.unwrap();
        let stream = server.accept().await.unwrap();
        let send = async { stream.writer.send(vec![1; 300 << 10].into()).await.unwrap() };
        let receive = async {
            let (mut decoder, mut buffer, mut got) = (Decoder::default(), BytesMut::new(), 0);
            while got < 300 << 10 {
                peer.read_buf(&mut buffer).await.unwrap();
                while let Some(frame) = decoder.next(&mut buffer).unwrap() {
                    got += if let Frame::Data { data, .. } = frame { data.len() } else { 0 };
                }
            }
        };
        tokio::join!(send, receive);
    }

    #[tokio::test]
    async fn garbage_ends_the_connection_alone() {
        let (io, mut peer) = tokio::io::duplex(1024);
        let (mut server, drive) = server(io);
        spawn(drive);
        peer.write_all(b"GET / HTTP/1.1\r\n\r\n and more bytes that are no frames at all").await.unwrap();
        drop(peer);
        assert!(server.accept().await.is_none());
    }
}
