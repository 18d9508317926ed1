//! Answers: a body that is bytes, a concatenation of shared bytes, or a stream; the headers that every answer has.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::Stream;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY, WARNING};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use schema::{Status, go};
use serde::Serialize;

use super::negotiate::{self, Encoding};

/// Bytes put into one frame: an h2 frame of the usual maximum.
const FRAME: usize = 16 << 10;
/// Answers below this are not worth compressing.
const GZIP_MIN: u64 = 128 << 10;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>;
pub type Answer = Response<Body>;

/// The body of an answer.
pub enum Body {
    Bytes(Bytes),
    /// Many pieces, most of them shared with the cache; copied together frame by frame as the client reads.
    Pieces {
        pieces: VecDeque<Bytes>,
        length: u64,
    },
    Gzip(Box<Gzip>),
    Stream(ByteStream),
}

/// Compresses as the client reads.
pub struct Gzip {
    source: Body,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Body {
    pub fn empty() -> Self {
        Self::Bytes(Bytes::new())
    }

    pub fn pieces(pieces: VecDeque<Bytes>) -> Self {
        let length = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self::Pieces { pieces, length }
    }

    pub fn stream(stream: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static) -> Self {
        Self::Stream(Box::pin(stream))
    }

    /// A stream that cannot fail.
    pub fn infallible(stream: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static) -> Self {
        use futures::StreamExt;
        Self::stream(stream.map(|item| item.map_err(|never| match never {})))
    }

    /// Whether it is made while the client reads, for as long as that takes.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// All of it, where it is here already.
    pub(super) fn whole(&self) -> Option<Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes.clone()),
            Self::Pieces { pieces, length } => {
                let mut whole = BytesMut::with_capacity(usize::try_from(*length).unwrap_or_default());
                pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
                Some(whole.freeze())
            }
            Self::Gzip(_) | Self::Stream(_) => None,
        }
    }

    /// A stream that lets `guard` go when it ends or is given up; of another body it goes at once.
    pub(super) fn until_end(self, guard: impl Send + 'static) -> Self {
        use futures::StreamExt;
        match self {
            Self::Stream(stream) => Self::stream(stream.map(move |item| {
                let _held = &guard;
                item
            })),
            other => other,
        }
    }

    /// None where it is not known beforehand.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::Pieces { length, .. } => Some(*length),
            Self::Gzip(_) | Self::Stream(_) => None,
        }
    }

    /// The next frame of a body that is all here.
    fn ready(&mut self) -> Option<Bytes> {
        match self {
            Self::Bytes(bytes) if bytes.is_empty() => None,
            Self::Bytes(bytes) => Some(std::mem::take(bytes)),
            Self::Pieces { pieces, length } => next_frame(pieces).inspect(|frame| *length -= frame.len() as u64),
            Self::Gzip(gzip) => gzip.next(),
            Self::Stream(_) => None,
        }
    }
}

/// One large piece as it is, or small ones copied together.
fn next_frame(pieces: &mut VecDeque<Bytes>) -> Option<Bytes> {
    let first = pieces.front_mut()?;
    if first.len() >= FRAME {
        let frame = first.split_to(FRAME);
        if first.is_empty() {
            pieces.pop_front();
        }
        return Some(frame);
    }
    let mut frame = BytesMut::with_capacity(FRAME);
    while let Some(piece) = pieces.front_mut() {
        let room = FRAME - frame.len();
        if piece.len() > room {
            frame.extend_from_slice(&piece.split_to(room));
            break;
        }
        frame.extend_from_slice(piece);
        pieces.pop_front();
        if frame.len() == FRAME {
            break;
        }
    }
    (!frame.is_empty()).then(|| frame.freeze())
}

impl Gzip {
    fn next(&mut self) -> Option<Bytes> {
        loop {
            let encoder = self.encoder.as_mut()?;
            if encoder.get_ref().len() >= FRAME {
                return Some(std::mem::take(encoder.get_mut()).into());
            }
            match self.source.ready() {
                Some(bytes) => encoder.write_all(&bytes).expect("a Vec takes everything"),
                None => {
                    let rest = self.encoder.take().map(|encoder| encoder.finish().expect("a Vec takes everything"));
                    return rest.filter(|rest| !rest.is_empty()).map(Bytes::from);
                }
            }
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Stream(stream) => stream.as_mut().poll_next(cx).map(|item| item.map(|bytes| bytes.map(Frame::data))),
            body => Poll::Ready(body.ready().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.length() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// An answer with a content type and what every answer has.
pub fn answer(code: u16, content_type: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    answer
}

/// Text that is no API document.
pub fn text(code: u16, text: impl Into<Bytes>) -> Answer {
    let mut answer = answer(code, "text/plain; charset=utf-8", Body::Bytes(text.into()));
    answer.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    answer
}

/// What Go's mux says of a path that it does not know.
pub fn not_found() -> Answer {
    text(404, "404 page not found\n")
}

/// A document in the encoding asked for; protobuf only where the caller has encoded it.
pub fn document(code: u16, value: &impl Serialize, encoding: Encoding) -> Answer {
    match encoding {
        Encoding::Yaml => answer(code, negotiate::YAML, Body::Bytes(yaml(value).into())),
        Encoding::Json { pretty: true } => answer(code, negotiate::JSON, Body::Bytes(pretty(value).into())),
        _ => answer(code, negotiate::JSON, Body::Bytes(compact(value).into())),
    }
}

/// One line, as Go's encoder ends it.
pub fn compact(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    go::escape(&mut line, 0);
    line.push(b'\n');
    line
}

pub fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    go::escape(&mut text, 0);
    text
}

/// Compact JSON in the layout of [`pretty`], its members in the order that they have; nothing is decoded, since a list as a
/// tree of values takes many times the memory of its bytes.
pub fn indented<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut depth, mut in_string, mut escaped, mut opened) = (0_usize, false, false, false);
    let new_line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + 2 * depth, b' ');
    };
    for byte in pieces.flatten().copied() {
        if in_string {
            out.push(byte);
            in_string = escaped || byte != b'"';
            escaped = byte == b'\\' && !escaped;
            continue;
        }
        let closes = matches!(byte, b'}' | b']');
        depth -= usize::from(closes);
        // An empty object or list stays on its line.
        if opened != closes {
            new_line(&mut out, depth);
        }
        out.push(byte);
        opened = matches!(byte, b'{' | b'[');
        depth += usize::from(opened);
        in_string = byte == b'"';
        match byte {
            b',' => new_line(&mut out, depth),
            b':' => out.push(b' '),
            _ => {}
        }
    }
    out
}

/// In the form that `kubectl get -o yaml` has.
pub fn yaml(value: &impl Serialize) -> String {
    serde_json::to_value(value).map(|value| schema::yaml::to_string(&value)).unwrap_or_default()
}

/// A failure, in the encoding asked for.
pub fn failure(status: &Status, encoding: Encoding) -> Answer {
    let value = status.to_value();
    let ty = schema::Facts::builtin().kind("v1", "Status");
    let mut answer = match (encoding, ty) {
        (Encoding::Protobuf, Some(ty)) => {
            answer(status.code, negotiate::PROTOBUF, Body::Bytes(schema::protobuf::encode_document(ty, &value).into()))
        }
        _ => document(status.code, &value, encoding),
    };
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if seconds > 0 {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

/// Adds a `Warning: 299 - "text"` for each text.
pub fn warn(answer: &mut Answer, warnings: &[String]) {
    let mut told: Vec<&String> = Vec::new();
    for text in warnings {
        if told.contains(&text) {
            continue;
        }
        told.push(text);
        let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let quoted = format!("299 - \"{}\"", clean.replace('\\', "\\\\").replace('"', "\\\""));
        if let Ok(value) = HeaderValue::from_bytes(quoted.as_bytes()) {
            answer.headers_mut().append(WARNING, value);
        }
    }
}

/// Compresses a large answer where the client can read that.
pub fn compress(answer: Answer, asked: &HeaderMap) -> Answer {
    let wants = asked.get(http::header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).is_some_and(accepts_gzip);
    let large = answer.body().length().is_some_and(|length| length > GZIP_MIN);
    if !wants || !large || answer.headers().contains_key(CONTENT_ENCODING) {
        return answer;
    }
    let (mut parts, source) = answer.into_parts();
    parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    let encoder = Some(GzEncoder::new(Vec::with_capacity(FRAME * 2), Compression::new(1)));
    Response::from_parts(parts, Body::Gzip(Box::new(Gzip { source, encoder })))
}

fn accepts_gzip(header: &str) -> bool {
    header.split(',').any(|clause| {
        let (name, rest) = clause.split_once(';').unwrap_or((clause, ""));
        name.trim().eq_ignore_ascii_case("gzip") && !rest.trim().starts_with("q=0")
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use schema::json;

    use super::*;

    fn drain(mut body: Body) -> (Vec<u8>, usize) {
        let (mut all, mut frames) = (Vec::new(), 0);
        while let Some(frame) = body.ready() {
            assert!(frame.len() <= 2 * FRAME + 64);
            all.extend_from_slice(&frame);
            frames += 1;
        }
        (all, frames)
    }

    #[test]
    fn pieces_are_copied_into_full_frames() {
        let pieces: VecDeque<Bytes> = [100, FRAME, 5, 3 * FRAME, 1].iter().map(|size| Bytes::from(vec![b'x'; *size])).collect();
        let total: usize = pieces.iter().map(Bytes::len).sum();
        let (all, frames) = drain(Body::pieces(pieces));
        assert_eq!((all.len(), frames), (total, total.div_ceil(FRAME)));
    }

    #[test]
    fn large_answers_are_compressed_for_who_can_read_it() {
        let large =
            || answer(200, negotiate::JSON, Body::pieces((0..200).map(|i| Bytes::from(vec![b'a' + (i % 20) as u8; 1000])).collect()));
        let plain = drain(compress(large(), &HeaderMap::new()).into_body()).0;
        let asked: HeaderMap = [(http::header::ACCEPT_ENCODING, "br, gzip".parse().unwrap())].into_iter().collect();
        let packed = compress(large(), &asked);
        assert_eq!(packed.headers()[CONTENT_ENCODING], "gzip");
        let packed = drain(packed.into_body()).0;
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, plain);
        assert!(compress(answer(200, negotiate::JSON, Body::Bytes("small".into())), &asked).headers().get(CONTENT_ENCODING).is_none());
    }

    #[test]
    fn warnings_are_quoted_and_told_once() {
        let mut told = text(200, "");
        warn(&mut told, &["a \"b\"\n".into(), "a \"b\"\n".into()]);
        let values: Vec<_> = told.headers().get_all(WARNING).iter().collect();
        assert_eq!(values, ["299 - \"a \\\"b\\\" \""]);
    }

    #[test]
    fn indenting_bytes_lays_them_out_as_encoding_values_does() {
        let rows = [
            json!({}),
            json!([]),
            json!([[], {}, [{}], "", 1, null, true]),
            json!({"a": {"b": [1, {"c": "x,y:{z}[\"\\"}], "d": {}}, "e\n": "\\\"", "f": "\\"}),
            json!({"items": [{"metadata": {"labels": {"a": "b"}}}, {"spec": []}]}),
        ];
        for value in rows {
            let compact = serde_json::to_vec(&value).unwrap();
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            assert_eq!(text(indented(compact.chunks(3))), text(pretty(&value)));
        }
    }
}
