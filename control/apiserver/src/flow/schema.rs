//! FlowSchemas and PriorityLevelConfigurations as their readers need them.

use auth::{Attributes, UserInfo, split_service_account};
use serde::Deserialize;

/// Of `flowcontrol.apiserver.k8s.io/v1` `FlowSchema`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct FlowSchema {
    pub spec: SchemaSpec,
    pub status: SchemaStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct SchemaSpec {
    pub priority_level_configuration: Named,
    pub matching_precedence: i64,
    pub distinguisher_method: Option<Typed>,
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SchemaStatus {
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub ty: String,
    pub status: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Named {
    pub name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Typed {
    #[serde(rename = "type")]
    pub ty: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Rule {
    subjects: Vec<Subject>,
    resource_rules: Vec<ResourceRule>,
    non_resource_rules: Vec<PathRule>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Subject {
    kind: String,
    user: Named,
    group: Named,
    service_account: Account,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Account {
    namespace: String,
    name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ResourceRule {
    verbs: Vec<String>,
    api_groups: Vec<String>,
    resources: Vec<String>,
    cluster_scope: bool,
    namespaces: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PathRule {
    verbs: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    urls: Vec<String>,
}

/// Of `flowcontrol.apiserver.k8s.io/v1` `PriorityLevelConfiguration`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PriorityLevel {
    pub spec: LevelSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LevelSpec {
    #[serde(rename = "type")]
    pub ty: String,
    pub limited: Limited,
    pub exempt: Shares,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Shares {
    pub nominal_concurrency_shares: Option<u32>,
    pub lendable_percent: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Limited {
    #[serde(flatten)]
    pub shares: Shares,
    pub borrowing_limit_percent: Option<u32>,
    pub limit_response: LimitResponse,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LimitResponse {
    #[serde(rename = "type")]
    pub ty: String,
    pub queuing: Option<QueuingSpec>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct QueuingSpec {
    pub queues: Option<usize>,
    pub hand_size: Option<usize>,
    pub queue_length_limit: Option<usize>,
}

impl FlowSchema {
    /// Whether a request is of this schema: some rule names its sender and what it asks for.
    pub(super) fn fits(&self, asked: &Attributes<'_>) -> bool {
        self.spec.rules.iter().any(|rule| rule.fits(asked))
    }

    /// What tells the flows of this schema apart.
    pub(super) fn distinguisher<'a>(&self, asked: &Attributes<'a>) -> &'a str {
        match self.spec.distinguisher_method.as_ref().map(|method| method.ty.as_str()) {
            Some("ByUser") => &asked.user.name,
            Some("ByNamespace") => asked.namespace,
            _ => "",
        }
    }
}

impl Rule {
    fn fits(&self, asked: &Attributes<'_>) -> bool {
        self.subjects.iter().any(|subject| subject.is(asked.user))
            && match asked.is_resource() {
                true => self.resource_rules.iter().any(|rule| rule.fits(asked)),
                false => self.non_resource_rules.iter().any(|rule| rule.fits(asked)),
            }
    }
}

impl Subject {
    fn is(&self, user: &UserInfo) -> bool {
        match self.kind.as_str() {
            "User" => self.user.name == "*" || self.user.name == user.name,
            "Group" => self.group.name == "*" || user.is_in(&self.group.name),
            "ServiceAccount" => split_service_account(&user.name).is_some_and(|(namespace, name)| {
                self.service_account.namespace == namespace && (self.service_account.name == "*" || self.service_account.name == name)
            }),
            _ => false,
        }
    }
}

impl ResourceRule {
    fn fits(&self, asked: &Attributes<'_>) -> bool {
        has(&self.verbs, asked.verb)
            && has(&self.api_groups, asked.group)
            && self.resources.iter().any(|pattern| is_resource(pattern, asked))
            && if asked.namespace.is_empty() { self.cluster_scope } else { has(&self.namespaces, asked.namespace) }
    }
}

impl PathRule {
    fn fits(&self, asked: &Attributes<'_>) -> bool {
        let is = |url: &String| match url.strip_suffix('*') {
            Some(prefix) => asked.path.starts_with(prefix),
            None => url == asked.path,
        };
        has(&self.verbs, asked.verb) && self.urls.iter().any(is)
    }
}

fn has(words: &[String], word: &str) -> bool {
    words.iter().any(|own| own == "*" || own == word)
}

fn is_resource(pattern: &str, asked: &Attributes<'_>) -> bool {
    match pattern.split_once('/') {
        _ if pattern == "*" => true,
        None => asked.subresource.is_empty() && pattern == asked.resource,
        Some(("*", sub)) => sub == asked.subresource,
        Some((resource, sub)) => (resource, sub) == (asked.resource, asked.subresource),
    }
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    #[test]
    fn a_schema_fits_by_sender_and_by_what_is_asked() {
        let schema: FlowSchema = serde_json::from_value(json!({"spec": {"distinguisherMethod": {"type": "ByNamespace"}, "rules": [{
            "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "*"}}, {"kind": "User", "user": {"name": "ann"}}],
            "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "nodes/status"], "namespaces": ["a"], "clusterScope": true}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["/metrics", "/healthz/*"]}],
        }]}}))
        .unwrap();
        let (ann, bob) = (UserInfo::new("ann", &[]), UserInfo::new("bob", &[]));
        let account = auth::service_account_user("kube-system", "x", "");
        let pods = |user, namespace| Attributes { namespace, ..Attributes::resource(user, "get", "", "v1", "pods") };
        for (asked, want) in [
            (pods(&ann, "a"), true),
            (pods(&account, "a"), true),
            (pods(&bob, "a"), false),
            (pods(&ann, "b"), false),
            (Attributes { subresource: "status", ..Attributes::resource(&ann, "get", "", "v1", "nodes") }, true),
            (Attributes::resource(&ann, "get", "", "v1", "nodes"), false),
            (Attributes::resource(&ann, "list", "", "v1", "pods"), false),
            (Attributes::path(&ann, "get", "/healthz/ping"), true),
            (Attributes::path(&ann, "get", "/healthz"), false),
            (Attributes::path(&ann, "get", "/metrics"), true),
        ] {
            assert_eq!(schema.fits(&asked), want, "{asked:?}");
        }
        assert_eq!(schema.distinguisher(&pods(&ann, "a")), "a");
    }
}
