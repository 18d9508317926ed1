//! `namespaces/finalize`: the namespace controller takes its finalizer out of `spec`; the last one lets the namespace go.

use client::{Body, Response};
use schema::{DocExt, Status};

use crate::body::{self, Expected};
use crate::core::Call;
use crate::write;

pub(super) async fn finalize(call: &mut Call<'_>, body: &Body) -> Result<Response, Status> {
    let asked = body::document(&Expected::of(&call.kind), body, call.options, &mut call.warnings)?;
    let object = write::modify(call, |old, _| {
        let mut new = asked.clone();
        new.set_at("status", old.at("status").cloned().unwrap_or_default());
        Ok(new)
    });
    Ok(Response::Object { object: object.await?, created: false })
}
