//! Roles and bindings: who may what, and who may grant what.
//!
//! A question costs a look at the bindings of its user and groups, never at all bindings: they are indexed by subject.
//! Roles and bindings are the shared objects of informers, so a change is in force when its event arrives.
//!
//! | file | what |
//! |---|---|
//! | `rules.rs` | a rule allows, rules cover rules |
//! | `source.rs` | roles and bindings by subject, kept current by informers |
//! | `escalation.rs` | who may write a role or a binding |
//! | `aggregation.rs` | roles made of roles |

pub mod aggregation;
pub mod escalation;
pub mod rules;
pub mod source;

use std::sync::Arc;

use async_trait::async_trait;
use kinds::rbac::{ClusterRole, PolicyRule, Role, RoleRef, Subject};

use self::rules::{allow, covers};
pub use self::source::{Informed, Source};
use crate::seam::{Attributes, Authorizer, Decision, Rules, UserInfo};
use crate::split_service_account;

/// The RBAC authorizer.
pub struct Rbac {
    source: Arc<dyn Source>,
}

/// One way in which a user holds a role.
struct Grant {
    rules: Arc<dyn AsRef<[PolicyRule]> + Send + Sync>,
    /// `ClusterRoleBinding "x" of ClusterRole "y" to User "z"`.
    why: Box<dyn Fn() -> String + Send>,
}

impl Rbac {
    pub fn new(source: Arc<dyn Source>) -> Self {
        Self { source }
    }

    /// Visits every grant of `user` in `namespace` until `visit` says stop; returns what could not be resolved.
    fn visit(&self, user: &UserInfo, namespace: &str, mut visit: impl FnMut(&Grant) -> bool) -> Vec<String> {
        let mut faults = Vec::new();
        let subjects: Vec<String> = source::subject_keys(user);
        for subject in &subjects {
            for binding in self.source.cluster_bindings(subject) {
                let Ok(held) = binding.lens::<kinds::rbac::ClusterRoleBinding>() else { continue };
                let name = binding.meta.name.clone();
                match self.grant(&held.role_ref, "", format!("ClusterRoleBinding {name:?}"), subject) {
                    Ok(grant) if visit(&grant) => return faults,
                    Ok(_) => {}
                    Err(fault) => faults.push(fault),
                }
            }
        }
        if namespace.is_empty() {
            return faults;
        }
        for subject in &subjects {
            for binding in self.source.bindings(namespace, subject) {
                let Ok(held) = binding.lens::<kinds::rbac::RoleBinding>() else { continue };
                let name = format!("{}/{}", binding.meta.name, binding.meta.namespace);
                match self.grant(&held.role_ref, namespace, format!("RoleBinding {name:?}"), subject) {
                    Ok(grant) if visit(&grant) => return faults,
                    Ok(_) => {}
                    Err(fault) => faults.push(fault),
                }
            }
        }
        faults
    }

    fn grant(&self, role: &RoleRef, namespace: &str, binding: String, subject: &str) -> Result<Grant, String> {
        let rules = self.rules(&role.kind, namespace, &role.name).ok_or_else(|| not_found(role))?;
        let (role, subject) = (role.clone(), source::describe_subject(subject));
        Ok(Grant { rules, why: Box::new(move || format!("{binding} of {} {:?} to {subject}", role.kind, role.name)) })
    }

    fn rules(&self, kind: &str, namespace: &str, name: &str) -> Option<Arc<dyn AsRef<[PolicyRule]> + Send + Sync>> {
        if kind == "Role" {
            let role = self.source.role(namespace, name)?.lens::<Role>().ok()?;
            return Some(Arc::new(RulesOf(role)));
        }
        let role = self.source.cluster_role(name)?.lens::<ClusterRole>().ok()?;
        Some(Arc::new(RulesOf(role)))
    }
}

/// The rules of a shared role, without a copy.
struct RulesOf<T>(Arc<T>);

impl AsRef<[PolicyRule]> for RulesOf<Role> {
    fn as_ref(&self) -> &[PolicyRule] {
        &self.0.rules
    }
}

impl AsRef<[PolicyRule]> for RulesOf<ClusterRole> {
    fn as_ref(&self) -> &[PolicyRule] {
        &self.0.rules
    }
}

fn not_found(role: &RoleRef) -> String {
    format!("{}.{} {:?} not found", role.kind.to_lowercase(), crate::RBAC_GROUP, role.name)
}

#[async_trait]
impl Authorizer for Rbac {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let mut allowed = None;
        let faults = self.visit(attributes.user, attributes.namespace, |grant| {
            let yes = allow((*grant.rules).as_ref(), attributes);
            if yes {
                allowed = Some((grant.why)());
            }
            yes
        });
        match allowed {
            Some(why) => Decision::Allow { reason: format!("RBAC: allowed by {why}") },
            None if faults.is_empty() => Decision::NoOpinion { reason: String::new() },
            None => Decision::NoOpinion { reason: format!("RBAC: {}", aggregate(&faults)) },
        }
    }

    async fn rules_for(&self, user: &UserInfo, namespace: &str) -> Rules {
        let mut rules = Vec::new();
        let faults = self.visit(user, namespace, |grant| {
            rules.extend((*grant.rules).as_ref().iter().cloned());
            false
        });
        let evaluation_error = if faults.is_empty() { String::new() } else { aggregate(&faults) };
        Rules { rules, incomplete: false, evaluation_error }
    }

    async fn missing(&self, user: &UserInfo, namespace: &str, wanted: &[PolicyRule]) -> Vec<PolicyRule> {
        covers(&self.rules_for(user, namespace).await.rules, wanted).1
    }

    async fn role_rules(&self, kind: &str, namespace: &str, name: &str) -> Option<Vec<PolicyRule>> {
        self.rules(kind, namespace, name).map(|rules| (*rules).as_ref().to_vec())
    }
}

/// One text as it is, several as Go's aggregate prints them, without repeats.
fn aggregate(faults: &[String]) -> String {
    let mut unique: Vec<&String> = Vec::new();
    for fault in faults {
        if !unique.contains(&fault) {
            unique.push(fault);
        }
    }
    match unique.as_slice() {
        [one] => (*one).clone(),
        many => format!("[{}]", many.iter().map(|text| text.as_str()).collect::<Vec<_>>().join(", ")),
    }
}

/// Whether `user` is `subject` of a binding in `namespace` (`""` for cluster bindings).
pub fn is_subject(user: &UserInfo, subject: &Subject, namespace: &str) -> bool {
    match subject.kind.as_str() {
        "User" => user.name == subject.name,
        "Group" => user.is_in(&subject.name),
        "ServiceAccount" => {
            let namespace = if subject.namespace.is_empty() { namespace } else { &subject.namespace };
            split_service_account(&user.name) == Some((namespace, &subject.name))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::source::Fixed;
    use super::*;
    use crate::{AUTHENTICATED, policy};

    async fn ask(rbac: &Rbac, user: &UserInfo, verb: &str, resource: &str, namespace: &str) -> Decision {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        rbac.authorize(&Attributes { namespace, subresource, ..Attributes::resource(user, verb, "", "v1", resource) }).await
    }

    #[tokio::test]
    async fn a_role_binding_reaches_its_namespace_only() {
        let rbac = Rbac::new(Arc::new(Fixed::new(&[
            json!({"kind": "ClusterRole", "metadata": {"name": "reader"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
            json!({"kind": "RoleBinding", "metadata": {"name": "b", "namespace": "a"}, "roleRef": {"kind": "ClusterRole", "name": "reader"},
                   "subjects": [{"kind": "User", "name": "ann"}, {"kind": "ServiceAccount", "name": "bot"}]}),
            json!({"kind": "RoleBinding", "metadata": {"name": "lost", "namespace": "a"}, "roleRef": {"kind": "Role", "name": "gone"},
                   "subjects": [{"kind": "Group", "name": "dev"}]}),
        ])));
        let ann = UserInfo::new("ann", &[AUTHENTICATED]);
        let allowed = ask(&rbac, &ann, "get", "pods", "a").await;
        assert_eq!(allowed.reason(), r#"RBAC: allowed by RoleBinding "b/a" of ClusterRole "reader" to User "ann""#);
        assert!(!ask(&rbac, &ann, "get", "pods", "b").await.is_allowed());
        assert!(!ask(&rbac, &ann, "get", "pods", "").await.is_allowed());
        assert!(ask(&rbac, &crate::service_account_user("a", "bot", ""), "get", "pods", "a").await.is_allowed());
        assert!(!ask(&rbac, &crate::service_account_user("b", "bot", ""), "get", "pods", "a").await.is_allowed());
        let lost = ask(&rbac, &UserInfo::new("x", &["dev"]), "get", "pods", "a").await;
        assert_eq!(lost, Decision::NoOpinion { reason: r#"RBAC: role.rbac.authorization.k8s.io "gone" not found"#.into() });
    }

    #[tokio::test]
    async fn the_default_policy_lets_controllers_do_their_work_and_others_nothing() {
        let rbac = Rbac::new(Arc::new(Fixed::new(&policy::bootstrap_policy())));
        let controller = crate::controller_user("replicaset-controller");
        assert!(ask(&rbac, &controller, "create", "pods", "default").await.is_allowed());
        assert!(!ask(&rbac, &controller, "get", "secrets", "default").await.is_allowed());
        assert!(!ask(&rbac, &UserInfo::new("ann", &[AUTHENTICATED]), "get", "pods", "default").await.is_allowed());
    }
}
