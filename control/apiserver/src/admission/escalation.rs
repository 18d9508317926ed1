//! Escalation: nobody grants rights that they do not hold, unless a role lets them `escalate` or `bind`.

use async_trait::async_trait;
use schema::{Status, Value};

use super::{Admission, Operation, Plugin};

pub struct Escalation;

#[async_trait]
impl Plugin for Escalation {
    async fn validate(&self, request: &mut Admission<'_>, new: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
        match new {
            Some(new) if request.kind.group == auth::RBAC_GROUP && request.operation != Operation::Delete => {
                auth::rbac::escalation::check(&**request.core.authorizer(), request.user, &request.kind.resource, new, old).await
            }
            _ => Ok(()),
        }
    }
}
