//! IngressClass: who serves ingresses.

use schema::{DocExt, FieldErrors, Path, Value, json, names};

use crate::cells::{AGE, NAME};
use crate::core::pod::defaults::default_text;
use crate::kind::{Col, Kind, Meta, Question, immutable};
use crate::rules::{dns_subdomain, domain_prefixed_path, each, is_given, one_of, sub};

const CONTROLLER_BYTES_MAX: usize = 250;

/// Who serves ingresses.
pub struct IngressClass;

impl Kind for IngressClass {
    const META: Meta = Meta { generation: true, ..Meta::cluster("networking.k8s.io", "IngressClass", "ingressclasses") };
    const NOTHING: &[Question] = &[Question::Fields, Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = &[NAME, Col::path("Controller", "spec.controller"), Col::of("Parameters", parameters), AGE];

    fn fill_defaults(doc: &mut Value) {
        if doc.at("spec.parameters").is_some_and(Value::is_object) {
            default_text(doc, "spec.parameters.scope", "Cluster");
        }
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let (spec, path) = (sub(new, "spec"), Path::new("spec"));
        let (controller, controller_path) = (spec.str_at("controller"), path.child("controller"));
        if controller.len() > CONTROLLER_BYTES_MAX {
            errors.too_long(&controller_path, CONTROLLER_BYTES_MAX);
        }
        domain_prefixed_path(controller, &controller_path, errors);
        if is_given(spec, "parameters") {
            let (given, path) = (&spec["parameters"], path.child("parameters"));
            reference(given, &path, errors);
            scope(given, &path, errors);
        }
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        immutable(sub(new, "spec"), sub(old, "spec"), "controller", &Path::new("spec"), errors);
    }
}

/// A reference to an object beside this one: kind and name, and a group where there is one.
pub(super) fn reference(given: &Value, path: &Path, errors: &mut FieldErrors) {
    if let Some(group) = given.at("apiGroup").and_then(Value::as_str) {
        dns_subdomain(group, &path.child("apiGroup"), errors);
    }
    for member in ["kind", "name"] {
        match given.str_at(member) {
            "" => errors.required(&path.child(member), &format!("{member} is required")),
            text => each(&path.child(member), text, names::is_path_segment_name(text), errors),
        }
    }
}

/// Parameters of one namespace name it, parameters of the cluster do not.
fn scope(given: &Value, path: &Path, errors: &mut FieldErrors) {
    let (scope, namespace) = (given.str_at("scope"), path.child("namespace"));
    one_of(given, "scope", &["Cluster", "Namespace"], path, errors);
    match (scope, given.at("namespace").and_then(Value::as_str)) {
        ("Namespace", None | Some("")) => {
            errors.required(&namespace, "`parameters.scope` is set to 'Namespace'");
        }
        ("Namespace", Some(text)) => each(&namespace, text, names::is_dns1123_label(text), errors),
        ("Cluster", Some(_)) => errors.forbidden(&namespace, "`parameters.scope` is set to 'Cluster'"),
        _ => {}
    }
}

/// `kind.group/name`
fn parameters(doc: &Value) -> Value {
    let Some(given) = doc.at("spec.parameters").filter(|given| given.is_object()) else { return json!("<none>") };
    let group = match given.str_at("apiGroup") {
        "" => String::new(),
        group => format!(".{group}"),
    };
    json!(format!("{}{group}/{}", given.str_at("kind"), given.str_at("name")))
}
