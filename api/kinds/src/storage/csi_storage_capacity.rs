//! CSIStorageCapacity: how much a driver can still provision where.

use schema::{DocExt, FieldErrors, LabelSelector, Path, Value};

use crate::cells::{NAME, or_unset};
use crate::core::pod::warnings::{node_selector, old_label};
use crate::kind::{Col, Kind, Meta, Question, immutable};
use crate::rules::{NEGATIVE, amounts, dns_subdomain, immutable_pointer, sub};

/// How much a driver can still provision where.
pub struct CsiStorageCapacity;

impl Kind for CsiStorageCapacity {
    const META: Meta = Meta::namespaced("storage.k8s.io", "CSIStorageCapacity", "csistoragecapacities");
    const NOTHING: &[Question] = &[Question::Fields, Question::Defaults, Question::Subresources];
    const COLUMNS: &[Col] =
        &[NAME, Col::path("StorageClassName", "storageClassName"), Col::of("Capacity", |doc| or_unset(doc.str_at("capacity")))];

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        dns_subdomain(new.str_at("storageClassName"), &Path::new("storageClassName"), errors);
        for member in ["capacity", "maximumVolumeSize"] {
            if let Some(amount) = amounts::quantity(new, member).filter(|amount| amount.nano < 0) {
                errors.invalid(&Path::new(member), amount.to_string(), NEGATIVE);
            }
        }
        LabelSelector::validate(sub(new, "nodeTopology"), &Path::new("nodeTopology"), errors);
    }

    fn warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
        let path = Path::new("nodeTopology");
        let mut texts = node_selector(new.map_at("nodeTopology.matchLabels"), &path.child("matchLabels"));
        for (at, expression) in new.items_at("nodeTopology.matchExpressions").iter().enumerate() {
            let path = path.child("matchExpressions").index(at).child("key");
            texts.extend(old_label(expression.str_at("key")).map(|instead| format!("{path}: {instead}")));
        }
        texts
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        immutable_pointer(new, old, "nodeTopology", &Path::root(), errors);
        immutable(new, old, "storageClassName", &Path::root(), errors);
    }
}
