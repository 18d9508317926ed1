//! Who may do what: SubjectAccessReview and its relatives.

use std::collections::BTreeMap;

use auth::{Attributes, PolicyRule, UserInfo};
use schema::{DocExt, FieldErrors, Path, Status, Value, json};

use super::selectors::{self, Selectors};
use crate::core::Call;

pub(super) async fn subject(call: &Call<'_>, doc: Value) -> Result<Value, Status> {
    let mut errors = FieldErrors::default();
    check_attributes(&doc, &mut errors);
    check_subject(&doc, &mut errors);
    refuse(call, &errors)?;
    let user = user_of(&doc);
    Ok(decided(call, doc, &user).await)
}

/// As [`subject`], for one namespace.
pub(super) async fn local_subject(call: &Call<'_>, mut doc: Value) -> Result<Value, Status> {
    let (asked, namespace) = (doc.str_at("spec.resourceAttributes.namespace"), call.target.namespace.as_str());
    let mut errors = FieldErrors::default();
    if asked != namespace {
        let path = Path::new("spec").child("resourceAttributes").child("namespace");
        errors.invalid(&path, asked, "must match metadata.namespace");
    }
    if doc.at("spec.nonResourceAttributes").is_some() {
        errors.invalid(
            &Path::new("spec").child("nonResourceAttributes"),
            doc.at("spec.nonResourceAttributes").cloned().unwrap_or_default(),
            "disallowed on this kind of request",
        );
    }
    selectors::check(&doc, &mut errors);
    check_subject(&doc, &mut errors);
    refuse(call, &errors)?;
    doc.set_at("metadata.namespace", namespace);
    let user = user_of(&doc);
    Ok(decided(call, doc, &user).await)
}

pub(super) async fn own(call: &Call<'_>, doc: Value) -> Result<Value, Status> {
    let mut errors = FieldErrors::default();
    check_attributes(&doc, &mut errors);
    refuse(call, &errors)?;
    Ok(decided(call, doc, call.user).await)
}

pub(super) async fn own_rules(call: &Call<'_>, mut doc: Value) -> Result<Value, Status> {
    let namespace = doc.str_at("spec.namespace").to_owned();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let rules = call.core.authorizer().rules_for(call.user, &namespace).await;
    let (paths, resources): (Vec<&PolicyRule>, Vec<&PolicyRule>) = rules.rules.iter().partition(|rule| !rule.non_resource_urls.is_empty());
    let resource = |rule: &&PolicyRule| {
        let mut doc = json!({"verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources});
        if !rule.resource_names.is_empty() {
            doc["resourceNames"] = json!(rule.resource_names);
        }
        doc
    };
    let mut status = json!({
        "resourceRules": resources.iter().map(resource).collect::<Vec<_>>(),
        "nonResourceRules": paths.iter().map(|rule| json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls})).collect::<Vec<_>>(),
        "incomplete": rules.incomplete,
    });
    if !rules.evaluation_error.is_empty() {
        status["evaluationError"] = json!(rules.evaluation_error);
    }
    doc.set_at("status", status);
    Ok(doc)
}

/// Sets the status to what the authorizer says of the document's question about `user`.
async fn decided(call: &Call<'_>, mut doc: Value, user: &UserInfo) -> Value {
    let selectors = selectors::of(&doc);
    let decision = call.core.authorizer().authorize(&attributes(&doc, user, &selectors)).await;
    let mut status = json!({"allowed": decision.is_allowed()});
    if decision.is_denied() {
        status["denied"] = json!(true);
    }
    if !decision.reason().is_empty() {
        status["reason"] = json!(decision.reason());
    }
    let faults: Vec<&str> =
        [decision.error()].into_iter().chain(selectors.faults.iter().copied()).filter(|fault| !fault.is_empty()).collect();
    if !faults.is_empty() {
        status["evaluationError"] = json!(faults.join("; "));
    }
    doc.set_at("status", status);
    doc
}

fn attributes<'a>(doc: &'a Value, user: &'a UserInfo, selectors: &'a Selectors) -> Attributes<'a> {
    if let Some(path) = doc.at("spec.nonResourceAttributes").filter(|attributes| attributes.is_object()) {
        return Attributes::path(user, path.str_at("verb"), path.str_at("path"));
    }
    let asked = |name: &str| doc.at("spec.resourceAttributes").map(|attributes| attributes.str_at(name)).unwrap_or_default();
    Attributes {
        subresource: asked("subresource"),
        namespace: asked("namespace"),
        name: asked("name"),
        field_selector: &selectors.fields,
        label_selector: &selectors.labels,
        ..Attributes::resource(user, asked("verb"), asked("group"), asked("version"), asked("resource"))
    }
}

fn user_of(doc: &Value) -> UserInfo {
    let texts = |values: &[Value]| values.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
    let extra: BTreeMap<String, Vec<String>> = doc
        .map_at("spec.extra")
        .into_iter()
        .flatten()
        .map(|(key, values)| (key.to_lowercase(), texts(values.as_array().map(Vec::as_slice).unwrap_or_default())))
        .collect();
    UserInfo { name: doc.str_at("spec.user").into(), uid: doc.str_at("spec.uid").into(), groups: texts(doc.items_at("spec.groups")), extra }
}

fn check_attributes(doc: &Value, errors: &mut FieldErrors) {
    let has = |name: &str| doc.at("spec").and_then(|spec| spec.get(name)).is_some_and(Value::is_object);
    let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
    match (has("resourceAttributes"), has("nonResourceAttributes")) {
        (true, true) => errors.invalid(
            &Path::new("spec").child("nonResourceAttributes"),
            doc.at("spec.nonResourceAttributes").cloned().unwrap_or_default(),
            "cannot be specified in combination with resourceAttributes",
        ),
        // Upstream prints an absent struct as a text.
        (false, false) => errors.invalid(&Path::new("spec").child("resourceAttributes"), "null", why),
        _ => {}
    }
    selectors::check(doc, errors);
}

fn check_subject(doc: &Value, errors: &mut FieldErrors) {
    if doc.str_at("spec.user").is_empty() && doc.items_at("spec.groups").is_empty() {
        errors.invalid(&Path::new("spec").child("user"), "", "at least one of user or group must be specified");
    }
}

fn refuse(call: &Call<'_>, errors: &FieldErrors) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(&call.kind.group, &call.kind.kind, "", errors)) }
}
