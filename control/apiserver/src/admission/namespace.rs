//! NamespaceLifecycle: nothing is made in a namespace that is missing or goes away, and some namespaces never go.

use async_trait::async_trait;
use schema::status::Cause;
use schema::{Status, Value};
use store::{Guard, Revision};

use super::{Admission, Operation, Plugin};

pub struct NamespaceLifecycle;

const IMMORTAL: &[&str] = &["default", "kube-system", "kube-public"];

#[async_trait]
impl Plugin for NamespaceLifecycle {
    async fn mutate(&self, request: &mut Admission<'_>, _new: &mut Value, old: Option<&Value>) -> Result<(), Status> {
        if request.operation == Operation::Create && old.is_none() && request.kind.is_namespaced() && !is_review(request) {
            check_alive(request)?;
        }
        Ok(())
    }

    async fn validate(&self, request: &mut Admission<'_>, _new: Option<&Value>, _old: Option<&Value>) -> Result<(), Status> {
        let is_delete = request.operation == Operation::Delete && request.is_object("", "namespaces");
        if is_delete && IMMORTAL.contains(&request.name) {
            return Err(request.forbidden("this namespace may not be deleted"));
        }
        Ok(())
    }
}

/// Access reviews ask about namespaces without needing them.
fn is_review(request: &Admission<'_>) -> bool {
    request.kind.group == "authorization.k8s.io"
}

/// 404 where the namespace is missing, 403 where it goes away. The commit relies on its present revision.
fn check_alive(request: &mut Admission<'_>) -> Result<(), Status> {
    let key = format!("/namespaces/{}", request.namespace);
    let item = request.core.cache.kind("/namespaces/").and_then(|namespaces| namespaces.get(&key));
    let item = item.ok_or_else(|| Status::not_found("", "namespaces", request.namespace))?;
    if item.object.meta.is_deleting() {
        let why = format!("unable to create new content in namespace {} because it is being terminated", request.namespace);
        let mut status = request.forbidden(&why);
        if let Some(details) = &mut status.details {
            let message = format!("namespace {} is being terminated", request.namespace);
            details.causes.push(Cause { reason: "NamespaceTerminating".into(), message, field: "metadata.namespace".into() });
        }
        return Err(status);
    }
    request.guards.push(Guard::At(key.into(), Revision(item.object.revision())));
    Ok(())
}
