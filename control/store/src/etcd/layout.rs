//! How keys, revisions and documents lie in etcd.
//!
//! ```text
//! /registry/pods/default/web      the document of the key /pods/default/web
//! /registry.corten/format         the format of all this; its create is revision 0
//! /registry.corten/marker         written by who must know how far the feed is
//! ```
//! A revision of ours is etcd's, counted from the create of the format key: what etcd did before is not ours.
//!
//! The revision that belongs into a document is known to etcd alone, and only at the commit. So a document lies there with
//! its hole, and where that is stands behind it in white space: any reader of JSON takes it as it is.

use std::sync::Arc;

use bytes::Bytes;

use crate::contract::{Key, Revision};
use crate::mvcc::fill_hole;

/// What upstream calls its prefix.
pub(crate) const PREFIX: &str = "/registry";
/// This build's; a higher one is refused.
pub(crate) const FORMAT: u32 = 1;

#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// Without a slash at its end.
    prefix: String,
    /// etcd's revision that is our 0.
    origin: i64,
}

impl Layout {
    pub(crate) fn new(prefix: &str, origin: i64) -> Self {
        Self { prefix: prefix.trim_end_matches('/').to_owned(), origin }
    }

    pub(crate) fn origin(&self) -> i64 {
        self.origin
    }

    pub(crate) fn stored_key(&self, key: &str) -> Bytes {
        [&self.prefix, key].concat().into()
    }

    /// None: a key that is not ours.
    pub(crate) fn key(&self, stored: &[u8]) -> Option<Key> {
        let rest = stored.strip_prefix(self.prefix.as_bytes())?;
        let text = str::from_utf8(rest).ok().filter(|text| text.starts_with('/'))?;
        Some(Arc::from(text))
    }

    pub(crate) fn format_key(&self) -> Bytes {
        format!("{}.corten/format", self.prefix).into()
    }

    pub(crate) fn marker_key(&self) -> Bytes {
        format!("{}.corten/marker", self.prefix).into()
    }

    /// Start and end of the documents.
    pub(crate) fn documents(&self) -> (Bytes, Bytes) {
        (format!("{}/", self.prefix).into(), format!("{}0", self.prefix).into())
    }

    /// Start and end of all that is ours: one interval, because '.' is followed by '/'.
    pub(crate) fn everything(&self) -> (Bytes, Bytes) {
        (format!("{}.corten/", self.prefix).into(), self.documents().1)
    }

    pub(crate) fn revision(&self, stored: i64) -> Revision {
        Revision(stored.saturating_sub(self.origin).max(0).cast_unsigned())
    }

    pub(crate) fn stored_revision(&self, revision: Revision) -> i64 {
        revision.0.cast_signed().saturating_add(self.origin)
    }

    /// The document as readers want it, in memory of its own.
    pub(crate) fn document(&self, stored: &Bytes, modified: i64) -> Bytes {
        let (document, hole) = split(stored);
        match hole {
            Some(_) => fill_hole(stored.slice(..document.len()), hole, self.revision(modified)),
            None => Bytes::copy_from_slice(document), // not a part of a message that would stay with it
        }
    }
}

/// The value of the format key.
pub(crate) fn format_text() -> Bytes {
    Bytes::from(format!("corten {FORMAT}"))
}

/// The format that a value of the format key tells; None: it is not ours.
pub(crate) fn parse_format(value: &[u8]) -> Option<u32> {
    str::from_utf8(value).ok()?.strip_prefix("corten ")?.parse().ok()
}

/// A line feed, and one blank or tabulator for each bit of the hole's place.
const TRAILER: usize = 1 + BITS;
const BITS: usize = 24;
/// Says that there is no hole, behind a value that by chance ends like one with a trailer.
const NO_HOLE: u32 = (1 << BITS) - 1;

/// The value as it lies in etcd. None: it is too large to have a place for its hole, and for etcd anyway.
pub(crate) fn stored(value: &Bytes, hole: Option<u32>) -> Option<Bytes> {
    let place = match hole {
        None if trailer(value).is_none() => return Some(value.clone()),
        None => NO_HOLE,
        Some(at) if at < NO_HOLE => at,
        Some(_) => return None,
    };
    let mut there = Vec::with_capacity(value.len() + TRAILER);
    there.extend_from_slice(value);
    there.push(b'\n');
    there.extend((0..BITS).rev().map(|bit| if place >> bit & 1 == 1 { b'\t' } else { b' ' }));
    Some(there.into())
}

/// The value without its trailer, and where its hole is.
fn split(stored: &[u8]) -> (&[u8], Option<u32>) {
    match trailer(stored) {
        Some((value, NO_HOLE)) => (value, None),
        Some((value, at)) if at as usize <= value.len() => (value, Some(at)),
        _ => (stored, None),
    }
}

fn trailer(stored: &[u8]) -> Option<(&[u8], u32)> {
    let (value, trailer) = stored.split_at_checked(stored.len().checked_sub(TRAILER)?)?;
    let bits = trailer.strip_prefix(b"\n")?;
    let place = bits.iter().try_fold(0, |place: u32, byte| match byte {
        b'\t' => Some(place << 1 | 1),
        b' ' => Some(place << 1),
        _ => None,
    })?;
    Some((value, place))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_and_revisions_go_there_and_back() {
        let layout = Layout::new("/registry/", 7);
        assert_eq!(layout.stored_key("/pods/default/web"), "/registry/pods/default/web");
        assert_eq!(layout.key(b"/registry/pods/default/web").as_deref(), Some("/pods/default/web"));
        assert_eq!((layout.key(b"/registry.corten/format"), layout.key(b"/other/a")), (None, None));
        assert_eq!((layout.revision(9), layout.stored_revision(Revision(2))), (Revision(2), 9));
        let (start, end) = layout.everything();
        let ours = [layout.format_key(), layout.marker_key(), layout.stored_key("/a"), layout.stored_key("/\u{10ffff}")];
        assert!(ours.iter().all(|key| start <= *key && *key < end));
    }

    #[test]
    fn a_document_stays_json_and_its_hole_is_found_again() {
        let layout = Layout::new(PREFIX, 2);
        let document = Bytes::from_static(b"{\"metadata\":{\"resourceVersion\":\"\"}}");
        let there = stored(&document, Some(32)).unwrap();
        assert!(there.starts_with(&document) && there[document.len()..].iter().all(u8::is_ascii_whitespace));
        assert_eq!(layout.document(&there, 44), "{\"metadata\":{\"resourceVersion\":\"42\"}}");
        assert_eq!(layout.document(&document, 44), document, "what others wrote is taken as it is");
        assert_eq!(stored(&document, Some(NO_HOLE)), None);
    }

    #[test]
    fn only_our_formats_are_formats() {
        assert_eq!(parse_format(&format_text()), Some(FORMAT));
        assert_eq!((parse_format(b"corten 12"), parse_format(b"corten"), parse_format(b"\xff")), (Some(12), None, None));
    }

    proptest! {
        #[test]
        fn every_value_comes_back(value in "[ \t\n]{0,60}|[a-z \t\n]{0,60}", hole in prop::option::of(0..30u32)) {
            let value = Bytes::from(value);
            let hole = hole.map(|at| at.min(value.len() as u32));
            let there = stored(&value, hole).unwrap();
            prop_assert_eq!(split(&there), (&value[..], hole));
            let again = stored(&there, None).unwrap();
            prop_assert_eq!(split(&again), (&there[..], None));
        }
    }
}
