//! `pods/eviction`: a delete that asks first. Disruption budgets have their place in [`allowed`]; nothing counts them yet.

use client::{Body, Response};
use schema::{DocExt, Status, Value, json};

use crate::body::{self, Expected};
use crate::core::Call;
use crate::write;

pub(super) async fn evict(call: &mut Call<'_>, body: &Body) -> Result<Response, Status> {
    let mut eviction = body::document(&Expected::option("policy/v1", "Eviction")?, body, call.options, &mut call.warnings)?;
    let name = eviction.str_at("metadata.name");
    if !name.is_empty() && name != call.target.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    call.pass(&mut eviction).await?;
    allowed(call, &eviction)?;
    let options = write::overlaid(call.options, eviction.at("deleteOptions").unwrap_or(&Value::Null))?;
    write::delete_whole(call, &options).await?;
    let value = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(Response::Value { value, code: 201 })
}

/// 429 where a disruption budget would be violated: comes with the budget's controller.
fn allowed(_call: &Call<'_>, _eviction: &Value) -> Result<(), Status> {
    Ok(())
}
