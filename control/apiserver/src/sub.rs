//! What is not simply stored: subresources with a body of their own, bindings and reviews.

mod binding;
mod eviction;
mod finalize;
mod scale;
mod token;

use client::{Body, Response, Verb};
use kinds::Subresource;
use schema::Status;

pub(crate) use self::scale::{of as scale_of, set_replicas as set_scale};
use crate::core::Call;

/// The answer of a subresource (or of `bindings`) that has a room here; None: the generic path answers.
pub(crate) async fn answer(call: &mut Call<'_>, verb: Verb, subresource: &Subresource, body: &Body) -> Option<Result<Response, Status>> {
    let place = (call.kind.group.to_string(), call.kind.resource.to_string());
    let answer = match (place.0.as_str(), place.1.as_str(), subresource.name.as_ref()) {
        (_, _, "scale") => scale::answer(call, verb, body).await,
        ("", "pods", "binding") => binding::bind(call, body).await,
        ("", "pods", "eviction") => eviction::evict(call, body).await,
        ("", "serviceaccounts", "token") => token::issue(call, body).await,
        ("", "namespaces", "finalize") => finalize::finalize(call, body).await,
        _ if subresource.kind.is_none() => return None,
        (_, resource, name) => {
            let why = format!("{resource}/{name} is a connection, not a document: it is served over HTTP only");
            Err(Status::bad_request(why))
        }
    };
    Some(answer)
}

/// `POST /api/v1/namespaces/x/bindings`: the same as `pods/binding`, with the pod's name in the body.
pub(crate) async fn bind(call: &mut Call<'_>, body: &Body) -> Result<Response, Status> {
    binding::bind_named(call, body).await
}
