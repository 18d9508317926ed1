//! StorageClass: how volumes are provisioned.

use schema::{DocExt, FieldErrors, Path, Value, json, names};

use crate::cells::AGE;
use crate::core::pod::defaults::default_text;
use crate::core::pod::warnings::old_label;
use crate::kind::{Col, Kind, Meta, Question, immutable, same};
use crate::rules::{each, one_of, one_of_if_set, qualified_name, sub};

const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;

/// How volumes are provisioned.
pub struct StorageClass;

impl Kind for StorageClass {
    const META: Meta = Meta { short: &["sc"], ..Meta::cluster("storage.k8s.io", "StorageClass", "storageclasses") };
    const NOTHING: &[Question] = &[Question::Fields, Question::Subresources];
    const COLUMNS: &[Col] = &[
        Col::of("Name", name).named(),
        Col::path("Provisioner", "provisioner"),
        Col::of("ReclaimPolicy", |doc| json!(text_or(doc.str_at("reclaimPolicy"), "Delete"))),
        Col::of("VolumeBindingMode", |doc| json!(text_or(doc.str_at("volumeBindingMode"), "Immediate"))),
        Col::of("AllowVolumeExpansion", |doc| json!(doc.bool_at("allowVolumeExpansion"))),
        AGE,
    ];

    fn fill_defaults(doc: &mut Value) {
        default_text(doc, "reclaimPolicy", "Delete");
        default_text(doc, "volumeBindingMode", "Immediate");
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let root = Path::root();
        provisioner(new.str_at("provisioner"), &root.child("provisioner"), errors);
        parameters(new, &root.child("parameters"), errors);
        if !new.str_at("reclaimPolicy").is_empty() {
            one_of_if_set(new, "reclaimPolicy", &["Delete", "Retain"], &root, errors);
        }
        one_of(new, "volumeBindingMode", &["Immediate", "WaitForFirstConsumer"], &root, errors);
        let terms = new.items_at("allowedTopologies");
        for (at, given) in terms.iter().enumerate() {
            let path = root.child("allowedTopologies").index(at);
            if terms[..at].iter().any(|before| same(before, given)) {
                errors.duplicate(&path.child("matchLabelExpressions"), "");
            }
            term(given, &path, errors);
        }
    }

    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        for member in ["parameters", "provisioner", "reclaimPolicy"] {
            if !same(sub(new, member), sub(old, member)) {
                errors.forbidden(&Path::new(member), &format!("updates to {member} are forbidden."));
            }
        }
        immutable(new, old, "volumeBindingMode", &Path::root(), errors);
    }

    fn warnings(new: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut texts = Vec::new();
        for (at, term) in new.items_at("allowedTopologies").iter().enumerate() {
            for (key_at, expression) in term.items_at("matchLabelExpressions").iter().enumerate() {
                let path = Path::new("allowedTopologies").index(at).child("matchLabelExpressions").index(key_at).child("key");
                let key = expression.str_at("key");
                texts.extend(old_label(key).map(|instead| format!("{path}: {key} is {instead}")));
            }
        }
        texts
    }
}

/// Who provisions: a qualified name, whose letters may be large.
pub(super) fn provisioner(name: &str, path: &Path, errors: &mut FieldErrors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    each(path, name, names::is_qualified_name(&name.to_lowercase()), errors);
}

/// What the provisioner is told: not too many, not too long.
pub(super) fn parameters(doc: &Value, path: &Path, errors: &mut FieldErrors) {
    let Some(given) = doc.map_at("parameters") else { return };
    if given.len() > PARAMETERS_MAX {
        return errors.too_long(path, PARAMETERS_MAX);
    }
    if given.contains_key("") {
        errors.invalid(path, "", "field can not be empty.");
    }
    let bytes: usize = given.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if bytes > PARAMETERS_BYTES_MAX {
        errors.too_long(path, PARAMETERS_BYTES_MAX);
    }
}

fn term(term: &Value, path: &Path, errors: &mut FieldErrors) {
    let expressions = term.items_at("matchLabelExpressions");
    for (at, expression) in expressions.iter().enumerate() {
        let (path, values) = (path.child("matchLabelExpressions").index(at), expression.items_at("values"));
        if values.is_empty() {
            errors.required(&path.child("values"), "");
        }
        for (value_at, value) in values.iter().enumerate().filter(|(at, value)| values[..*at].contains(value)) {
            errors.duplicate(&path.child("values").index(value_at), value.clone());
        }
        let key = expression.str_at("key");
        qualified_name(key, &path.child("key"), errors);
        if expressions[..at].iter().any(|before| before.str_at("key") == key) {
            errors.duplicate(&path.child("key"), key);
        }
    }
}

/// The default class says so.
fn name(doc: &Value) -> Value {
    let annotations = doc.map_at("metadata.annotations");
    let marks = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    let is_default = annotations.is_some_and(|map| marks.iter().any(|mark| map.get(*mark).is_some_and(|value| value == "true")));
    let name = doc.str_at("metadata.name");
    json!(if is_default { format!("{name} (default)") } else { name.to_owned() })
}

fn text_or<'a>(text: &'a str, default: &'a str) -> &'a str {
    if text.is_empty() { default } else { text }
}
