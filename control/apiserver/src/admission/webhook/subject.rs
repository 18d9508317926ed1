//! The documents of a request as a hook sees them: in the version that it knows; a create without what the server makes
//! later, because upstream's order is so.

use std::borrow::Cow;

use schema::{DocExt, Value};

use super::rules::Place;
use crate::admission::{Admission, Operation};
use crate::{convert, meta};

/// What goes into a review.
pub(in crate::admission) struct Subject<'a> {
    /// None for a delete.
    pub new: Option<Cow<'a, Value>>,
    /// None for a create or a connection.
    pub old: Option<Cow<'a, Value>>,
}

/// Members of `metadata` that a created object gets after mutating webhooks have seen it.
pub(super) const STAMPS: [&str; 3] = ["uid", "creationTimestamp", "generation"];

impl<'a> Subject<'a> {
    /// For a webhook that validates: everything is there.
    pub(in crate::admission) fn of(request: &Admission<'_>, place: &Place, new: Option<&'a Value>, old: Option<&'a Value>) -> Self {
        let shown = |doc: &'a Value| converted(request, place, Cow::Borrowed(doc));
        Self { new: new.map(shown), old: old.map(shown) }
    }

    /// For a webhook that mutates.
    pub(in crate::admission) fn unstamped(request: &Admission<'_>, place: &Place, new: Option<&'a Value>, old: Option<&'a Value>) -> Self {
        let created = request.operation == Operation::Create && request.subresource.is_empty();
        let Some(doc) = new.filter(|_| created) else { return Self::of(request, place, new, old) };
        let mut plain = doc.clone();
        let metadata = meta::of(&mut plain);
        STAMPS.iter().for_each(|stamp| drop(metadata.remove(*stamp)));
        if request.generated {
            metadata.remove("name");
        }
        Self { new: Some(converted(request, place, Cow::Owned(plain))), old: None }
    }
}

fn converted<'a>(request: &Admission<'_>, place: &Place, doc: Cow<'a, Value>) -> Cow<'a, Value> {
    let Some(kind) = &place.converted else { return doc };
    let stored = request.core.registry().table().stored_as(&request.kind);
    Cow::Owned(convert::from_stored(kind, convert::to_stored(&request.kind, &stored, doc.into_owned())))
}

/// What a hook made, in the version of the request.
pub(in crate::admission) fn back(request: &Admission<'_>, place: &Place, doc: Value) -> Value {
    let Some(kind) = &place.converted else { return doc };
    let stored = request.core.registry().table().stored_as(kind);
    convert::from_stored(&request.kind, convert::to_stored(kind, &stored, doc))
}

/// The name in the request: a created object may have none yet.
pub(super) fn name<'a>(request: &Admission<'a>, new: Option<&Value>) -> &'a str {
    let unnamed = request.generated && new.is_some_and(|doc| doc.str_at("metadata.name").is_empty());
    if unnamed { "" } else { request.name }
}
