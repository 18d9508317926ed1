//! RuntimeClass: how a pod's containers are run.

use schema::{DocExt, FieldErrors, Path, Quantity, Value};

use crate::cells::{AGE, NAME};
use crate::core::pod::rules::scheduling::tolerations;
use crate::core::pod::warnings::node_selector;
use crate::kind::{Col, Kind, Meta, Question};
use crate::rules::{NEGATIVE, dns_label, labels};

/// How a pod's containers are run.
pub struct RuntimeClass;

impl Kind for RuntimeClass {
    const META: Meta = Meta::cluster("node.k8s.io", "RuntimeClass", "runtimeclasses");
    const NOTHING: &[Question] = &[Question::Fields, Question::Defaults, Question::Subresources];
    const COLUMNS: &[Col] = &[NAME, Col::path("Handler", "handler"), AGE];

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        dns_label(new.str_at("handler"), &Path::new("handler"), errors);
        for (resource, amount) in new.map_at("overhead.podFixed").into_iter().flatten() {
            if Quantity::from_json(amount).is_ok_and(|amount| amount.nano < 0) {
                errors.invalid(&Path::new("overhead.limits").key(resource), amount.clone(), NEGATIVE);
            }
        }
        let path = Path::new("scheduling");
        labels(new.map_at("scheduling.nodeSelector"), &path.child("nodeSelector"), errors);
        let all = new.items_at("scheduling.tolerations");
        tolerations(all, &path.child("tolerations"), errors);
        for (index, one) in all.iter().enumerate().filter(|(index, one)| all[..*index].contains(one)) {
            errors.duplicate(&path.child("tolerations").index(index), one.clone());
        }
    }

    fn warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
        node_selector(new.map_at("scheduling.nodeSelector"), &Path::new("scheduling.nodeSelector"))
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        if new.str_at("handler") != old.str_at("handler") {
            errors.invalid(&Path::new("handler"), new.str_at("handler"), "field is immutable");
        }
    }
}
