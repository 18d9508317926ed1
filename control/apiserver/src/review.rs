//! Reviews: questions that are created and answered at once, never stored.

mod access;
mod identity;
mod selectors;

use client::{Body, Response, Verb};
use schema::Status;

use crate::body::{self, Expected};
use crate::core::Call;

/// The answer of a review; None: the kind is no review.
pub(crate) async fn answer(call: &mut Call<'_>, verb: Verb, body: &Body) -> Option<Result<Response, Status>> {
    let known = matches!(call.kind.group.as_ref(), "authorization.k8s.io" | "authentication.k8s.io");
    if !known || verb != Verb::Create {
        return None;
    }
    Some(review(call, body).await)
}

async fn review(call: &mut Call<'_>, body: &Body) -> Result<Response, Status> {
    let mut doc = body::document(&Expected::of(&call.kind), body, call.options, &mut call.warnings)?;
    call.pass(&mut doc).await?;
    let value = match call.kind.resource.as_ref() {
        "subjectaccessreviews" => access::subject(call, doc).await?,
        "localsubjectaccessreviews" => access::local_subject(call, doc).await?,
        "selfsubjectaccessreviews" => access::own(call, doc).await?,
        "selfsubjectrulesreviews" => access::own_rules(call, doc).await?,
        "selfsubjectreviews" => identity::own(call, doc),
        "tokenreviews" => identity::token(call, doc).await?,
        _ => return Err(Status::method_not_supported(&call.kind.group, &call.kind.resource, "create")),
    };
    Ok(Response::Value { value, code: 201 })
}
