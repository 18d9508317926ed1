//! A watch's body: what a cursor tells, as JSON lines or protobuf frames, everything that is there at once in one piece.
//!
//! The form of an event that many watchers want alike is made once and shared; here bytes are only copied together.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use client::object::Budget;
use client::{Object, WatchKind};
use env::Env;
use futures::Stream;
use kinds::KindRef;
use schema::{Facts, Status, json, protobuf};

use super::answer::BoxError;
use super::negotiate::{Encoding, Shape, Wanted};
use super::shape::{Include, Shaper};
use crate::{Cursor, Delivery, Step};

/// One watcher.
struct Watcher {
    cursor: Cursor,
    kind: KindRef,
    env: Env,
    wanted: Wanted,
    include: Include,
    kept: Arc<Budget>,
    /// The first Table names the columns.
    columns_told: bool,
    ended: bool,
}

/// The stream of a watch. It ends after an ERROR event, or when the cursor ends.
pub fn stream(cursor: Cursor, wanted: Wanted, include: Include, kept: Arc<Budget>) -> impl Stream<Item = Result<Bytes, BoxError>> + Send {
    let (kind, env) = (cursor.kind().clone(), cursor.env().clone());
    let watcher = Watcher { cursor, kind, env, wanted, include, kept, columns_told: false, ended: false };
    futures::stream::unfold(watcher, |mut watcher| async move {
        let bytes = watcher.next().await?;
        Some((Ok(bytes), watcher))
    })
}

/// The stream of a watch that failed before it began: one ERROR event.
pub fn failed(status: &Status, wanted: Wanted) -> Bytes {
    error_frame(status, wanted)
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let frame = match self.cursor.next().await {
            Ok(Step::End) => return None,
            Ok(Step::Events(events)) => self.events(&events),
            Ok(Step::Bookmark { revision, initial_events_end }) => self.bookmark(revision, initial_events_end),
            Err(status) => Err(status),
        };
        Some(frame.unwrap_or_else(|status| {
            self.ended = true;
            error_frame(&status, self.wanted)
        }))
    }

    fn events(&mut self, events: &[Delivery]) -> Result<Bytes, Status> {
        if let [event] = events {
            return self.event(event);
        }
        let mut frame = BytesMut::with_capacity(16 << 10);
        for event in events {
            match self.wanted {
                // The usual case needs no form of its own: the stored bytes go straight into the frame.
                Wanted { encoding: Encoding::Json { .. }, shape: Shape::Plain } => {
                    line(&mut frame, event.kind, &event.object(&self.kind)?.raw)
                }
                _ => frame.extend_from_slice(&self.event(event)?),
            }
        }
        Ok(frame.freeze())
    }

    /// One event in its form.
    fn event(&mut self, event: &Delivery) -> Result<Bytes, Status> {
        let first_table = matches!(self.wanted.shape, Shape::Table(_)) && !std::mem::replace(&mut self.columns_told, true);
        let object = event.object(&self.kind)?;
        match self.form() {
            // Only rows without their cells' ages could be shared, and the first one is another form.
            Some(name) if !first_table => {
                let mut fault = None;
                let bytes = event.form(name, &self.kind.version, || {
                    self.encode(event.kind, &object, false).unwrap_or_else(|status| {
                        fault = Some(status);
                        Bytes::new()
                    })
                });
                fault.map_or(Ok(bytes), Err)
            }
            _ => self.encode(event.kind, &object, first_table),
        }
    }

    /// The name of the form that this watcher shares with others; tables are not shared, they tell ages.
    fn form(&self) -> Option<&'static str> {
        match (self.wanted.encoding, self.wanted.shape) {
            (Encoding::Protobuf, Shape::Plain) => Some("protobuf"),
            (Encoding::Protobuf, Shape::Partial(_) | Shape::PartialList(_)) => Some("protobuf;as=partial"),
            (_, Shape::Plain) => Some("json"),
            (_, Shape::Partial("v1") | Shape::PartialList("v1")) => Some("json;as=partial"),
            _ => None,
        }
    }

    fn encode(&self, kind: WatchKind, object: &Arc<Object>, first: bool) -> Result<Bytes, Status> {
        let shaper = Shaper { kind: &self.kind, env: &self.env, wanted: self.wanted, include: self.include, kept: &self.kept };
        if self.wanted.encoding == Encoding::Protobuf {
            return Ok(protobuf::watch_frame(word(kind), &shaper.event_protobuf(object)?).into());
        }
        let json = shaper.event_json(object, first)?;
        let mut frame = BytesMut::with_capacity(json.len() + 40);
        line(&mut frame, kind, &json);
        Ok(frame.freeze())
    }

    fn bookmark(&mut self, revision: u64, initial_events_end: bool) -> Result<Bytes, Status> {
        let shaper = Shaper { kind: &self.kind, env: &self.env, wanted: self.wanted, include: self.include, kept: &self.kept };
        let object = shaper.bookmark(revision, initial_events_end)?;
        let first = matches!(self.wanted.shape, Shape::Table(_)) && !std::mem::replace(&mut self.columns_told, true);
        self.encode(WatchKind::Bookmark, &object, first)
    }
}

fn word(kind: WatchKind) -> &'static str {
    match kind {
        WatchKind::Added => "ADDED",
        WatchKind::Modified => "MODIFIED",
        WatchKind::Deleted => "DELETED",
        WatchKind::Bookmark => "BOOKMARK",
    }
}

/// `{"type":"ADDED","object":…}` and a newline.
fn line(frame: &mut BytesMut, kind: WatchKind, object: &[u8]) {
    frame.put_slice(b"{\"type\":\"");
    frame.put_slice(word(kind).as_bytes());
    frame.put_slice(b"\",\"object\":");
    frame.put_slice(object);
    frame.put_slice(b"}\n");
}

fn error_frame(status: &Status, wanted: Wanted) -> Bytes {
    let value = status.to_value();
    match (wanted.encoding, Facts::builtin().kind("v1", "Status")) {
        (Encoding::Protobuf, Some(ty)) => protobuf::watch_frame("ERROR", &protobuf::encode_document(ty, &value)).into(),
        _ => format!("{}\n", json!({"type": "ERROR", "object": value})).into(),
    }
}
