//! Programs outside that are asked who somebody is and what he may do: issuers of tokens, webhooks. The HTTP behind it is the API server's.

use std::time::Duration;

use async_trait::async_trait;
use schema::Value;
use std::sync::Arc;

/// Whom a program outside is believed, and who we are to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// PEM of its authorities; None: those of the machine.
    pub ca: Option<String>,
    /// PEM of our certificate and of its key.
    pub identity: Option<(String, String)>,
    /// The name in its certificate, where that is not the host's.
    pub server_name: Option<String>,
}

/// One exchange. Only `https://` is spoken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    pub url: String,
    /// Sent as `Authorization: Bearer …`.
    pub bearer: Option<String>,
    /// POSTed as JSON; None: a GET.
    pub body: Option<Value>,
    /// Whether redirects (ten at most, to other `https://` places) are followed.
    pub follows: bool,
    /// Bytes read of an answer; a longer one is an error.
    pub bytes_max: usize,
}

/// An answer, whatever its status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// The header of that name; empty where it is absent.
    pub cache_control: String,
    /// Whether a `Retry-After` came with it.
    pub retry_after: bool,
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    pub message: String,
    /// The time was up.
    pub timed_out: bool,
    /// The connection broke under the question: another one may do.
    pub broken: bool,
}

impl Fault {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), timed_out: false, broken: false }
    }
}

/// Asks programs that one [`Trust`] holds for.
#[async_trait]
pub trait Outside: Send + Sync + 'static {
    /// Ends within `timeout`, whatever the other side does.
    async fn ask(&self, question: Question, timeout: Duration) -> Result<Reply, Fault>;
}

/// Makes them.
pub trait Dialer: Send + Sync + 'static {
    /// Err: the trust cannot be used.
    fn trusting(&self, trust: &Trust) -> Result<Arc<dyn Outside>, String>;
}

impl Reply {
    /// `200 OK`, as Go prints a status.
    pub fn status_line(&self) -> String {
        let text = match self.status {
            200 => "OK",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            429 => "Too Many Requests",
            500 => "Internal Server Error",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            _ => "",
        };
        format!("{} {text}", self.status).trim_end().to_owned()
    }
}
