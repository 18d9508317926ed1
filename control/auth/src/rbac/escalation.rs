//! Nobody grants what he does not hold: the check of every write of a role or a binding.
//!
//! A role may be written by who holds all its rules or has the verb `escalate` on it; a binding by who holds all rules of
//! the role that it names or has the verb `bind` on that role. `system:masters` may always.

use kinds::rbac::{PolicyRule, RoleRef};
use schema::{DocExt, Status, Value};

use super::rules::{compact, describe, quoted};
use crate::seam::{Attributes, Authorizer, UserInfo};
use crate::{MASTERS, RBAC_GROUP};

/// The check of one write. `resource` is the plural, `new` the document as it will be stored, `old` what is stored now.
/// Other resources than the four of RBAC pass.
pub async fn check(authorizer: &dyn Authorizer, user: &UserInfo, resource: &str, new: &Value, old: Option<&Value>) -> Result<(), Status> {
    if user.is_in(MASTERS) {
        return Ok(());
    }
    match resource {
        "roles" | "clusterroles" => check_role(authorizer, user, resource, new, old).await,
        "rolebindings" | "clusterrolebindings" => check_binding(authorizer, user, resource, new, old).await,
        _ => Ok(()),
    }
}

async fn check_role(authorizer: &dyn Authorizer, user: &UserInfo, resource: &str, new: &Value, old: Option<&Value>) -> Result<(), Status> {
    let same = |path: &str| old.is_some_and(|old| old.at(path) == new.at(path));
    if same("rules") && same("aggregationRule") {
        return Ok(());
    }
    let (namespace, name) = (new.str_at("metadata.namespace"), new.str_at("metadata.name"));
    let may_escalate = Attributes { namespace, name, ..Attributes::resource(user, "escalate", RBAC_GROUP, "v1", resource) };
    if authorizer.authorize(&may_escalate).await.is_allowed() {
        return Ok(());
    }
    let rules: Vec<PolicyRule> = rules_of(new)?;
    confirm(authorizer, user, resource, namespace, name, &rules).await?;
    if new.at("aggregationRule").is_some_and(|rule| !rule.is_null()) && !same("aggregationRule") {
        let all = everything();
        if !authorizer.missing(user, "", &all).await.is_empty() {
            let why = "must have cluster-admin privileges to use the aggregationRule";
            return Err(Status::forbidden(RBAC_GROUP, resource, name, why));
        }
    }
    Ok(())
}

async fn check_binding(
    authorizer: &dyn Authorizer,
    user: &UserInfo,
    resource: &str,
    new: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    let same = |path: &str| old.is_some_and(|old| old.at(path) == new.at(path));
    if same("subjects") && same("roleRef") {
        return Ok(());
    }
    let role: RoleRef = new.at("roleRef").cloned().map(serde_json::from_value).transpose().map_err(Status::internal)?.unwrap_or_default();
    let (namespace, name) = (new.str_at("metadata.namespace"), new.str_at("metadata.name"));
    let roles = if role.kind == "Role" { "roles" } else { "clusterroles" };
    let may_bind = Attributes { namespace, name: &role.name, ..Attributes::resource(user, "bind", RBAC_GROUP, "v1", roles) };
    if authorizer.authorize(&may_bind).await.is_allowed() {
        return Ok(());
    }
    let rules = authorizer.role_rules(&role.kind, namespace, &role.name).await;
    let rules = rules.ok_or_else(|| Status::not_found(RBAC_GROUP, roles, &role.name))?;
    confirm(authorizer, user, resource, namespace, name, &rules).await
}

async fn confirm(
    authorizer: &dyn Authorizer,
    user: &UserInfo,
    resource: &str,
    namespace: &str,
    name: &str,
    rules: &[PolicyRule],
) -> Result<(), Status> {
    let missing = authorizer.missing(user, namespace, rules).await;
    if missing.is_empty() {
        return Ok(());
    }
    let mut texts: Vec<String> = compact(&missing).iter().map(describe).collect();
    texts.sort();
    texts.dedup();
    let mut why = format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        quoted(&user.groups),
        texts.join("\n")
    );
    let faults = authorizer.rules_for(user, namespace).await.evaluation_error;
    if !faults.is_empty() {
        let list = if faults.starts_with('[') { faults } else { format!("[{faults}]") };
        why.push_str(&format!("; resolution errors: {list}"));
    }
    Err(Status::forbidden(RBAC_GROUP, resource, name, &why))
}

fn rules_of(role: &Value) -> Result<Vec<PolicyRule>, Status> {
    role.items_at("rules").iter().map(|rule| serde_json::from_value(rule.clone()).map_err(Status::internal)).collect()
}

fn everything() -> [PolicyRule; 2] {
    let star = || vec!["*".to_owned()];
    [
        PolicyRule { verbs: star(), api_groups: star(), resources: star(), ..PolicyRule::default() },
        PolicyRule { verbs: star(), non_resource_urls: star(), ..PolicyRule::default() },
    ]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use schema::json;

    use super::*;
    use crate::AUTHENTICATED;
    use crate::rbac::Rbac;
    use crate::rbac::source::Fixed;

    fn rbac() -> Rbac {
        Rbac::new(Arc::new(Fixed::new(&[
            json!({"kind": "ClusterRole", "metadata": {"name": "dev"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]}),
            json!({"kind": "ClusterRole", "metadata": {"name": "binder"}, "rules": [{"apiGroups": [RBAC_GROUP], "resources": ["clusterroles"], "verbs": ["bind"], "resourceNames": ["big"]}]}),
            json!({"kind": "ClusterRole", "metadata": {"name": "big"}, "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}),
            json!({"kind": "RoleBinding", "metadata": {"name": "b", "namespace": "n"}, "roleRef": {"kind": "ClusterRole", "name": "dev"}, "subjects": [{"kind": "User", "name": "ann"}]}),
            json!({"kind": "RoleBinding", "metadata": {"name": "c", "namespace": "n"}, "roleRef": {"kind": "ClusterRole", "name": "binder"}, "subjects": [{"kind": "User", "name": "bob"}]}),
        ])))
    }

    fn role(verbs: &[&str]) -> Value {
        json!({"metadata": {"name": "e", "namespace": "n"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}]})
    }

    fn binding(kind: &str, name: &str) -> Value {
        json!({"metadata": {"name": "e", "namespace": "n"}, "roleRef": {"kind": kind, "name": name}, "subjects": [{"kind": "User", "name": "x"}]})
    }

    #[tokio::test]
    async fn only_what_one_holds_can_be_granted() {
        let (rbac, ann) = (rbac(), UserInfo::new("ann", &[AUTHENTICATED]));
        assert!(check(&rbac, &ann, "roles", &role(&["get"]), None).await.is_ok());
        let refused = check(&rbac, &ann, "roles", &role(&["get", "delete"]), None).await.unwrap_err();
        assert_eq!(
            refused.message,
            "roles.rbac.authorization.k8s.io \"e\" is forbidden: user \"ann\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions \
             not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}"
        );
        let old = role(&["delete"]);
        assert!(check(&rbac, &ann, "roles", &old, Some(&old)).await.is_ok(), "an unchanged role is no grant");
        assert!(check(&rbac, &UserInfo::new("root", &[MASTERS]), "roles", &role(&["*"]), None).await.is_ok());
    }

    #[tokio::test]
    async fn binding_needs_the_rules_or_the_verb() {
        let (rbac, ann, bob) = (rbac(), UserInfo::new("ann", &[]), UserInfo::new("bob", &[]));
        assert!(check(&rbac, &ann, "rolebindings", &binding("ClusterRole", "dev"), None).await.is_ok());
        assert_eq!(check(&rbac, &ann, "rolebindings", &binding("ClusterRole", "big"), None).await.unwrap_err().code, 403);
        assert!(check(&rbac, &bob, "rolebindings", &binding("ClusterRole", "big"), None).await.is_ok());
        let missing = check(&rbac, &ann, "rolebindings", &binding("Role", "nope"), None).await.unwrap_err();
        assert_eq!((missing.code, missing.message.as_str()), (404, "roles.rbac.authorization.k8s.io \"nope\" not found"));
    }
}
