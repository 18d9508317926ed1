//! What a node may do: its own node object, lease and pods, and what its pods name (secrets, config maps, claims,
//! tokens of their service accounts). Nothing that belongs to another node.
//!
//! There is no graph to keep: one informer of pods has an index whose keys are `<node>/<kind>/<namespace>/<name>` for every
//! object that a pod names, so a question is one look-up. A node asks for a pod's things the moment that it sees the pod,
//! which may be before this informer does; a miss is therefore asked once more of the API itself.

mod references;

use std::sync::Arc;

use async_trait::async_trait;
use client::{Client, Informer, Object, Options, Target};
use env::Env;
use kinds::rbac::PolicyRule;
use schema::{DocExt, FieldSelector};

use self::references::{Kind, key, keys_of, pod_keys};
use crate::authz::node_of;
use crate::policy;
use crate::rbac::rules::allow;
use crate::seam::{Attributes, Authorizer, Decision, Rules, UserInfo};

const BY_REFERENCE: &str = "node-references";

/// The Node authorizer.
pub struct Nodes {
    pods: Arc<Informer>,
    /// Claims' volumes: a persistent volume is its claim's.
    volumes: Arc<Informer>,
    client: Client,
    /// What every node may, whatever its name: `system:node` without what is decided by name.
    rules: Vec<PolicyRule>,
}

/// Resources whose access depends on names; the others follow `rules`.
const BY_NAME: [&str; 8] =
    ["nodes", "pods", "secrets", "configmaps", "persistentvolumeclaims", "persistentvolumes", "serviceaccounts", "events"];

impl Nodes {
    /// `client` must not need authorization itself: its user is in `system:masters`.
    pub fn start(env: &Env, client: Client) -> Arc<Self> {
        let pods = Informer::start(env, client.clone(), Target::of("v1", "pods", ""), Options::default(), &[(BY_REFERENCE, keys_of)]);
        let volumes = Informer::start(env, client.clone(), Target::of("v1", "persistentvolumes", ""), Options::default(), &[]);
        let mut rules = policy::default_rules("system:node");
        rules.retain(|rule| !rule.api_groups.iter().any(String::is_empty) || !rule.resources.iter().any(|resource| is_by_name(resource)));
        Arc::new(Self { pods, volumes, client, rules })
    }

    /// Resolves when the first lists are there.
    pub async fn synced(&self) {
        self.pods.synced().await;
        self.volumes.synced().await;
    }

    async fn decide(&self, node: &str, asked: &Attributes<'_>) -> Result<(), String> {
        if !asked.is_resource() {
            return Err(String::new());
        }
        match (asked.group, asked.resource) {
            ("", "nodes") => own_node(node, asked),
            ("", "pods") => self.own_pod(node, asked).await,
            ("", "secrets") => self.read(node, asked, Kind::Secret).await,
            ("", "configmaps") => self.read(node, asked, Kind::ConfigMap).await,
            ("", "persistentvolumeclaims") => self.claim(node, asked).await,
            ("", "persistentvolumes") => self.volume(node, asked).await,
            ("", "serviceaccounts") => self.account(node, asked).await,
            ("", "events") => only(asked, &["create", "update", "patch"], &[""]),
            ("resource.k8s.io", "resourceclaims") => self.read(node, asked, Kind::ResourceClaim).await,
            ("coordination.k8s.io", "leases") => own_lease(node, asked),
            ("storage.k8s.io", "csinodes") => own_named(node, asked, &["get", "create", "update", "patch", "delete"]),
            ("storage.k8s.io", "volumeattachments") => self.attachment(node, asked).await,
            _ if allow(&self.rules, asked) => Ok(()),
            _ => Err(String::new()),
        }
    }

    async fn own_pod(&self, node: &str, asked: &Attributes<'_>) -> Result<(), String> {
        match (asked.subresource, asked.verb) {
            ("", "list" | "watch") if asked.name.is_empty() => selects(asked, "spec.nodeName", node),
            // Mirror pods of static ones; the pod must name this node, which admission checks.
            ("", "create") => Ok(()),
            // Without a name it is only a question whether there is such a right at all.
            ("", "delete") | ("status", "update" | "patch") | ("eviction", "create") if asked.name.is_empty() => Ok(()),
            ("", "get" | "watch" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
                self.related(node, asked, Kind::Pod).await
            }
            _ => Err(format!("node {node:?} may not {} pods/{}", asked.verb, asked.subresource)),
        }
    }

    /// Reading one named object that a pod of the node names.
    async fn read(&self, node: &str, asked: &Attributes<'_>, kind: Kind) -> Result<(), String> {
        only(asked, &["get", "list", "watch"], &[""])?;
        self.related(node, asked, kind).await
    }

    async fn claim(&self, node: &str, asked: &Attributes<'_>) -> Result<(), String> {
        match (asked.subresource, asked.verb) {
            ("", "get") | ("status", "get" | "update" | "patch") => self.related(node, asked, Kind::Claim).await,
            _ => Err("can only get claims and write their status".into()),
        }
    }

    async fn account(&self, node: &str, asked: &Attributes<'_>) -> Result<(), String> {
        match (asked.subresource, asked.verb) {
            ("token", "create") | ("", "get") => self.related(node, asked, Kind::ServiceAccount).await,
            _ => Err("can only create tokens for individual service accounts".into()),
        }
    }

    async fn volume(&self, node: &str, asked: &Attributes<'_>) -> Result<(), String> {
        only(asked, &["get"], &[""])?;
        let volume = self.volumes.store.get(asked.name).ok_or_else(|| no_relationship(node))?.value();
        let of_claim = key(node, Kind::Claim, volume.str_at("spec.claimRef.namespace"), volume.str_at("spec.claimRef.name"));
        if self.pods.store.by(BY_REFERENCE, &of_claim).is_empty() { Err(no_relationship(node)) } else { Ok(()) }
    }

    async fn attachment(&self, node: &str, asked: &Attributes<'_>) -> Result<(), String> {
        only(asked, &["get"], &[""])?;
        let target = Target::of("storage.k8s.io/v1", "volumeattachments", "").named(asked.name);
        let attachment = self.client.get(target).await.map_err(|_| no_relationship(node))?;
        if attachment.value().str_at("spec.nodeName") == node { Ok(()) } else { Err(no_relationship(node)) }
    }

    /// Whether a pod of `node` names (or is) what is asked for.
    async fn related(&self, node: &str, asked: &Attributes<'_>, kind: Kind) -> Result<(), String> {
        if asked.name.is_empty() {
            return Err("No Object name found".into());
        }
        if asked.namespace.is_empty() {
            return Err("can only read namespaced object of this type".into());
        }
        let wanted = key(node, kind, asked.namespace, asked.name);
        if !self.pods.store.by(BY_REFERENCE, &wanted).is_empty() || self.related_now(node, asked.namespace, &wanted).await {
            return Ok(());
        }
        Err(no_relationship(node))
    }

    /// The same question to the API, for a pod so new that its event has not come yet.
    async fn related_now(&self, node: &str, namespace: &str, wanted: &str) -> bool {
        let options = Options { field_selector: format!("spec.nodeName={node}"), ..Options::default() };
        let pods = self.client.list(Target::of("v1", "pods", namespace), options).await;
        let names = |pod: &Arc<Object>| pod_keys(pod).iter().any(|key| key == wanted);
        pods.is_ok_and(|list| list.items.iter().any(names))
    }
}

#[async_trait]
impl Authorizer for Nodes {
    async fn authorize(&self, asked: &Attributes<'_>) -> Decision {
        let Some(node) = node_of(asked.user) else { return Decision::NoOpinion { reason: String::new() } };
        match self.decide(node, asked).await {
            Ok(()) => Decision::Allow { reason: String::new() },
            Err(reason) => Decision::NoOpinion { reason },
        }
    }

    async fn rules_for(&self, user: &UserInfo, _namespace: &str) -> Rules {
        match node_of(user) {
            Some(_) => Rules {
                incomplete: true,
                evaluation_error: "node authorizer does not support user rule resolution".into(),
                ..Rules::default()
            },
            None => Rules::default(),
        }
    }

    async fn missing(&self, _user: &UserInfo, _namespace: &str, rules: &[PolicyRule]) -> Vec<PolicyRule> {
        rules.to_vec()
    }

    async fn role_rules(&self, _kind: &str, _namespace: &str, _name: &str) -> Option<Vec<PolicyRule>> {
        None
    }
}

fn is_by_name(resource: &str) -> bool {
    BY_NAME.contains(&resource.split('/').next().unwrap_or_default())
}

fn no_relationship(node: &str) -> String {
    format!("no relationship found between node {node:?} and this object")
}

fn only(asked: &Attributes<'_>, verbs: &[&str], subresources: &[&str]) -> Result<(), String> {
    if !verbs.contains(&asked.verb) {
        return Err(format!("can only {} resources of this type", verbs.join("/")));
    }
    if subresources.contains(&asked.subresource) { Ok(()) } else { Err("cannot access this subresource".into()) }
}

fn own_node(node: &str, asked: &Attributes<'_>) -> Result<(), String> {
    let own = asked.name == node;
    match (asked.subresource, asked.verb) {
        // A node registers itself: the name stands in the body.
        ("", "create") => Ok(()),
        ("", "list" | "watch") if asked.name.is_empty() => selects(asked, "metadata.name", node),
        ("", "get" | "list" | "watch" | "update" | "patch") | ("status", "update" | "patch") if own => Ok(()),
        _ => Err(format!("node {node:?} may only read and write its own node")),
    }
}

fn own_lease(node: &str, asked: &Attributes<'_>) -> Result<(), String> {
    if asked.namespace != "kube-node-lease" {
        return Err("can only access leases in the \"kube-node-lease\" system namespace".into());
    }
    own_named(node, asked, &["get", "create", "update", "patch", "delete"])
}

/// An object of the node's own name; a create has no name to look at.
fn own_named(node: &str, asked: &Attributes<'_>, verbs: &[&str]) -> Result<(), String> {
    only(asked, verbs, &[""])?;
    if asked.verb == "create" || asked.name == node {
        Ok(())
    } else {
        Err("can only access an object with the same name as the requesting node".into())
    }
}

/// Whether the field selector keeps the list to what is `field=value`.
fn selects(asked: &Attributes<'_>, field: &str, value: &str) -> Result<(), String> {
    let selector = FieldSelector::parse(asked.field_selector).map_err(|error| error.to_string())?;
    if selector.exact(field) == Some(value) {
        return Ok(());
    }
    Err(format!("can only list/watch {} with the field selector {field}={value}", asked.resource))
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use client::{Answer, List, Request, Response, Transport, Verb};
    use schema::{Status, Value, json};

    use super::*;
    use crate::{AUTHENTICATED, NODES};

    /// Lists what it was given and never sends an event.
    struct Shelf(Vec<Value>);

    #[async_trait]
    impl Transport for Shelf {
        async fn call(&self, request: Request) -> Result<Answer, Status> {
            let response = match request.verb {
                Verb::Watch => Response::Watch(Box::pin(futures::stream::pending())),
                Verb::List => {
                    let pods = request.target.resource == "pods";
                    let items = self.0.iter().filter(|doc| (doc.str_at("kind") == "Pod") == pods);
                    let items = items.map(Object::from_value).collect::<Result<_, _>>()?;
                    Response::List(List { items, resource_version: "9".into(), continue_token: String::new(), remaining: None })
                }
                _ => return Err(Status::not_found("", "x", "x")),
            };
            Ok(Answer { response, warnings: Vec::new() })
        }
    }

    fn pod(name: &str, node: &str) -> Value {
        json!({"kind": "Pod", "metadata": {"name": name, "namespace": "d", "resourceVersion": "3"}, "spec": {
            "nodeName": node, "serviceAccountName": "sa", "imagePullSecrets": [{"name": "pull"}],
            "containers": [{"name": "c", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}}], "envFrom": [{"configMapRef": {"name": "all"}}]}],
            "volumes": [{"name": "v", "configMap": {"name": "vol"}}, {"name": "p", "projected": {"sources": [{"secret": {"name": "proj"}}]}},
                        {"name": "c", "persistentVolumeClaim": {"claimName": "data"}}]}})
    }

    #[tokio::test]
    async fn a_node_reaches_what_its_pods_name_and_nothing_else() {
        let env = Env::sim(1);
        let volume = json!({"kind": "PersistentVolume", "metadata": {"name": "pv", "resourceVersion": "2"}, "spec": {"claimRef": {"namespace": "d", "name": "data"}}});
        let nodes = Nodes::start(&env, Client::new(Arc::new(Shelf(vec![pod("web", "n1"), volume]))));
        nodes.synced().await;
        let (n1, n2) = (UserInfo::new("system:node:n1", &[NODES, AUTHENTICATED]), UserInfo::new("system:node:n2", &[NODES, AUTHENTICATED]));
        for (verb, resource, name, want) in [
            ("get", "secrets", "env", true),
            ("get", "secrets", "pull", true),
            ("watch", "secrets", "proj", true),
            ("get", "secrets", "other", false),
            ("list", "secrets", "", false),
            ("update", "secrets", "env", false),
            ("get", "configmaps", "vol", true),
            ("get", "configmaps", "all", true),
            ("get", "persistentvolumeclaims", "data", true),
            ("create", "serviceaccounts/token", "sa", true),
            ("create", "serviceaccounts/token", "default", false),
            ("patch", "pods/status", "web", true),
            ("delete", "pods", "web", true),
            ("patch", "pods/status", "api", false),
            ("get", "pods/exec", "web", false),
            ("create", "events", "", true),
            ("list", "services", "", true),
            ("list", "pods", "", false),
        ] {
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            let asked = Attributes { namespace: "d", name, subresource, ..Attributes::resource(&n1, verb, "", "v1", resource) };
            assert_eq!(nodes.authorize(&asked).await.is_allowed(), want, "{verb} {resource}/{subresource} {name}");
            let asked = Attributes { user: &n2, ..asked };
            let everyone = matches!(resource, "services" | "events");
            assert_eq!(nodes.authorize(&asked).await.is_allowed(), want && everyone, "n2: {verb} {resource}/{subresource} {name}");
        }
        let own = Attributes { field_selector: "spec.nodeName=n1", ..Attributes::resource(&n1, "watch", "", "v1", "pods") };
        assert!(nodes.authorize(&own).await.is_allowed());
        let pv = Attributes { name: "pv", ..Attributes::resource(&n1, "get", "", "v1", "persistentvolumes") };
        assert!(nodes.authorize(&pv).await.is_allowed());
    }

    #[test]
    fn nodes_and_leases_are_ones_own() {
        let user = UserInfo::new("system:node:n1", &[NODES]);
        for (verb, name, selector, want) in [
            ("get", "n1", "", true),
            ("get", "n2", "", false),
            ("create", "", "", true),
            ("list", "", "", false),
            ("watch", "", "metadata.name=n1", true),
            ("delete", "n1", "", false),
        ] {
            let asked = Attributes { name, field_selector: selector, ..Attributes::resource(&user, verb, "", "v1", "nodes") };
            assert_eq!(own_node("n1", &asked).is_ok(), want, "{verb} {name}");
        }
        for (namespace, name, want) in [("kube-node-lease", "n1", true), ("kube-node-lease", "n2", false), ("default", "n1", false)] {
            let asked = Attributes { namespace, name, ..Attributes::resource(&user, "update", "coordination.k8s.io", "v1", "leases") };
            assert_eq!(own_lease("n1", &asked).is_ok(), want, "{namespace}/{name}");
        }
    }
}
