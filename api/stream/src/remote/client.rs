//! The side that has the terminal.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{CLOSE, ERROR, Input, Outcome, Output, QUEUE_MAX, RESIZE, STDERR, STDIN, STDOUT, TerminalSize, Version, Wants};
use crate::handshake::Negotiated;
use crate::spdy::Headers;
use crate::websocket::{self, Channels, Encoding};
use crate::{Error, Io, spdy};

/// Of an error that is no Status.
const ERROR_MAX: usize = 64 << 10;

/// Streams to and from the process.
pub struct ClientSession {
    pub stdin: Option<Output>,
    pub stdout: Option<Input>,
    pub stderr: Option<Input>,
    resize: Option<Output>,
    /// How it ended; an error where the connection broke off before.
    pub outcome: oneshot::Receiver<Outcome>,
    /// The connection lasts as long as the session, also when standard input is done.
    _open: (Option<spdy::Connection>, Option<mpsc::Sender<websocket::Message>>),
}

type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

impl ClientSession {
    /// Tells the process the size of its terminal.
    pub async fn resize(&self, size: TerminalSize) -> Result<(), Error> {
        match &self.resize {
            Some(output) => output.send(size.to_bytes()).await,
            None => Ok(()),
        }
    }
}

/// `io` is the upgraded connection, `negotiated` what the server's 101 said. Spawn the driver, then await the session.
pub fn client(io: impl Io, negotiated: &Negotiated, wants: Wants) -> (impl Future<Output = Result<ClientSession, Error>> + Send, Driver) {
    match negotiated {
        Negotiated::WebSocket { protocol, .. } => {
            let encoding = if protocol.contains("base64") { Encoding::Base64 } else { Encoding::Binary };
            let (channels, drive) = websocket::channels(io, Role::Client, encoding);
            let (session, dispatch) = over_channels(channels, Version::of(protocol), wants);
            let driver: Driver = Box::pin(async move {
                tokio::join!(drive, dispatch);
            });
            (futures::future::Either::Left(std::future::ready(Ok(session))), driver)
        }
        Negotiated::Spdy { protocol } => {
            let (connection, drive) = spdy::client(io);
            let (outcome_tx, outcome) = oneshot::channel();
            let (error_tx, error_rx) = oneshot::channel();
            let session = over_spdy(connection, Version::of(protocol), wants, outcome, error_tx);
            let driver: Driver = Box::pin(async move {
                let outcome = async {
                    if let Ok(reader) = error_rx.await {
                        let _ = outcome_tx.send(read_outcome(reader).await);
                    }
                };
                tokio::join!(drive, outcome);
            });
            (futures::future::Either::Right(session), driver)
        }
    }
}

fn over_channels(channels: Channels, version: Version, wants: Wants) -> (ClientSession, impl Future<Output = ()> + Send) {
    let Channels { tx, mut rx } = channels;
    let output = |channel| Output::Channel { tx: tx.clone(), channel, has_close: version.has_close };
    let (stdout_tx, stdout_rx) = mpsc::channel(QUEUE_MAX);
    let (stderr_tx, stderr_rx) = mpsc::channel(QUEUE_MAX);
    let (outcome_tx, outcome) = oneshot::channel();
    let session = ClientSession {
        stdin: wants.stdin.then(|| output(STDIN)),
        stdout: wants.stdout.then_some(Input::Channel(stdout_rx)),
        stderr: wants.stderr.then_some(Input::Channel(stderr_rx)),
        resize: wants.tty.then(|| output(RESIZE)),
        outcome,
        _open: (None, Some(tx.clone())),
    };
    let dispatch = async move {
        let mut outcome_tx = Some(outcome_tx);
        let (mut stdout_tx, mut stderr_tx) = (Some(stdout_tx), Some(stderr_tx));
        while let Some(message) = rx.recv().await {
            match message.channel {
                STDOUT => forward(&mut stdout_tx, message.data).await,
                STDERR => forward(&mut stderr_tx, message.data).await,
                ERROR if !message.data.is_empty() => {
                    if let Some(tx) = outcome_tx.take() {
                        let _ = tx.send(Outcome::parse(&message.data));
                    }
                }
                CLOSE => match message.data.first() {
                    Some(&STDOUT) => stdout_tx = None,
                    Some(&STDERR) => stderr_tx = None,
                    _ => {}
                },
                _ => {}
            }
        }
        // Before v4 silence is success.
        if let Some(tx) = outcome_tx.filter(|_| !version.has_status) {
            let _ = tx.send(Outcome::Success);
        }
    };
    (session, dispatch)
}

async fn forward(tx: &mut Option<mpsc::Sender<Bytes>>, data: Bytes) {
    if let Some(open) = tx.as_ref().filter(|_| !data.is_empty())
        && open.send(data).await.is_err()
    {
        *tx = None;
    }
}

async fn over_spdy(
    connection: spdy::Connection,
    version: Version,
    wants: Wants,
    outcome: oneshot::Receiver<Outcome>,
    error_tx: oneshot::Sender<spdy::Reader>,
) -> Result<ClientSession, Error> {
    let open = |name: &'static str| connection.open(Headers::of(&[("streamType", name)]));
    let error = open("error").await?;
    let stdin = if wants.stdin { Some(open("stdin").await?) } else { None };
    let stdout = if wants.stdout { Some(open("stdout").await?) } else { None };
    let stderr = if wants.stderr { Some(open("stderr").await?) } else { None };
    let resize = if wants.tty && version.has_resize { Some(open("resize").await?) } else { None };
    let _ = error_tx.send(error.reader);
    error.writer.finish().await?;
    Ok(ClientSession {
        stdin: stdin.map(|stream| Output::Stream(stream.writer)),
        stdout: stdout.map(|stream| Input::Stream(stream.reader)),
        stderr: stderr.map(|stream| Input::Stream(stream.reader)),
        resize: resize.map(|stream| Output::Stream(stream.writer)),
        outcome,
        _open: (Some(connection), None),
    })
}

async fn read_outcome(mut reader: spdy::Reader) -> Outcome {
    let mut text = Vec::new();
    while let Some(piece) = reader.recv().await {
        text.extend_from_slice(&piece[..piece.len().min(ERROR_MAX - text.len())]);
    }
    if text.is_empty() { Outcome::Success } else { Outcome::parse(&text) }
}
