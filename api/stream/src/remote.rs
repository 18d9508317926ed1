//! exec and attach: standard streams, terminal size, and a Status at the end.
//!
//! | channel / streamType | direction | carries |
//! |---|---|---|
//! | 0 `stdin` | to the process | bytes; v5 ends it with a close signal (255) |
//! | 1 `stdout`, 2 `stderr` | from it | bytes; with a terminal stdout alone |
//! | 3 `error` | from it | v4 and later: one Status; before: a sentence, only on failure |
//! | 4 `resize` | to it | `{"Width":80,"Height":24}` |

mod client;
mod server;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

pub use client::{ClientSession, client};
pub use server::{ServerSession, server};

use crate::websocket::Message;
use crate::{Error, spdy};

pub(crate) const STDIN: u8 = 0;
pub(crate) const STDOUT: u8 = 1;
pub(crate) const STDERR: u8 = 2;
pub(crate) const ERROR: u8 = 3;
pub(crate) const RESIZE: u8 = 4;
/// v5: the next byte names the channel that is closed.
pub(crate) const CLOSE: u8 = 255;
const QUEUE_MAX: usize = 32;

/// Which streams the caller asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

impl Wants {
    /// From query parameters in the API server's words (`stdin`) or the node's (`input`). With a terminal there is no
    /// standard error. Err: nothing was asked for.
    pub fn from_query<'a>(query: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let mut wants = Self::default();
        for (name, value) in query {
            let is_on = matches!(value, "1" | "true" | "True" | "TRUE" | "t" | "T");
            match name {
                "stdin" | "input" => wants.stdin = is_on,
                "stdout" | "output" => wants.stdout = is_on,
                "stderr" | "error" => wants.stderr = is_on,
                "tty" => wants.tty = is_on,
                _ => {}
            }
        }
        wants.stderr &= !wants.tty;
        if wants.stdin || wants.stdout || wants.stderr {
            Ok(wants)
        } else {
            Err("you must specify at least 1 of stdin, stdout, stderr".into())
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    pub width: u16,
    pub height: u16,
}

impl TerminalSize {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let size: Value = serde_json::from_slice(bytes).ok()?;
        let side = |name: &str| size.get(name).and_then(Value::as_u64).and_then(|side| u16::try_from(side).ok());
        Some(Self { width: side("Width")?, height: side("Height")? })
    }

    fn to_bytes(self) -> Bytes {
        json!({"Width": self.width, "Height": self.height}).to_string().into()
    }
}

/// How the command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Success,
    /// Its own code, not 0.
    ExitCode(i32),
    /// It could not be run, or not to its end.
    Failure(String),
}

impl Outcome {
    /// As upstream's v4 protocol puts it.
    pub fn to_status(&self) -> Value {
        match self {
            Self::Success => json!({"metadata": {}, "status": "Success"}),
            Self::ExitCode(code) => json!({
                "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
                "message": format!("command terminated with non-zero exit code: exit status {code}"),
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            }),
            Self::Failure(why) => json!({
                "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
                "message": format!("Internal error occurred: {why}"), "details": {"causes": [{"message": why}]},
            }),
        }
    }

    /// Reads what [`Outcome::to_status`] or an older protocol's sentence says.
    pub fn parse(bytes: &[u8]) -> Self {
        let Ok(status) = serde_json::from_slice::<Value>(bytes) else {
            return Self::Failure(String::from_utf8_lossy(bytes).into_owned());
        };
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        if text(&status, "status") == "Success" {
            return Self::Success;
        }
        let causes = status.pointer("/details/causes").and_then(Value::as_array).into_iter().flatten();
        let code = causes.filter(|cause| text(cause, "reason") == "ExitCode").find_map(|cause| text(cause, "message").parse().ok());
        code.map_or_else(|| Self::Failure(text(&status, "message")), Self::ExitCode)
    }
}

/// What a protocol version can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) has_status: bool,
    pub(crate) has_close: bool,
    pub(crate) has_resize: bool,
}

impl Version {
    pub(crate) fn of(protocol: &str) -> Self {
        let number = match protocol.split('.').next() {
            Some("v5") => 5,
            Some("v4") => 4,
            Some("v3") => 3,
            Some("v2") => 2,
            _ => 1,
        };
        // The first WebSocket protocol always had a channel for the size; clients that know none send nothing.
        Self { has_status: number >= 4, has_close: number >= 5, has_resize: number >= 3 || number == 1 }
    }
}

/// One incoming stream.
pub enum Input {
    Channel(mpsc::Receiver<Bytes>),
    Stream(spdy::Reader),
}

impl Input {
    /// None: it has ended.
    pub async fn recv(&mut self) -> Option<Bytes> {
        match self {
            Self::Channel(rx) => rx.recv().await,
            Self::Stream(reader) => reader.recv().await,
        }
    }
}

/// One outgoing stream.
pub enum Output {
    Channel { tx: mpsc::Sender<Message>, channel: u8, has_close: bool },
    Stream(spdy::Writer),
}

impl Output {
    pub async fn send(&self, data: Bytes) -> Result<(), Error> {
        match self {
            Self::Channel { tx, channel, .. } => tx.send(Message { channel: *channel, data }).await.map_err(|_| Error::Closed),
            Self::Stream(writer) => writer.send(data).await,
        }
    }

    /// Nothing more will come. Protocols before v5 cannot say so over WebSocket.
    pub async fn finish(self) {
        match self {
            Self::Channel { tx, channel, has_close: true } => {
                let _ = tx.send(Message { channel: CLOSE, data: vec![channel].into() }).await;
            }
            Self::Channel { .. } => {}
            Self::Stream(writer) => {
                let _ = writer.finish().await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
