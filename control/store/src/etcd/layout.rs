//! How keys, revisions and documents lie in etcd.
//!
//! ```text
//! /registry/pods/default/web      the document of the key /pods/default/web
//! /registry/minions/one           that of /nodes/one: folders may have another name there (folders.rs)
//! /registry.corten/format         the format of all this; its create is revision 0
//! /registry.corten/marker         written by who must know how far the feed is
//! ```
//! A revision of ours is etcd's, counted from the create of the format key: what etcd did before is not ours.
//!
//! The revision that belongs into a document is known to etcd alone, and only at the commit. So a document lies there with
//! its hole (`hole.rs`).

use std::sync::Arc;

use bytes::Bytes;

use super::folders::Folders;
use crate::contract::{Key, Revision};
use crate::hole;

/// What upstream calls its prefix.
pub(crate) const PREFIX: &str = "/registry";
/// This build's; a higher one is refused.
pub(crate) const FORMAT: u32 = 2;
/// The first one in which folders have other names; what is older stays as it is.
const RENAMES_SINCE: u32 = 2;

#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// Without a slash at its end.
    prefix: String,
    /// etcd's revision that is our 0.
    origin: i64,
    folders: Folders,
}

impl Layout {
    pub(crate) fn new(prefix: &str, origin: i64) -> Self {
        Self { prefix: prefix.trim_end_matches('/').to_owned(), origin, folders: Folders::default() }
    }

    /// With the folders called as `pairs` say, unless the data is of a `format` that had none of this.
    pub(crate) fn with_folders(self, pairs: &[(String, String)], format: u32) -> Self {
        if format < RENAMES_SINCE { self } else { Self { folders: Folders::new(pairs), ..self } }
    }

    pub(crate) fn origin(&self) -> i64 {
        self.origin
    }

    pub(crate) fn stored_key(&self, key: &str) -> Bytes {
        [&self.prefix, self.folders.there(key).as_str()].concat().into()
    }

    /// None: a key that is not ours.
    pub(crate) fn key(&self, stored: &[u8]) -> Option<Key> {
        let rest = stored.strip_prefix(self.prefix.as_bytes())?;
        let text = str::from_utf8(rest).ok().filter(|text| text.starts_with('/'))?;
        Some(Arc::from(self.folders.back(text)))
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
        hole::disclose(stored, self.revision(modified))
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

#[cfg(test)]
mod tests {
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
    fn only_our_formats_are_formats() {
        assert_eq!(parse_format(&format_text()), Some(FORMAT));
        assert_eq!((parse_format(b"corten 12"), parse_format(b"corten"), parse_format(b"\xff")), (Some(12), None, None));
    }
}
