//! The documents of a request as a hook sees them: in the version that it knows; a create without what the server makes
//! later, because upstream's order is so.

use std::borrow::Cow;

use schema::{DocExt, Status, Value};

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
    pub(in crate::admission) async fn of(
        request: &Admission<'_>,
        place: &Place,
        new: Option<&'a Value>,
        old: Option<&'a Value>,
    ) -> Result<Self, Status> {
        let [mut shown, mut before] = [None, None];
        if let Some(doc) = new {
            shown = Some(converted(request, place, Cow::Borrowed(doc)).await?);
        }
        if let Some(doc) = old {
            before = Some(converted(request, place, Cow::Borrowed(doc)).await?);
        }
        Ok(Self { new: shown, old: before })
    }

    /// For a webhook that mutates.
    pub(in crate::admission) async fn unstamped(
        request: &Admission<'_>,
        place: &Place,
        new: Option<&'a Value>,
        old: Option<&'a Value>,
    ) -> Result<Self, Status> {
        let created = request.operation == Operation::Create && request.subresource.is_empty();
        let Some(doc) = new.filter(|_| created) else { return Self::of(request, place, new, old).await };
        let mut plain = doc.clone();
        let metadata = meta::of(&mut plain);
        STAMPS.iter().for_each(|stamp| drop(metadata.remove(*stamp)));
        if request.generated {
            metadata.remove("name");
        }
        Ok(Self { new: Some(converted(request, place, Cow::Owned(plain)).await?), old: None })
    }
}

async fn converted<'a>(request: &Admission<'_>, place: &Place, doc: Cow<'a, Value>) -> Result<Cow<'a, Value>, Status> {
    let Some(kind) = &place.converted else { return Ok(doc) };
    let stored = request.core.registry().table().stored_as(&request.kind);
    convert::between(&request.core.cache, &request.kind, kind, &stored, doc.into_owned()).await.map(Cow::Owned)
}

/// What a hook made, in the version of the request.
pub(in crate::admission) async fn back(request: &Admission<'_>, place: &Place, doc: Value) -> Result<Value, Status> {
    let Some(kind) = &place.converted else { return Ok(doc) };
    let stored = request.core.registry().table().stored_as(kind);
    convert::between(&request.core.cache, kind, &request.kind, &stored, doc).await
}

/// The name in the request: a created object may have none yet.
pub(super) fn name<'a>(request: &Admission<'a>, new: Option<&Value>) -> &'a str {
    let unnamed = request.generated && new.is_some_and(|doc| doc.str_at("metadata.name").is_empty());
    if unnamed { "" } else { request.name }
}
