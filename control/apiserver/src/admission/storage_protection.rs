//! StorageObjectInUseProtection: claims, volumes and attribute classes are born with the finalizer that keeps them while they
//! are in use. The protection controllers take it off.

use async_trait::async_trait;
use schema::{Status, Value};

use super::{Admission, Operation, Plugin};
use crate::meta;

pub struct StorageProtection;

const FINALIZERS: &[(&str, &str, &str)] = &[
    ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
    ("", "persistentvolumes", "kubernetes.io/pv-protection"),
    ("storage.k8s.io", "volumeattributesclasses", "kubernetes.io/vac-protection"),
];

#[async_trait]
impl Plugin for StorageProtection {
    async fn mutate(&self, request: &mut Admission<'_>, new: &mut Value, _old: Option<&Value>) -> Result<(), Status> {
        let row = FINALIZERS.iter().find(|(group, resource, _)| request.is_object(group, resource));
        let Some((.., finalizer)) = row.filter(|_| request.operation == Operation::Create) else { return Ok(()) };
        let mut finalizers = meta::finalizers(new);
        if !finalizers.iter().any(|held| held == finalizer) {
            finalizers.push((*finalizer).to_owned());
            meta::set_finalizers(new, &finalizers);
        }
        Ok(())
    }
}
