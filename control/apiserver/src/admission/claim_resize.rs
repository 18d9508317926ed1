//! PersistentVolumeClaimResize: a claim grows only where it is bound and its class allows that.

use async_trait::async_trait;
use schema::{DocExt, Quantity, Status, Value};

use super::{Admission, Operation, Plugin};

pub struct ClaimResize;

const CLASSES: &str = "/storage.k8s.io/storageclasses/";
const OLDER: &str = "volume.beta.kubernetes.io/storage-class";

#[async_trait]
impl Plugin for ClaimResize {
    async fn validate(&self, request: &mut Admission<'_>, new: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
        let (Some(new), Some(old)) = (new, old) else { return Ok(()) };
        if request.operation != Operation::Update || !request.is_object("", "persistentvolumeclaims") || size(new) <= size(old) {
            return Ok(());
        }
        if old.str_at("status.phase") != "Bound" {
            return Err(request.forbidden("Only bound persistent volume claims can be expanded"));
        }
        if !may_grow(request, class(new), class(old)) {
            let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
            return Err(request.forbidden(why));
        }
        Ok(())
    }
}

fn size(claim: &Value) -> Quantity {
    claim.at("spec.resources.requests.storage").and_then(|size| Quantity::from_json(size).ok()).unwrap_or_default()
}

fn class(claim: &Value) -> &str {
    let older = claim.map_at("metadata.annotations").and_then(|annotations| annotations.get(OLDER)).and_then(Value::as_str);
    older.unwrap_or_else(|| claim.str_at("spec.storageClassName"))
}

fn may_grow(request: &Admission<'_>, new: &str, old: &str) -> bool {
    let class = request.core.cache.kind(CLASSES).and_then(|classes| classes.get(&format!("{CLASSES}{new}")));
    !new.is_empty() && new == old && class.is_some_and(|class| class.object.value().bool_at("allowVolumeExpansion"))
}
