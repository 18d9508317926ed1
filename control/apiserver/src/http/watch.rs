//! A watch's body: what a cursor tells, as JSON lines or protobuf frames, everything that is there at once in one piece.
//!
//! The form of an event that many watchers want alike is made once and shared, and so is a frame of several events.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use client::object::Budget;
use client::{Object, WatchKind};
use env::Env;
use futures::Stream;
use schema::{Facts, Status, json, protobuf};

use super::answer::BoxError;
use super::negotiate::{Encoding, Shape, Wanted};
use super::shape::{Include, Shaper};
use crate::cache::cursor::Told;
use crate::cache::signal::Form;
use crate::{Cursor, Delivery, Step};

/// One watcher.
struct Watcher {
    cursor: Cursor,
    teller: Teller,
    ended: bool,
}

/// Makes the bytes that one watcher is told.
struct Teller {
    /// Its media type is empty where the watcher shares its form with nobody: tables tell ages.
    form: Form,
    env: Env,
    wanted: Wanted,
    include: Include,
    kept: Arc<Budget>,
    /// The first Table names the columns.
    columns_told: bool,
}

/// The stream of a watch. It ends after an ERROR event, or when the cursor ends.
pub fn stream(cursor: Cursor, wanted: Wanted, include: Include, kept: Arc<Budget>) -> impl Stream<Item = Result<Bytes, BoxError>> + Send {
    let form = Form { media: shared_media(wanted).unwrap_or_default(), kind: Arc::clone(cursor.kind()) };
    let teller = Teller { form, env: cursor.env().clone(), wanted, include, kept, columns_told: false };
    let watcher = Watcher { cursor, teller, ended: false };
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
        let Self { cursor, teller, .. } = self;
        let told = if teller.shares() && !cursor.converts() {
            cursor.next_frame(&teller.form, |events| teller.shared_events(events)).await
        } else {
            cursor.next().await.map(Told::Step)
        };
        let frame = match told {
            Ok(Told::Step(Step::End)) => return None,
            Ok(Told::Frame(bytes)) => Ok(bytes),
            Ok(Told::Step(Step::Events(events))) => teller.events(&events),
            Ok(Told::Step(Step::Bookmark { revision, initial_events_end })) => teller.bookmark(revision, initial_events_end),
            Err(status) => Err(status),
        };
        Some(frame.unwrap_or_else(|status| {
            self.ended = true;
            error_frame(&status, self.teller.wanted)
        }))
    }
}

/// The name of the form that watchers share with others, where they do.
fn shared_media(wanted: Wanted) -> Option<&'static str> {
    match (wanted.encoding, wanted.shape) {
        (Encoding::Protobuf, Shape::Plain) => Some("protobuf"),
        (Encoding::Protobuf, Shape::Partial(_) | Shape::PartialList(_)) => Some("protobuf;as=partial"),
        (_, Shape::Plain) => Some("json"),
        (_, Shape::Partial("v1") | Shape::PartialList("v1")) => Some("json;as=partial"),
        _ => None,
    }
}

impl Teller {
    fn shares(&self) -> bool {
        !self.form.media.is_empty()
    }

    /// Of a form that is shared.
    fn shared_events(&self, events: &[Delivery]) -> Result<Bytes, Status> {
        if let [event] = events {
            return self.shared_event(event);
        }
        let mut frame = BytesMut::with_capacity(16 << 10);
        for event in events {
            match self.wanted {
                // The usual case needs no form of its own: the stored bytes go straight into the frame.
                Wanted { encoding: Encoding::Json { .. }, shape: Shape::Plain } => {
                    line(&mut frame, event.kind, &event.object(&self.form.kind)?.raw)
                }
                _ => frame.extend_from_slice(&self.shared_event(event)?),
            }
        }
        Ok(frame.freeze())
    }

    fn shared_event(&self, event: &Delivery) -> Result<Bytes, Status> {
        event.form(&self.form, || self.encode(event.kind, &event.object(&self.form.kind)?, false))
    }

    fn events(&mut self, events: &[Delivery]) -> Result<Bytes, Status> {
        if self.shares() {
            return self.shared_events(events);
        }
        let mut frame = BytesMut::with_capacity(16 << 10);
        for event in events {
            let first = self.is_first_table();
            frame.extend_from_slice(&self.encode(event.kind, &event.object(&self.form.kind)?, first)?);
        }
        Ok(frame.freeze())
    }

    fn is_first_table(&mut self) -> bool {
        matches!(self.wanted.shape, Shape::Table(_)) && !std::mem::replace(&mut self.columns_told, true)
    }

    fn encode(&self, kind: WatchKind, object: &Arc<Object>, first: bool) -> Result<Bytes, Status> {
        if self.wanted.encoding == Encoding::Protobuf {
            return Ok(protobuf::watch_frame(word(kind), &self.shaper().event_protobuf(object)?).into());
        }
        let json = self.shaper().event_json(object, first)?;
        let mut frame = BytesMut::with_capacity(json.len() + 40);
        line(&mut frame, kind, &json);
        Ok(frame.freeze())
    }

    fn bookmark(&mut self, revision: u64, initial_events_end: bool) -> Result<Bytes, Status> {
        let object = self.shaper().bookmark(revision, initial_events_end)?;
        let first = self.is_first_table();
        self.encode(WatchKind::Bookmark, &object, first)
    }

    fn shaper(&self) -> Shaper<'_> {
        Shaper { kind: &self.form.kind, env: &self.env, wanted: self.wanted, include: self.include, kept: &self.kept }
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
