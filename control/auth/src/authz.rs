//! The chain of authorizers, and the sentence of a refusal.

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use kinds::rbac::PolicyRule;
use schema::Status;

use crate::seam::{Attributes, Authorizer, Decision, Rules, UserInfo};
use crate::{MASTERS, NODES};

/// `system:masters` first, then each authorizer in turn. The first Allow or Deny counts; nobody's opinion means no.
pub struct Chain {
    /// They come after the server: authorizers read roles and pods through the very server that asks them. They can be exchanged.
    authorizers: ArcSwap<Vec<Arc<dyn Authorizer>>>,
}

impl Chain {
    pub fn new(authorizers: Vec<Arc<dyn Authorizer>>) -> Arc<Self> {
        Arc::new(Self { authorizers: ArcSwap::from_pointee(authorizers) })
    }

    /// A chain that knows nobody but `system:masters` until [`Chain::complete`].
    pub fn masters_only() -> Arc<Self> {
        Self::new(Vec::new())
    }

    /// Says who else decides, from now on.
    pub fn complete(&self, authorizers: Vec<Arc<dyn Authorizer>>) {
        self.authorizers.store(Arc::new(authorizers));
    }

    fn authorizers(&self) -> Arc<Vec<Arc<dyn Authorizer>>> {
        self.authorizers.load_full()
    }
}

/// Whoever it is, whatever it is.
pub struct AlwaysAllow;

/// Nobody, nothing, but for those before it in the chain.
pub struct AlwaysDeny;

#[async_trait]
impl Authorizer for AlwaysAllow {
    async fn authorize(&self, _asked: &Attributes<'_>) -> Decision {
        Decision::Allow { reason: String::new() }
    }

    async fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> Rules {
        Rules { rules: everything(), ..Rules::default() }
    }

    async fn missing(&self, _user: &UserInfo, _namespace: &str, _rules: &[PolicyRule]) -> Vec<PolicyRule> {
        Vec::new()
    }

    async fn role_rules(&self, _kind: &str, _namespace: &str, _name: &str) -> Option<Vec<PolicyRule>> {
        None
    }
}

#[async_trait]
impl Authorizer for AlwaysDeny {
    async fn authorize(&self, _asked: &Attributes<'_>) -> Decision {
        Decision::NoOpinion { reason: "Everything is forbidden.".into() }
    }

    async fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> Rules {
        Rules::default()
    }

    async fn missing(&self, _user: &UserInfo, _namespace: &str, rules: &[PolicyRule]) -> Vec<PolicyRule> {
        rules.to_vec()
    }

    async fn role_rules(&self, _kind: &str, _namespace: &str, _name: &str) -> Option<Vec<PolicyRule>> {
        None
    }
}

/// Every verb on every resource and path.
fn everything() -> Vec<PolicyRule> {
    let star = || vec!["*".to_owned()];
    vec![
        PolicyRule { verbs: star(), api_groups: star(), resources: star(), ..PolicyRule::default() },
        PolicyRule { verbs: star(), non_resource_urls: star(), ..PolicyRule::default() },
    ]
}

#[async_trait]
impl Authorizer for Chain {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.is_in(MASTERS) {
            return Decision::Allow { reason: String::new() };
        }
        let (mut reasons, mut errors) = (Vec::new(), Vec::new());
        for authorizer in self.authorizers().iter() {
            let decision = authorizer.authorize(attributes).await;
            if decision.is_allowed() || decision.is_denied() {
                return decision;
            }
            reasons.extend(Some(decision.reason()).filter(|reason| !reason.is_empty()).map(str::to_owned));
            errors.extend(Some(decision.error()).filter(|error| !error.is_empty()).map(str::to_owned));
        }
        let reason = reasons.join("\n");
        if errors.is_empty() {
            Decision::NoOpinion { reason }
        } else {
            Decision::Failed { denied: false, reason, error: errors.join(", ") }
        }
    }

    async fn rules_for(&self, user: &UserInfo, namespace: &str) -> Rules {
        let mut all = Rules::default();
        if user.is_in(MASTERS) {
            all.rules = everything();
        }
        for authorizer in self.authorizers().iter() {
            let more = authorizer.rules_for(user, namespace).await;
            all.rules.extend(more.rules);
            all.incomplete |= more.incomplete;
            if !more.evaluation_error.is_empty() {
                all.evaluation_error = if all.evaluation_error.is_empty() {
                    more.evaluation_error
                } else {
                    format!("{}; {}", all.evaluation_error, more.evaluation_error)
                };
            }
        }
        all
    }

    async fn missing(&self, user: &UserInfo, namespace: &str, rules: &[PolicyRule]) -> Vec<PolicyRule> {
        crate::rbac::rules::covers(&self.rules_for(user, namespace).await.rules, rules).1
    }

    async fn role_rules(&self, kind: &str, namespace: &str, name: &str) -> Option<Vec<PolicyRule>> {
        for authorizer in self.authorizers().iter() {
            if let Some(rules) = authorizer.role_rules(kind, namespace, name).await {
                return Some(rules);
            }
        }
        None
    }
}

/// Asks, and makes the 403 of a no, or the 500 of an authorizer that failed.
pub async fn require(authorizer: &dyn Authorizer, attributes: &Attributes<'_>) -> Result<(), Status> {
    match authorizer.authorize(attributes).await {
        Decision::Allow { .. } => Ok(()),
        Decision::Deny { reason } | Decision::NoOpinion { reason } => Err(forbidden(attributes, &reason)),
        Decision::Failed { error, .. } => Err(Status::internal(error)),
    }
}

/// `pods "x" is forbidden: User "u" cannot get resource "pods" in API group "" in the namespace "n"[: reason]`
pub fn forbidden(attributes: &Attributes<'_>, reason: &str) -> Status {
    let mut why = format!("User {:?} cannot {}", attributes.user.name, deed(attributes));
    if !reason.is_empty() {
        why.push_str(": ");
        why.push_str(reason);
    }
    Status::forbidden(attributes.group, attributes.resource, attributes.name, &why)
}

fn deed(attributes: &Attributes<'_>) -> String {
    let Attributes { verb, group, resource, subresource, namespace, path, .. } = attributes;
    if !attributes.is_resource() {
        return format!("{verb} path {path:?}");
    }
    let whole = if subresource.is_empty() { (*resource).to_owned() } else { format!("{resource}/{subresource}") };
    let place = if namespace.is_empty() { "at the cluster scope".to_owned() } else { format!("in the namespace {namespace:?}") };
    format!("{verb} resource {whole:?} in API group {group:?} {place}")
}

/// The name of the node that `user` is.
pub fn node_of(user: &UserInfo) -> Option<&str> {
    user.name.strip_prefix(crate::NODE_PREFIX).filter(|name| !name.is_empty() && user.is_in(NODES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_speak_upstreams_sentences() {
        let user = UserInfo::new("alice", &[]);
        let pods = Attributes { namespace: "n", name: "x", subresource: "exec", ..Attributes::resource(&user, "create", "", "v1", "pods") };
        let nodes = Attributes::resource(&user, "list", "", "v1", "nodes");
        let deployments = Attributes { namespace: "n", name: "d", ..Attributes::resource(&user, "get", "apps", "v1", "deployments") };
        for (asked, reason, want) in [
            (&pods, "", r#"pods "x" is forbidden: User "alice" cannot create resource "pods/exec" in API group "" in the namespace "n""#),
            (&nodes, "", r#"nodes is forbidden: User "alice" cannot list resource "nodes" in API group "" at the cluster scope"#),
            (
                &deployments,
                "because",
                r#"deployments.apps "d" is forbidden: User "alice" cannot get resource "deployments" in API group "apps" in the namespace "n": because"#,
            ),
            (&Attributes::path(&user, "get", "/nope"), "", r#"forbidden: User "alice" cannot get path "/nope""#),
        ] {
            assert_eq!(forbidden(asked, reason).message, want);
        }
    }

    #[tokio::test]
    async fn masters_may_always_and_an_empty_chain_says_no() {
        let chain = Chain::new(Vec::new());
        let (root, ann) = (UserInfo::new("root", &[MASTERS]), UserInfo::new("ann", &[]));
        assert!(require(&*chain, &Attributes::resource(&root, "delete", "", "v1", "nodes")).await.is_ok());
        assert_eq!(require(&*chain, &Attributes::resource(&ann, "get", "", "v1", "nodes")).await.unwrap_err().code, 403);
    }
}
