//! gRPC as etcd speaks it: one request message in, one or more out, the outcome in the trailers. No compression.

use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::SendRequest;

use super::wire::{Decode, Encode, Out, decode};

/// A page of a range or the events of one large transaction fit; an endless message does not.
const MESSAGE_MAX: usize = 1 << 30;
/// Whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Why a call has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// It was never sent.
    #[error("{0}")]
    Unreachable(String),
    /// It may have arrived; what came of it is not known.
    #[error("{0}")]
    Broken(String),
    /// etcd said no.
    #[error("{message} (code {code})")]
    Refused { code: u32, message: String },
}

/// What a refusal's code says.
pub(crate) mod code {
    pub(crate) const INVALID_ARGUMENT: u32 = 3;
    pub(crate) const RESOURCE_EXHAUSTED: u32 = 8;
    pub(crate) const OUT_OF_RANGE: u32 = 11;
    pub(crate) const UNAVAILABLE: u32 = 14;
}

/// The body of a request: one message. That of a watch stays open behind it, since its end would end the watch.
pub(crate) struct Message {
    bytes: Option<Bytes>,
    stays_open: bool,
}

impl Body for Message {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.bytes.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None if self.stays_open => Poll::Pending, // for ever: nothing follows
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none() && !self.stays_open
    }
}

/// A message with its prefix.
pub(crate) fn framed(message: &impl Encode) -> Bytes {
    let mut out = Out(vec![0; PREFIX]);
    message.encode(&mut out);
    let length = u32::try_from(out.0.len() - PREFIX).expect("no message of ours has 4 GB");
    out.0[1..PREFIX].copy_from_slice(&length.to_be_bytes());
    out.0.into()
}

/// Sends one message; the answer's messages follow on the stream.
pub(crate) async fn send(
    sender: &mut SendRequest<Message>,
    authority: &str,
    path: &str,
    message: Bytes,
    stays_open: bool,
) -> Result<Answers, CallError> {
    let body = Message { bytes: Some(message), stays_open };
    let request = Request::post(format!("http://{authority}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("hasleader", "true") // a member that lost its cluster ends our watch instead of falling silent
        .body(body)
        .expect("a well-formed request");
    let answer = sender.try_send_request(request).await.map_err(|mut error| match error.take_message() {
        Some(_) => CallError::Unreachable(told(error.error())),
        None => CallError::Broken(told(error.error())),
    })?;
    Answers::open(answer)
}

/// An error with its causes, which hold what one wants to know.
pub(crate) fn told(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    text
}

/// The messages of an answer.
pub(crate) struct Answers {
    body: Incoming,
    buffer: BytesMut,
}

impl Answers {
    fn open(answer: Response<Incoming>) -> Result<Self, CallError> {
        let (head, body) = answer.into_parts();
        outcome(&head.headers)?; // a call that fails at once has nothing but headers
        if head.status != 200 {
            return Err(CallError::Broken(format!("it answered {}: that is no etcd", head.status)));
        }
        Ok(Self { body, buffer: BytesMut::new() })
    }

    /// The next message; None at a good end.
    pub(crate) async fn next<M: Decode>(&mut self) -> Result<Option<M>, CallError> {
        loop {
            if let Some(message) = self.take_message()? {
                return decode(message).map(Some).map_err(|error| CallError::Broken(error.to_string()));
            }
            let frame = match self.body.frame().await {
                Some(frame) => frame.map_err(|error| CallError::Broken(told(&error)))?,
                None => return Err(CallError::Broken("the answer ended without an outcome".into())),
            };
            match frame.into_data() {
                Ok(data) => self.buffer.extend_from_slice(&data),
                Err(frame) => {
                    outcome(frame.trailers_ref().unwrap_or(&HeaderMap::new()))?;
                    return Ok(None);
                }
            }
        }
    }

    fn take_message(&mut self) -> Result<Option<Bytes>, CallError> {
        let Some((prefix, rest)) = self.buffer.split_first_chunk::<PREFIX>() else { return Ok(None) };
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        if prefix[0] != 0 || length > MESSAGE_MAX {
            return Err(CallError::Broken(format!("a message of {length} bytes, compressed: {}", prefix[0])));
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

/// The outcome of a call, where these headers tell one.
fn outcome(headers: &HeaderMap) -> Result<(), CallError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status").map(str::parse) {
        None | Some(Ok(0)) => Ok(()),
        Some(Ok(code)) => Err(CallError::Refused { code, message: unescaped(text("grpc-message").unwrap_or_default()) }),
        Some(Err(_)) => Err(CallError::Broken("an outcome that is no number".into())),
    }
}

/// `%41` as the byte that it stands for.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'%').then(|| after.get(..2)).flatten();
        let byte = escaped.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_read_from_headers_and_trailers() {
        let headers = |rows: &[(&'static str, &'static str)]| {
            rows.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect::<HeaderMap>()
        };
        assert!(outcome(&headers(&[])).is_ok() && outcome(&headers(&[("grpc-status", "0")])).is_ok());
        let refused = outcome(&headers(&[("grpc-status", "8"), ("grpc-message", "no%20space 100%")])).unwrap_err();
        assert_eq!(refused.to_string(), "no space 100% (code 8)");
        assert!(matches!(outcome(&headers(&[("grpc-status", "x")])), Err(CallError::Broken(_))));
    }

    #[test]
    fn a_message_is_framed_with_its_length() {
        struct Two;
        impl Encode for Two {
            fn encode(&self, out: &mut Out) {
                out.int(1, 2);
            }
        }
        assert_eq!(framed(&Two), [0, 0, 0, 0, 2, 8, 2][..]);
    }
}
