//! Being somebody else: what the `Impersonate-*` headers ask for, and who may.
//!
//! There are five ways, tried in this order; the first that the caller may go is taken:
//!
//! | way | becomes | needs, beside `impersonate-on:<way>:<verb>` for what is asked |
//! |---|---|---|
//! | `associated-node` | the node that the caller's token is bound to | `impersonate:associated-node` on `nodes` named `*` |
//! | `arbitrary-node` | any node | `impersonate:arbitrary-node` on that node |
//! | `serviceaccount` | a service account | `impersonate:serviceaccount` on that account |
//! | `user-info` | anybody else, with uid, groups and extras, but not `system:masters` | `impersonate:user-info` on each of them |
//! | (legacy) | anybody, for whatever he may do | `impersonate` on each of them, and nothing else |
//!
//! Where no way is open, the refusal is that of the last: what clients have always been told.

use std::collections::BTreeMap;
use std::sync::Arc;

use schema::{Status, names};

use crate::authn::unescape;
use crate::authz::{forbidden, require};
use crate::seam::{Attributes, Authorizer, UserInfo};
use crate::{ANONYMOUS, AUTHENTICATED, MASTERS, NODE_PREFIX, NODES, SERVICE_ACCOUNTS, UNAUTHENTICATED, split_service_account};

const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
/// Of whom only the kinds of extras count, not their values.
const ASSOCIATED_KEYS: &str = "authentication.kubernetes.io/associated-node-keys";
/// From so many on, all at once are asked for first.
const MANY: usize = 4;

/// What the `Impersonate-*` headers ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Impersonation {
    pub user: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Who the caller has become.
#[derive(Clone, Debug)]
pub struct Impersonated {
    pub user: Arc<UserInfo>,
    /// The verb of the way that was taken; empty for the legacy one.
    pub constraint: String,
}

/// A constrained way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    UserInfo,
}

impl Way {
    const ALL: [Self; 4] = [Self::AssociatedNode, Self::ArbitraryNode, Self::ServiceAccount, Self::UserInfo];

    fn name(self) -> &'static str {
        match self {
            Self::AssociatedNode => "associated-node",
            Self::ArbitraryNode => "arbitrary-node",
            Self::ServiceAccount => "serviceaccount",
            Self::UserInfo => "user-info",
        }
    }

    /// Whether it leads to `wanted` at all.
    fn leads_to(self, wanted: &Impersonation, caller: &UserInfo) -> bool {
        let (node, account) = (node_name(&wanted.user), split_service_account(&wanted.user));
        let only_name = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        match self {
            Self::AssociatedNode => {
                let bound_to = caller.extra.get(NODE_NAME).map(Vec::as_slice);
                let is_bound = matches!((bound_to, node), (Some([own]), Some(node)) if own == node);
                only_name && is_bound && split_service_account(&caller.name).is_some()
            }
            Self::ArbitraryNode => only_name && node.is_some(),
            Self::ServiceAccount => only_name && account.is_some(),
            Self::UserInfo => node.is_none() && account.is_none(),
        }
    }
}

fn node_name(user: &str) -> Option<&str> {
    user.strip_prefix(NODE_PREFIX).filter(|name| names::is_dns1123_subdomain(name).is_empty())
}

impl Impersonation {
    /// Reads the headers (names in lower case); None where there are none. Without a user it is an error, as upstream.
    pub fn from_headers<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Option<Self>, String> {
        let mut wanted = Self::default();
        for (name, value) in headers {
            match name {
                "impersonate-user" => wanted.user = value.to_owned(),
                "impersonate-uid" => wanted.uid = value.to_owned(),
                "impersonate-group" => wanted.groups.push(value.to_owned()),
                _ => {
                    if let Some(key) = name.strip_prefix("impersonate-extra-") {
                        wanted.extra.entry(unescape(key)).or_default().push(value.to_owned());
                    }
                }
            }
        }
        if wanted.user.is_empty() && wanted != Self::default() {
            return Err(format!("requested [{}] without impersonating a user", wanted.references().join(" ")));
        }
        Ok((!wanted.user.is_empty()).then_some(wanted))
    }

    /// As Go prints the object references that upstream makes of the headers.
    fn references(&self) -> Vec<String> {
        let groups = self.groups.iter().map(|group| format!("{{Group  {group}    }}"));
        let extra = self
            .extra
            .iter()
            .flat_map(|(key, values)| values.iter().map(move |value| format!("{{UserExtra  {value} authentication.k8s.io/v1   {key}}}")));
        let uid = (!self.uid.is_empty()).then(|| format!("{{UID  {} authentication.k8s.io/v1   }}", self.uid));
        groups.chain(extra).chain(uid).collect()
    }

    /// Who the caller of `asked` becomes for it, if he may.
    pub async fn apply(&self, asked: &Attributes<'_>, authorizer: &dyn Authorizer) -> Result<Impersonated, Status> {
        for way in Way::ALL.into_iter().filter(|way| way.leads_to(self, asked.user)) {
            if let Ok(user) = self.constrained(way, asked, authorizer).await {
                return Ok(Impersonated { user: Arc::new(user), constraint: format!("impersonate:{}", way.name()) });
            }
        }
        let user = self.legacy(asked.user, authorizer).await?;
        Ok(Impersonated { user: Arc::new(user), constraint: String::new() })
    }

    async fn legacy(&self, caller: &UserInfo, authorizer: &dyn Authorizer) -> Result<UserInfo, Status> {
        let ask = |group: &'static str, resource: &'static str| Attributes::resource(caller, "impersonate", group, "v1", resource);
        match split_service_account(&self.user) {
            Some((namespace, name)) => require(authorizer, &Attributes { namespace, name, ..ask("", "serviceaccounts") }).await?,
            None => require(authorizer, &Attributes { name: &self.user, ..ask("", "users") }).await?,
        }
        for group in &self.groups {
            require(authorizer, &Attributes { name: group, ..ask("", "groups") }).await?;
        }
        for (key, values) in &self.extra {
            for value in values {
                require(authorizer, &Attributes { name: value, subresource: key, ..ask("authentication.k8s.io", "userextras") }).await?;
            }
        }
        if !self.uid.is_empty() {
            require(authorizer, &Attributes { name: &self.uid, ..ask("authentication.k8s.io", "uids") }).await?;
        }
        Ok(UserInfo { name: self.user.clone(), uid: self.uid.clone(), groups: self.all_groups(Vec::new()), extra: self.extra.clone() })
    }

    async fn constrained(&self, way: Way, asked: &Attributes<'_>, authorizer: &dyn Authorizer) -> Result<UserInfo, Status> {
        let associated = UserInfo { extra: associated_extra(asked.user), ..asked.user.clone() };
        let caller = if way == Way::AssociatedNode { &associated } else { asked.user };
        let on = format!("impersonate-on:{}:{}", way.name(), asked.verb);
        require(authorizer, &Attributes { verb: &on, user: caller, ..asked.clone() }).await?;
        let verb = format!("impersonate:{}", way.name());
        let question = Question { caller, verb: &verb, authorizer };
        match (way, node_name(&self.user), split_service_account(&self.user)) {
            (Way::AssociatedNode, ..) => question.ask("nodes", "", "*", "").await?,
            (Way::ArbitraryNode, Some(node), _) => question.ask("nodes", "", node, "").await?,
            (Way::ServiceAccount, _, Some((namespace, name))) => question.ask("serviceaccounts", namespace, name, "").await?,
            _ => question.ask("users", "", &self.user, "").await?,
        }
        if !self.uid.is_empty() {
            question.ask("uids", "", &self.uid, "").await?;
        }
        question.groups(&self.groups).await?;
        question.extra(&self.extra).await?;
        let of_sort = if node_name(&self.user).is_some() { vec![NODES.to_owned()] } else { Vec::new() };
        Ok(UserInfo { name: self.user.clone(), uid: self.uid.clone(), groups: self.all_groups(of_sort), extra: self.extra.clone() })
    }

    /// The groups asked for, and those that everybody of that sort is in.
    fn all_groups(&self, of_sort: Vec<String>) -> Vec<String> {
        let mut groups = if of_sort.is_empty() { self.groups.clone() } else { of_sort };
        if let (Some((namespace, _)), true) = (split_service_account(&self.user), self.groups.is_empty()) {
            groups = vec![SERVICE_ACCOUNTS.to_owned(), format!("{SERVICE_ACCOUNTS}:{namespace}")];
        }
        let has = |group: &str| groups.iter().any(|own| own == group);
        let missing = match self.user.as_str() {
            ANONYMOUS => (!has(UNAUTHENTICATED)).then_some(UNAUTHENTICATED),
            _ => (!has(AUTHENTICATED) && !has(UNAUTHENTICATED)).then_some(AUTHENTICATED),
        };
        groups.extend(missing.map(str::to_owned));
        groups
    }
}

/// A question is the same for every node that the caller may be bound to.
fn associated_extra(caller: &UserInfo) -> BTreeMap<String, Vec<String>> {
    [(ASSOCIATED_KEYS.to_owned(), caller.extra.keys().cloned().collect())].into()
}

/// Whether the caller may be each of several things, in a constrained way.
struct Question<'a> {
    caller: &'a UserInfo,
    verb: &'a str,
    authorizer: &'a dyn Authorizer,
}

impl Question<'_> {
    fn about(&self, resource: &'static str) -> Attributes<'_> {
        Attributes::resource(self.caller, self.verb, "authentication.k8s.io", "v1", resource)
    }

    async fn ask(&self, resource: &'static str, namespace: &str, name: &str, subresource: &str) -> Result<(), Status> {
        let asked = Attributes { namespace, name, subresource, ..self.about(resource) };
        require(self.authorizer, &asked).await
    }

    async fn groups(&self, groups: &[String]) -> Result<(), Status> {
        let refuse = |name: &str, why: &str| Err(forbidden(&Attributes { name, ..self.about("groups") }, why));
        if groups.iter().any(String::is_empty) {
            return refuse("", "impersonating the empty string group is not allowed");
        }
        if groups.iter().any(|group| group == MASTERS) {
            return refuse(MASTERS, "impersonating the system:masters group is not allowed");
        }
        if groups.len() >= MANY && self.ask("groups", "", "*", "").await.is_ok() {
            return Ok(());
        }
        for group in groups {
            self.ask("groups", "", group, "").await?;
        }
        Ok(())
    }

    async fn extra(&self, extra: &BTreeMap<String, Vec<String>>) -> Result<(), Status> {
        if let Some(why) = extra.iter().find_map(|(key, values)| bad_extra(key, values)) {
            return Err(forbidden(&self.about("userextras"), &why));
        }
        let count: usize = extra.values().map(Vec::len).sum();
        if count >= MANY && self.ask("userextras", "", "*", "*").await.is_ok() {
            return Ok(());
        }
        for (key, values) in extra {
            for value in values {
                self.ask("userextras", "", value, key).await?;
            }
        }
        Ok(())
    }
}

fn bad_extra(key: &str, values: &[String]) -> Option<String> {
    let domain = key.split_once('/').filter(|(_, path)| !path.is_empty()).map(|(domain, _)| domain);
    if key.is_empty() {
        Some("impersonating the empty string key in extra is not allowed".into())
    } else if domain.is_none_or(|domain| !names::is_dns1123_subdomain(domain).is_empty()) {
        let why = format!("extra.key: Invalid value: {key:?}: must be a domain-prefixed path (such as \"acme.io/foo\")");
        Some(format!("impersonating an invalid key in extra is not allowed: {why}"))
    } else if values.iter().any(String::is_empty) {
        Some("impersonating the empty string value in extra is not allowed".into())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use kinds::rbac::PolicyRule;
    use schema::json;

    use super::*;
    use crate::Chain;
    use crate::rbac::Rbac;
    use crate::rbac::source::Fixed;

    fn rbac(rules: schema::Value) -> Rbac {
        let _: Vec<PolicyRule> = serde_json::from_value(rules.clone()).unwrap();
        let role = json!({"kind": "ClusterRole", "metadata": {"name": "r"}, "rules": rules});
        let binding = json!({"kind": "ClusterRoleBinding", "metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "r"},
            "subjects": [{"kind": "User", "name": "ann"}, {"kind": "ServiceAccount", "name": "agent", "namespace": "d"}]});
        Rbac::new(Arc::new(Fixed::new(&[role, binding])))
    }

    fn wanted(user: &str) -> Impersonation {
        Impersonation { user: user.into(), ..Impersonation::default() }
    }

    #[tokio::test]
    async fn a_constrained_way_is_open_for_what_it_names_and_nothing_else() {
        let authority = rbac(json!([
            {"verbs": ["impersonate:user-info"], "apiGroups": ["authentication.k8s.io"], "resources": ["users", "groups"], "resourceNames": ["bob", "dev"]},
            {"verbs": ["impersonate-on:user-info:list"], "apiGroups": [""], "resources": ["pods"]},
        ]));
        let ann = UserInfo::new("ann", &[AUTHENTICATED]);
        let list = Attributes { namespace: "n", ..Attributes::resource(&ann, "list", "", "v1", "pods") };
        let became = wanted("bob").apply(&list, &authority).await.unwrap();
        assert_eq!((became.user.name.as_str(), became.constraint.as_str()), ("bob", "impersonate:user-info"));
        let dev = Impersonation { groups: vec!["dev".into()], ..wanted("bob") };
        assert_eq!(dev.apply(&list, &authority).await.unwrap().user.groups, ["dev", AUTHENTICATED]);
        let legacy = r#"users "bob" is forbidden: User "ann" cannot impersonate resource "users" in API group "" at the cluster scope"#;
        let get = Attributes { verb: "get", ..list.clone() };
        assert_eq!(wanted("bob").apply(&get, &authority).await.unwrap_err().message, legacy);
        for other in [
            wanted("root"),
            Impersonation { uid: "7".into(), ..wanted("bob") },
            Impersonation { groups: vec![MASTERS.into()], ..wanted("bob") },
            Impersonation { groups: vec!["ops".into()], ..wanted("bob") },
            Impersonation { extra: [("a/b".into(), vec!["c".into()])].into(), ..wanted("bob") },
            wanted("system:node:n1"),
            wanted("system:serviceaccount:d:x"),
        ] {
            assert!(other.apply(&list, &authority).await.is_err(), "{other:?}");
        }
    }

    #[tokio::test]
    async fn an_agent_is_its_own_node_and_no_other() {
        let authority = rbac(json!([
            {"verbs": ["impersonate:associated-node"], "apiGroups": ["authentication.k8s.io"], "resources": ["nodes"]},
            {"verbs": ["impersonate-on:associated-node:get"], "apiGroups": [""], "resources": ["pods"]},
        ]));
        let mut agent = UserInfo::new("system:serviceaccount:d:agent", &[SERVICE_ACCOUNTS, AUTHENTICATED]);
        agent.extra.insert(NODE_NAME.into(), vec!["n1".into()]);
        let get = Attributes::resource(&agent, "get", "", "v1", "pods");
        let became = wanted("system:node:n1").apply(&get, &authority).await.unwrap();
        assert_eq!(
            (became.user.groups.join(","), became.constraint.as_str()),
            ("system:nodes,system:authenticated".into(), "impersonate:associated-node")
        );
        assert!(wanted("system:node:n2").apply(&get, &authority).await.is_err());
        let stranger = UserInfo { extra: [(NODE_NAME.into(), vec!["n1".into()])].into(), ..UserInfo::new("ann", &[]) };
        assert!(wanted("system:node:n1").apply(&Attributes { user: &stranger, ..get }, &authority).await.is_err(), "no account, no node");
    }

    #[tokio::test]
    async fn impersonation_is_a_question_to_the_authorizer() {
        let headers = [("impersonate-user", "system:serviceaccount:d:bot"), ("impersonate-extra-a%2fb", "x"), ("accept", "*/*")];
        let wanted_ = Impersonation::from_headers(headers.into_iter()).unwrap().unwrap();
        let chain = Chain::new(Vec::new());
        let (root, ann) = (UserInfo::new("root", &[MASTERS]), UserInfo::new("ann", &[]));
        let user = wanted_.apply(&Attributes::resource(&root, "get", "", "v1", "pods"), &*chain).await.unwrap().user;
        assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:d", "system:authenticated"]);
        assert_eq!(user.extra["a/b"], ["x"]);
        let refused = wanted("bob").apply(&Attributes::path(&ann, "get", "/"), &*chain).await.unwrap_err();
        assert_eq!(
            refused.message,
            r#"users "bob" is forbidden: User "ann" cannot impersonate resource "users" in API group "" at the cluster scope"#
        );
        let masters = Impersonation { groups: vec![MASTERS.into()], ..wanted("bob") };
        let became = masters.apply(&Attributes::path(&root, "get", "/"), &*chain).await.unwrap();
        assert!(became.constraint.is_empty() && became.user.is_in(MASTERS), "only the legacy way leads there");
    }

    #[test]
    fn groups_of_an_impersonated_user_are_those_of_its_sort() {
        let groups = |user: &str, groups: &[&str]| {
            let groups = groups.iter().map(|group| (*group).to_owned()).collect();
            Impersonation { user: user.into(), groups, ..Impersonation::default() }.all_groups(Vec::new()).join(" ")
        };
        assert_eq!(groups("ann", &["dev"]), "dev system:authenticated");
        assert_eq!(groups("ann", &["system:unauthenticated"]), "system:unauthenticated");
        assert_eq!(groups("system:anonymous", &[]), "system:unauthenticated");
        assert_eq!(groups("system:anonymous", &["system:authenticated"]), "system:authenticated system:unauthenticated");
        assert_eq!(groups("system:serviceaccount:d:bot", &["dev"]), "dev system:authenticated");
    }

    #[test]
    fn groups_alone_impersonate_nobody() {
        let error = Impersonation::from_headers([("impersonate-group", "system:masters")].into_iter()).unwrap_err();
        assert_eq!(error, "requested [{Group  system:masters    }] without impersonating a user");
        assert_eq!(Impersonation::from_headers([("accept", "x")].into_iter()), Ok(None));
    }
}
