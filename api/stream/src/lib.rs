//! Streaming protocols of the API: exec, attach and port-forward over WebSocket and SPDY/3.1, both ends.
//!
//! | module | what |
//! |---|---|
//! | [`handshake`] | which protocol an upgrade request means, and the answer to it |
//! | [`websocket`] | messages on channels; a byte stream through messages |
//! | [`spdy`] | SPDY/3.1: frames, header compression, streams with flow control |
//! | [`remote`] | exec and attach: standard streams, terminal size, the final Status |
//! | [`forward`] | port-forward: a data and an error stream for each connection |
//!
//! Nothing here trusts its peer: every frame, header block, queue and count has a bound, and a peer that breaks the rules
//! loses its connection, nothing else. Connections are driven by futures that the caller spawns; dropping one closes its connection.

pub mod forward;
pub mod handshake;
pub mod remote;
pub mod spdy;
#[cfg(test)]
mod testing;
pub mod websocket;

use tokio::io::{AsyncRead, AsyncWrite};

/// What a protocol runs over: an upgraded connection, a pipe in tests, a WebSocket tunnel.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// Why a conversation ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Protocol(String),
    #[error("connection closed")]
    Closed,
    #[error("timed out waiting for {0}")]
    Timeout(&'static str),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Error {
    pub(crate) fn protocol(why: impl Into<String>) -> Self {
        Self::Protocol(why.into())
    }
}
