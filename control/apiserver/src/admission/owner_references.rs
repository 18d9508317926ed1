//! OwnerReferencesPermissionEnforcement: who makes an object somebody's, makes it deletable by that somebody's end; so he must be
//! allowed to delete it himself. Who makes an owner wait for it must be allowed to change the owner's finalizers.
//!
//! Off unless the configuration asks for it, as upstream: many operators do not have these rights.

use async_trait::async_trait;
use auth::{Attributes, Decision};
use schema::{DocExt, Status, Value};

use super::{Admission, Operation, Plugin};

pub struct OwnerReferences;

#[async_trait]
impl Plugin for OwnerReferences {
    async fn validate(&self, request: &mut Admission<'_>, new: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
        let Some(new) = new.filter(|_| matches!(request.operation, Operation::Create | Operation::Update)) else { return Ok(()) };
        let is_pod_status = request.is("", "pods") && request.subresource == "status"; // kubelets of old sent them torn
        if !request.core.config.owner_references_enforced || is_pod_status || owners(new) == old.map(owners).unwrap_or_default() {
            return Ok(());
        }
        may_delete(request).await?;
        for owner in blocking_since(new, old) {
            may_finalize(request, owner).await?;
        }
        Ok(())
    }
}

fn owners(doc: &Value) -> &[Value] {
    doc.items_at("metadata.ownerReferences")
}

/// References that make their owner wait, and did not before.
fn blocking_since<'a>(new: &'a Value, old: Option<&Value>) -> Vec<&'a Value> {
    let blocks = |owner: &Value| owner.bool_at("blockOwnerDeletion");
    let did =
        |owner: &Value| old.map(owners).unwrap_or_default().iter().any(|held| held.str_at("uid") == owner.str_at("uid") && blocks(held));
    owners(new).iter().filter(|owner| blocks(owner) && !did(owner)).collect()
}

async fn may_delete(request: &Admission<'_>) -> Result<(), Status> {
    let asked = Attributes {
        namespace: request.namespace,
        name: request.name,
        subresource: request.subresource,
        ..Attributes::resource(request.user, "delete", &request.kind.group, &request.kind.version, &request.kind.resource)
    };
    match request.core.authorizer().authorize(&asked).await {
        Decision::Allow { .. } => Ok(()),
        other => {
            let why = format!("cannot set an ownerRef on a resource you can't delete: {}, <nil>", other.reason());
            Err(request.forbidden(&why))
        }
    }
}

async fn may_finalize(request: &Admission<'_>, owner: &Value) -> Result<(), Status> {
    let (api_version, kind) = (owner.str_at("apiVersion"), owner.str_at("kind"));
    let Some(found) = request.core.registry().kind(api_version, kind) else {
        let why = format!(
            "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {api_version} Kind {kind}: no matches for \
             kind {kind:?} in version {api_version:?}"
        );
        return Err(request.forbidden(&why));
    };
    let asked = Attributes {
        namespace: if found.is_namespaced() { request.namespace } else { "" },
        name: owner.str_at("name"),
        subresource: "finalizers",
        ..Attributes::resource(request.user, "update", &found.group, &found.version, &found.resource)
    };
    match request.core.authorizer().authorize(&asked).await {
        Decision::Allow { .. } => Ok(()),
        other => {
            let why = format!(
                "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: {}, <nil>",
                other.reason()
            );
            Err(request.forbidden(&why))
        }
    }
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    #[test]
    fn an_owner_waits_anew_when_it_did_not_before() {
        let doc = |owners: Value| json!({"metadata": {"ownerReferences": owners}});
        let owner = |uid: &str, blocks: bool| json!({"uid": uid, "blockOwnerDeletion": blocks});
        let names =
            |new: &Value, old: Option<&Value>| blocking_since(new, old).iter().map(|one| one.str_at("uid").to_owned()).collect::<Vec<_>>();
        let new = doc(json!([owner("a", true), owner("b", true), owner("c", false)]));
        assert_eq!(names(&new, None), ["a", "b"]);
        assert_eq!(names(&new, Some(&doc(json!([owner("a", true), owner("b", false)])))), ["b"]);
    }
}
