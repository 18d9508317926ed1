//! The side that has the process.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{CLOSE, ERROR, Input, Outcome, Output, QUEUE_MAX, RESIZE, STDERR, STDIN, STDOUT, TerminalSize, Version, Wants};
use crate::handshake::Negotiated;
use crate::websocket::{self, Channels, Encoding};
use crate::{Error, Io, spdy};

/// A client opens its streams at once; one that does not is gone.
const STREAMS_TIMEOUT: Duration = Duration::from_secs(30);

/// Of one terminal size in JSON.
const SIZE_MAX: usize = 1024;

/// Streams to and from the client, as far as they were asked for.
pub struct ServerSession {
    pub stdin: Option<Input>,
    pub stdout: Option<Output>,
    pub stderr: Option<Output>,
    pub resize: Option<mpsc::Receiver<TerminalSize>>,
    /// Resolves when the client is gone.
    pub gone: Gone,
    error: Output,
    version: Version,
    spdy: Option<Spdy>,
}

/// What a session over SPDY holds until its end.
struct Spdy {
    connection: spdy::Connection,
    /// Our direction of the streams that only the client writes to. A client whose standard input is finished from this side
    /// takes the command for ended, and drops what it has not sent yet.
    _quiet: Vec<spdy::Writer>,
}

/// Ends when the connection does.
pub struct Gone(mpsc::Receiver<()>);

impl Gone {
    pub async fn wait(&mut self) {
        while self.0.recv().await.is_some() {}
    }
}

/// The driver of the connection, to be spawned.
pub(super) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// `io` is the upgraded connection. Spawn the driver, then await the session.
pub fn server(io: impl Io, negotiated: &Negotiated, wants: Wants) -> (impl Future<Output = Result<ServerSession, Error>> + Send, Driver) {
    let (alive_tx, alive_rx) = mpsc::channel::<()>(1);
    let gone = Gone(alive_rx);
    match negotiated {
        Negotiated::WebSocket { protocol, .. } => {
            let encoding = if protocol.contains("base64") { Encoding::Base64 } else { Encoding::Binary };
            let (channels, drive) = websocket::channels(io, Role::Server, encoding);
            let (session, dispatch) = over_channels(channels, Version::of(protocol), wants, gone);
            let driver: Driver = Box::pin(async move {
                let connection = async {
                    drive.await;
                    drop(alive_tx);
                };
                // Input that came before the end is still delivered.
                tokio::join!(connection, dispatch);
            });
            (futures::future::Either::Left(greet(session)), driver)
        }
        Negotiated::Spdy { protocol } => {
            let (connection, drive) = spdy::server(io);
            let version = Version::of(protocol);
            let (sizes_tx, sizes_rx) = mpsc::channel(QUEUE_MAX);
            let (reader_tx, reader_rx) = oneshot::channel();
            let driver: Driver = Box::pin(async move {
                let _alive = alive_tx;
                tokio::select! {
                    () = drive => {}
                    () = async { read_sizes(reader_rx, sizes_tx).await; std::future::pending().await } => {}
                }
            });
            let sizes = Sizes { reader_tx, sizes_rx };
            (futures::future::Either::Right(over_spdy(connection, version, wants, gone, sizes)), driver)
        }
    }
}

fn over_channels(channels: Channels, version: Version, wants: Wants, gone: Gone) -> (ServerSession, impl Future<Output = ()> + Send) {
    let Channels { tx, mut rx } = channels;
    let output = |channel| Output::Channel { tx: tx.clone(), channel, has_close: version.has_close };
    let (stdin_tx, stdin_rx) = mpsc::channel(QUEUE_MAX);
    let (resize_tx, resize_rx) = mpsc::channel(QUEUE_MAX);
    let session = ServerSession {
        stdin: wants.stdin.then_some(Input::Channel(stdin_rx)),
        stdout: wants.stdout.then(|| output(STDOUT)),
        stderr: wants.stderr.then(|| output(STDERR)),
        resize: wants.tty.then_some(resize_rx),
        error: output(ERROR),
        gone,
        version,
        spdy: None,
    };
    let dispatch = async move {
        let mut stdin_tx = wants.stdin.then_some(stdin_tx);
        while let Some(message) = rx.recv().await {
            match message.channel {
                STDIN if !message.data.is_empty() => {
                    if let Some(tx) = &stdin_tx
                        && tx.send(message.data).await.is_err()
                    {
                        stdin_tx = None;
                    }
                }
                RESIZE => resize(&resize_tx, &message.data),
                CLOSE if version.has_close && message.data.first() == Some(&STDIN) => stdin_tx = None,
                _ => {}
            }
        }
    };
    (session, dispatch)
}

/// Only the newest size matters; one that finds no room is followed by another.
fn resize(tx: &mpsc::Sender<TerminalSize>, data: &[u8]) {
    if let Some(size) = TerminalSize::parse(data) {
        let _ = tx.try_send(size);
    }
}

/// An empty message tells the client that the connection stands.
async fn greet(session: ServerSession) -> Result<ServerSession, Error> {
    let first = session.stdout.as_ref().or(session.stderr.as_ref()).unwrap_or(&session.error);
    first.send(Bytes::new()).await?;
    Ok(session)
}

/// How terminal sizes get from the driver, which reads them, to the session.
struct Sizes {
    reader_tx: oneshot::Sender<spdy::Reader>,
    sizes_rx: mpsc::Receiver<TerminalSize>,
}

/// The stream holds JSON objects one after the other, in any pieces.
async fn read_sizes(reader_rx: oneshot::Receiver<spdy::Reader>, sizes_tx: mpsc::Sender<TerminalSize>) {
    let Ok(mut reader) = reader_rx.await else { return };
    let mut held: Vec<u8> = Vec::new();
    while let Some(piece) = reader.recv().await {
        held.extend_from_slice(&piece);
        while let Some(end) = held.iter().position(|byte| *byte == b'}') {
            resize(&sizes_tx, &held[..=end]);
            held.drain(..=end);
        }
        if held.len() > SIZE_MAX {
            return;
        }
    }
}

async fn over_spdy(
    mut connection: spdy::Connection,
    version: Version,
    wants: Wants,
    gone: Gone,
    sizes: Sizes,
) -> Result<ServerSession, Error> {
    let resizes = wants.tty && version.has_resize;
    let names = [("error", true), ("stdin", wants.stdin), ("stdout", wants.stdout), ("stderr", wants.stderr), ("resize", resizes)];
    let expected: Vec<&str> = names.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name).collect();
    let collect = collect(&mut connection, &expected);
    let mut streams =
        tokio::time::timeout(STREAMS_TIMEOUT, collect).await.map_err(|_| Error::Timeout("the client to open its streams"))??;
    let mut take = |name: &str| streams.remove(name);
    let error = take("error").ok_or(Error::Closed)?;
    let mut quiet = Vec::new();
    let mut listen = |stream: spdy::Stream| {
        quiet.push(stream.writer);
        stream.reader
    };
    let resize = take("resize").map(|stream| {
        let _ = sizes.reader_tx.send(listen(stream));
        sizes.sizes_rx
    });
    Ok(ServerSession {
        stdin: take("stdin").map(|stream| Input::Stream(listen(stream))),
        stdout: take("stdout").map(|stream| Output::Stream(stream.writer)),
        stderr: take("stderr").map(|stream| Output::Stream(stream.writer)),
        resize,
        error: Output::Stream(error.writer),
        gone,
        version,
        spdy: Some(Spdy { connection, _quiet: quiet }),
    })
}

async fn collect(connection: &mut spdy::Connection, expected: &[&str]) -> Result<HashMap<String, spdy::Stream>, Error> {
    let mut streams = HashMap::new();
    while streams.len() < expected.len() {
        let stream = connection.accept().await.ok_or(Error::Closed)?;
        let name = stream.headers.get("streamType").to_owned();
        if !expected.contains(&name.as_str()) {
            return Err(Error::protocol(format!("unexpected stream type {name:?}: this request has {}", expected.join(", "))));
        }
        if streams.insert(name.clone(), stream).is_some() {
            return Err(Error::protocol(format!("a second stream of type {name:?}")));
        }
    }
    Ok(streams)
}

impl ServerSession {
    /// Says how it ended and closes the connection when everything is written.
    pub async fn finish(self, outcome: &Outcome) {
        let Self { stdin, stdout, stderr, error, version, spdy, .. } = self;
        drop(stdin);
        for output in [stdout, stderr].into_iter().flatten() {
            if matches!(output, Output::Stream(_)) {
                output.finish().await;
            }
        }
        let text = match outcome {
            _ if version.has_status => outcome.to_status().to_string(),
            Outcome::Success => String::new(),
            Outcome::ExitCode(code) => format!("command terminated with non-zero exit code: exit status {code}"),
            Outcome::Failure(why) => why.clone(),
        };
        if !text.is_empty() {
            let _ = error.send(text.into()).await;
        }
        if matches!(error, Output::Stream(_)) {
            error.finish().await;
        }
        if let Some(Spdy { connection, _quiet: quiet }) = spdy {
            drop(quiet);
            connection.close().await;
        }
    }
}
