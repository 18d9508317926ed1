//! Ingress: routes HTTP from outside to services.

mod rules;

use schema::{DocExt, FieldErrors, Value, json};

use crate::cells::{AGE, NAME, first_few, load_balancer, or_none};
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Question, Sub};

/// Routes HTTP from outside to services.
pub struct Ingress;

impl Kind for Ingress {
    const META: Meta = Meta {
        empty_status: r#"{"loadBalancer": {}}"#,
        short: &["ing"],
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::namespaced("networking.k8s.io", "Ingress", "ingresses")
    };
    const NOTHING: &[Question] = &[Question::Fields, Question::Defaults, Question::Updates];
    const COLUMNS: &[Col] = &[
        NAME,
        Col::of("Class", |doc| or_none(doc.str_at("spec.ingressClassName"))),
        Col::of("Hosts", hosts),
        Col::of("Address", |doc| json!(load_balancer(doc))),
        Col::of("Ports", |doc| json!(if doc.items_at("spec.tls").is_empty() { "80" } else { "80, 443" })),
        AGE,
    ];

    fn validate(new: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        rules::ingress(new, old, errors);
    }

    fn validate_subresource(new: &Value, old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        if cx.subresource == "status" {
            rules::status(new, old, errors);
        }
    }

    fn warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
        if old.is_none() { rules::warnings(new) } else { Vec::new() }
    }
}

fn hosts(doc: &Value) -> Value {
    let hosts = doc.items_at("spec.rules").iter().map(|rule| rule.str_at("host").to_owned()).filter(|host| !host.is_empty());
    first_few(&hosts.collect::<Vec<_>>(), 3, "*")
}
