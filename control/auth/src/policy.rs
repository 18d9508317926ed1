//! The default roles and bindings, in upstream's names and rules, from one text (`policy/default.txt`).
//!
//! [`reconcile`] brings a running cluster up to them the way upstream does: what is missing is made, rules and subjects
//! that are missing are added, nothing is ever taken away, a binding that names another role is exchanged, and an object whose
//! autoupdate annotation is not `true` is left alone.

use std::collections::BTreeSet;

use client::{Client, Delete, Options, Target};
use schema::{DocExt, Status, Value, json};

use crate::RBAC_GROUP;
use crate::rbac::rules::covers;

const DEFAULT: &str = include_str!("policy/default.txt");
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// Every default object, in an order in which they can be created (roles before the bindings that name them).
pub fn bootstrap_policy() -> Vec<Value> {
    let mut objects = parse(DEFAULT);
    objects.sort_by_key(|object| object.str_at("kind").ends_with("Binding"));
    objects
}

/// The rules of one default ClusterRole.
pub fn default_rules(cluster_role: &str) -> Vec<kinds::rbac::PolicyRule> {
    let roles = bootstrap_policy();
    let role = roles.iter().find(|object| object.str_at("kind") == "ClusterRole" && object.str_at("metadata.name") == cluster_role);
    role.map(rules_of).unwrap_or_default()
}

/// Creates what is missing of the defaults and adds what is missing in the objects that are there.
pub async fn reconcile(client: &Client) -> Result<(), Status> {
    for want in bootstrap_policy() {
        reconcile_one(client, want).await?;
    }
    Ok(())
}

async fn reconcile_one(client: &Client, want: Value) -> Result<(), Status> {
    let collection = Target::of("rbac.authorization.k8s.io/v1", resource_of(want.str_at("kind")), want.str_at("metadata.namespace"));
    let one = collection.clone().named(want.str_at("metadata.name"));
    loop {
        let outcome = match client.get(one.clone()).await {
            Ok(held) if names_another_role(&held.value(), &want) => {
                let delete = Delete { uid: Some(held.meta.uid.clone()), ..Delete::default() };
                match client.delete(one.clone(), Options { delete, ..Options::default() }).await {
                    Err(status) if !status.is_not_found() => Err(status),
                    _ => continue, // it is made anew
                }
            }
            Ok(held) => match merged(&held.value(), &want) {
                Some(next) => client.update(one.clone(), next).await.map(|_| ()),
                None => Ok(()),
            },
            Err(status) if status.is_not_found() => client.create(collection.clone(), want.clone()).await.map(|_| ()),
            Err(status) => Err(status),
        };
        match outcome {
            Err(status) if status.is_conflict() || status.is_already_exists() => continue,
            outcome => return outcome,
        }
    }
}

fn resource_of(kind: &str) -> &'static str {
    match kind {
        "ClusterRole" => "clusterroles",
        "ClusterRoleBinding" => "clusterrolebindings",
        "Role" => "roles",
        _ => "rolebindings",
    }
}

/// A binding's role cannot be changed, only the binding exchanged.
fn names_another_role(held: &Value, want: &Value) -> bool {
    held.at("roleRef") != want.at("roleRef") && follows(held)
}

/// Whether an object is ours to mend: its annotation says nothing else.
fn follows(held: &Value) -> bool {
    let annotation = held.at("metadata.annotations").and_then(|all| all.get(AUTOUPDATE)).and_then(Value::as_str);
    annotation.is_none_or(|auto| auto == "true")
}

/// `held` with what it lacks of `want`; None where it lacks nothing or must be left alone.
fn merged(held: &Value, want: &Value) -> Option<Value> {
    if !follows(held) {
        return None;
    }
    let mut next = held.clone();
    if want.at("aggregationRule").is_none() {
        let (_, missing) = covers(&rules_of(held), &rules_of(want));
        let lacking: Vec<Value> = want.items_at("rules").iter().filter(|rule| lacks(rule, &missing)).cloned().collect();
        append(&mut next, "rules", lacking);
    }
    let subjects = want.items_at("subjects").iter().filter(|subject| !held.items_at("subjects").contains(subject)).cloned().collect();
    append(&mut next, "subjects", subjects);
    for map in ["labels", "annotations"] {
        for (key, value) in want.at("metadata").and_then(|meta| meta.map_at(map)).into_iter().flatten() {
            if held.at("metadata").and_then(|meta| meta.map_at(map)).is_none_or(|held| !held.contains_key(key)) {
                next.default_at(&format!("metadata.{map}"), json!({}));
                next["metadata"][map][key] = value.clone();
            }
        }
    }
    (next != *held).then_some(next)
}

/// Whether `rule` grants anything out of `missing`.
fn lacks(rule: &Value, missing: &[kinds::rbac::PolicyRule]) -> bool {
    let rule: kinds::rbac::PolicyRule = serde_json::from_value(rule.clone()).unwrap_or_default();
    missing.iter().any(|one| covers(std::slice::from_ref(&rule), std::slice::from_ref(one)).0)
}

fn append(doc: &mut Value, list: &str, more: Vec<Value>) {
    if more.is_empty() {
        return;
    }
    doc.default_at(list, json!([]));
    if let Some(items) = doc.at_mut(list).and_then(Value::as_array_mut) {
        items.extend(more);
    }
}

fn rules_of(role: &Value) -> Vec<kinds::rbac::PolicyRule> {
    role.items_at("rules").iter().filter_map(|rule| serde_json::from_value(rule.clone()).ok()).collect()
}

// ---- the text ----

fn parse(text: &str) -> Vec<Value> {
    let mut objects: Vec<Value> = Vec::new();
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        if line.starts_with(' ') {
            let role = objects.last_mut().expect("a rule follows its role");
            append(role, "rules", vec![rule(&words)]);
        } else {
            header(&words, &mut objects);
        }
    }
    objects
}

/// A header makes one object; a controller makes its binding before its role, so that rules are added to the role.
fn header(words: &[&str], objects: &mut Vec<Value>) {
    let (name, rest) = (words[1], &words[2..]);
    match words[0] {
        "cluster-role" => objects.push(cluster_role(name, rest)),
        "controller" => {
            let role = format!("system:controller:{name}");
            objects.push(binding("ClusterRoleBinding", "", &role, &[&format!("sa:kube-system/{name}")]));
            objects.push(cluster_role(&role, &[]));
        }
        "role" => {
            let (namespace, name) = name.split_once('/').expect("a role has a namespace");
            objects.push(object("Role", namespace, name));
        }
        "cluster-binding" => objects.push(binding("ClusterRoleBinding", "", name, rest)),
        "binding" => {
            let (namespace, name) = name.split_once('/').expect("a binding has a namespace");
            objects.push(binding("RoleBinding", namespace, name, rest));
        }
        other => unreachable!("the default policy has no {other:?}"),
    }
}

fn cluster_role(name: &str, options: &[&str]) -> Value {
    let mut role = object("ClusterRole", "", name);
    for option in options {
        match option.split_once('=').expect("an option is key=value") {
            ("label", key) => role["metadata"]["labels"][format!("{RBAC_GROUP}/{key}")] = json!("true"),
            ("aggregates", key) => {
                let label = json!({format!("{RBAC_GROUP}/{key}"): "true"});
                role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": label}]});
            }
            (other, _) => unreachable!("a role has no option {other:?}"),
        }
    }
    role
}

fn binding(kind: &str, namespace: &str, name: &str, rest: &[&str]) -> Value {
    let (role, subjects) = match rest {
        ["->", role, subjects @ ..] => (*role, subjects),
        subjects => (name, subjects),
    };
    let mut binding = object(kind, namespace, name);
    let role_kind = if kind == "ClusterRoleBinding" { "ClusterRole" } else { "Role" };
    binding["roleRef"] = json!({"apiGroup": RBAC_GROUP, "kind": role_kind, "name": role});
    append(&mut binding, "subjects", subjects.iter().map(|text| subject(text)).collect());
    binding
}

fn subject(text: &str) -> Value {
    match text.split_once(':').expect("a subject is kind:name") {
        ("user", name) => json!({"apiGroup": RBAC_GROUP, "kind": "User", "name": name}),
        ("group", name) => json!({"apiGroup": RBAC_GROUP, "kind": "Group", "name": name}),
        ("sa", name) => {
            let (namespace, name) = name.split_once('/').expect("a service account has a namespace");
            json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
        }
        (other, _) => unreachable!("no subject is a {other:?}"),
    }
}

fn object(kind: &str, namespace: &str, name: &str) -> Value {
    let mut object = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
        "metadata": {"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}, "annotations": {AUTOUPDATE: "true"}},
    });
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object
}

/// `VERBS PATH…` or `VERBS GROUPS RESOURCES [= NAMES]`.
fn rule(words: &[&str]) -> Value {
    let verbs: BTreeSet<&str> = words[0].split(',').flat_map(verbs).collect();
    match &words[1..] {
        [groups, resources, names @ ..] if !groups.starts_with('/') => {
            let groups: Vec<&str> = groups.split(',').map(|group| if group == "core" { "" } else { group }).collect();
            let mut rule = json!({"apiGroups": groups, "resources": resources.split(',').collect::<Vec<_>>(), "verbs": verbs});
            if let ["=", names] = names {
                rule["resourceNames"] = names.split(',').collect();
            }
            rule
        }
        paths => json!({"nonResourceURLs": paths, "verbs": verbs}),
    }
}

fn verbs(word: &str) -> Vec<&str> {
    const READ: [&str; 3] = ["get", "list", "watch"];
    const WRITE: [&str; 5] = ["create", "delete", "deletecollection", "patch", "update"];
    match word {
        "read" => READ.to_vec(),
        "write" => WRITE.to_vec(),
        "all" => READ.into_iter().chain(WRITE).collect(),
        verb => vec![verb],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
        objects.iter().find(|object| object.str_at("kind") == kind && object.str_at("metadata.name") == name).unwrap()
    }

    #[test]
    fn every_binding_names_a_role_that_exists_and_no_name_occurs_twice() {
        let objects = bootstrap_policy();
        let mut seen = HashSet::new();
        for object in &objects {
            let key = |kind: &str, namespace: &str, name: &str| format!("{kind}/{namespace}/{name}");
            let namespace = object.str_at("metadata.namespace");
            assert!(seen.insert(key(object.str_at("kind"), namespace, object.str_at("metadata.name"))), "{object}");
            if object.at("roleRef").is_some() {
                let kind = object.str_at("roleRef.kind");
                let namespace = if kind == "Role" { namespace } else { "" };
                assert!(seen.contains(&key(kind, namespace, object.str_at("roleRef.name"))), "{object}");
            }
        }
        assert!(objects.len() > 120, "{}", objects.len());
    }

    #[test]
    fn rules_are_upstreams_form() {
        let objects = bootstrap_policy();
        let admin = find(&objects, "ClusterRole", "cluster-admin");
        assert_eq!(
            admin["rules"],
            json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]}])
        );
        let manager = find(&objects, "ClusterRole", "system:kube-controller-manager");
        assert_eq!(manager["rules"][2]["resourceNames"], json!(["kube-controller-manager"]));
        assert_eq!(manager["rules"][0]["apiGroups"], json!(["", "events.k8s.io"]));
        let edit = find(&objects, "ClusterRole", "edit");
        assert_eq!(
            edit["aggregationRule"]["clusterRoleSelectors"][0]["matchLabels"]["rbac.authorization.k8s.io/aggregate-to-edit"],
            "true"
        );
        assert_eq!(edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-admin"], "true");
        let binding = find(&objects, "ClusterRoleBinding", "system:controller:job-controller");
        assert_eq!(binding["subjects"], json!([{"kind": "ServiceAccount", "name": "job-controller", "namespace": "kube-system"}]));
    }

    #[test]
    fn reconciling_adds_what_is_missing_and_takes_nothing_away() {
        let want = find(&bootstrap_policy(), "ClusterRole", "system:discovery").clone();
        assert_eq!(merged(&want, &want), None);
        let mut held = want.clone();
        held["rules"] = json!([{"nonResourceURLs": ["/mine"], "verbs": ["get"]}]);
        let next = merged(&held, &want).unwrap();
        assert_eq!(next.items_at("rules").len(), 2);
        held["metadata"]["annotations"][AUTOUPDATE] = json!("false");
        assert_eq!(merged(&held, &want), None);
        let binding = find(&bootstrap_policy(), "ClusterRoleBinding", "system:discovery").clone();
        let mut other = binding.clone();
        other["roleRef"]["name"] = json!("view");
        assert!(names_another_role(&other, &binding) && !names_another_role(&binding, &binding));
        other["metadata"]["annotations"][AUTOUPDATE] = json!("false");
        assert!(!names_another_role(&other, &binding));
    }
}
