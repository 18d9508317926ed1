//! What a node may do: its own node object, lease and pods, and what its pods name (secrets, config maps, claims and their volumes with
//! the secrets of those, resource claims, tokens of their service accounts), attachments, slices and certificate requests of its own.
//! Nothing that belongs to another node. What a write may hold is the business of the NodeRestriction plug-in: here only the name is
//! known, and of a create not even that.
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
/// Volumes by the secrets that a node mounts them with: `<namespace>/<name>`.
const BY_SECRET: &str = "secrets";

/// The Node authorizer.
pub struct Nodes {
    pods: Arc<Informer>,
    /// Claims' volumes: a persistent volume is its claim's.
    volumes: Arc<Informer>,
    client: Client,
    /// What every node may, whatever its name: `system:node` without what is decided by name.
    rules: Vec<PolicyRule>,
}

/// Resources that are decided about here; the others follow `rules`.
const DECIDED: [(&str, &str); 13] = [
    ("", "nodes"),
    ("", "pods"),
    ("", "secrets"),
    ("", "configmaps"),
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumes"),
    ("", "serviceaccounts"),
    ("coordination.k8s.io", "leases"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "volumeattachments"),
    ("resource.k8s.io", "resourceclaims"),
    ("resource.k8s.io", "resourceslices"),
    ("certificates.k8s.io", "podcertificaterequests"),
];

impl Nodes {
    /// `client` must not need authorization itself: its user is in `system:masters`.
    pub fn start(env: &Env, client: Client) -> Arc<Self> {
        let pods = Informer::start(env, client.clone(), Target::of("v1", "pods", ""), Options::default(), &[(BY_REFERENCE, keys_of)]);
        let of_secrets: &[(&'static str, client::informer::IndexFn)] = &[(BY_SECRET, references::volume_secrets)];
        let volumes = Informer::start(env, client.clone(), Target::of("v1", "persistentvolumes", ""), Options::default(), of_secrets);
        let mut rules = policy::default_rules("system:node");
        rules.retain(|rule| !rule.resources.iter().any(|resource| is_decided(&rule.api_groups, resource)));
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
            ("", "pods") => self.pod(node, asked).await,
            ("", "secrets") => self.secret(node, asked).await,
            ("", "configmaps") => self.read(node, asked, Kind::ConfigMap).await,
            ("", "persistentvolumeclaims") => self.claim(node, asked).await,
            ("", "persistentvolumes") => self.volume(node, asked).await,
            ("", "serviceaccounts") => self.account(node, asked).await,
            ("resource.k8s.io", "resourceclaims") => {
                only_get(asked)?;
                self.related(node, asked, Kind::ResourceClaim).await
            }
            ("resource.k8s.io", "resourceslices") => self.slice(node, asked).await,
            ("certificates.k8s.io", "podcertificaterequests") => self.certificate_request(node, asked).await,
            ("coordination.k8s.io", "leases") => own_lease(node, asked),
            ("storage.k8s.io", "csinodes") => own_csi_node(node, asked),
            ("storage.k8s.io", "volumeattachments") => {
                only_get(asked)?;
                self.owned(node, asked, "storage.k8s.io/v1").await
            }
            _ if allow(&self.rules, asked) => Ok(()),
            _ => Err(String::new()),
        }
    }

    async fn pod(&self, node: &str, asked: &Attributes<'_>) -> Result<(), String> {
        match (asked.subresource, asked.verb) {
            ("", "get") => self.related(node, asked, Kind::Pod).await,
            ("", "list" | "watch") if selects(asked, "spec.nodeName", node) => Ok(()),
            ("", "list" | "watch") if !asked.name.is_empty() => self.related(node, asked, Kind::Pod).await,
            ("", "list" | "watch") => Err("can only list/watch pods with spec.nodeName field selector".into()),
            // Mirror pods of static ones, and the state of its own: admission sees whose they are.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => Err(String::new()),
        }
    }

    /// Reading one named object that a pod of the node names.
    async fn read(&self, node: &str, asked: &Attributes<'_>, kind: Kind) -> Result<(), String> {
        check_read(asked)?;
        self.related(node, asked, kind).await
    }

    /// A secret of a pod, or of a volume that a pod claims.
    async fn secret(&self, node: &str, asked: &Attributes<'_>) -> Result<(), String> {
        check_read(asked)?;
        let volumes = self.volumes.store.by(BY_SECRET, &format!("{}/{}", asked.namespace, asked.name));
        if volumes.iter().any(|volume| self.is_claimed(node, volume)) {
            return Ok(());
        }
        self.related(node, asked, Kind::Secret).await
    }

    async fn claim(&self, node: &str, asked: &Attributes<'_>) -> Result<(), String> {
        match (asked.subresource, asked.verb) {
            ("status", "update" | "patch") => {}
            ("status", _) => return Err("can only get/update/patch this type".into()),
            _ => only_get(asked)?,
        }
        self.related(node, asked, Kind::Claim).await
    }

    async fn account(&self, node: &str, asked: &Attributes<'_>) -> Result<(), String> {
        match (asked.subresource, asked.verb) {
            ("", "get") if !asked.name.is_empty() => self.related(node, asked, Kind::ServiceAccount).await,
            (_, verb) if verb != "create" || asked.name.is_empty() => Err("can only create tokens for individual service accounts".into()),
            ("token", _) => self.related(node, asked, Kind::ServiceAccount).await,
            _ => Err("can only create token subresource of serviceaccount".into()),
        }
    }

    async fn volume(&self, node: &str, asked: &Attributes<'_>) -> Result<(), String> {
        only_get(asked)?;
        let volume = self.volumes.store.get(asked.name).ok_or_else(|| no_relationship(node))?;
        if self.is_claimed(node, &volume) { Ok(()) } else { Err(no_relationship(node)) }
    }

    /// Whether a pod of `node` has the claim that has the volume.
    fn is_claimed(&self, node: &str, volume: &Object) -> bool {
        let volume = volume.value();
        let of_claim = key(node, Kind::Claim, volume.str_at("spec.claimRef.namespace"), volume.str_at("spec.claimRef.name"));
        !self.pods.store.by(BY_REFERENCE, &of_claim).is_empty()
    }

    async fn slice(&self, node: &str, asked: &Attributes<'_>) -> Result<(), String> {
        if !asked.subresource.is_empty() {
            return Err("cannot authorize ResourceSlice subresources".into());
        }
        match asked.verb {
            "create" => Ok(()), // admission sees whose it is
            "get" | "update" | "patch" | "delete" => self.owned(node, asked, "resource.k8s.io/v1").await,
            "watch" | "list" | "deletecollection" if selects(asked, "spec.nodeName", node) => Ok(()),
            "watch" | "list" | "deletecollection" => {
                Err("can only list/watch/deletecollection resourceslices with nodeName field selector".into())
            }
            _ => Err("only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection".into()),
        }
    }

    async fn certificate_request(&self, node: &str, asked: &Attributes<'_>) -> Result<(), String> {
        match (asked.subresource, asked.verb) {
            ("", "create") => Ok(()), // admission sees for which pod
            ("", "get") => self.owned(node, asked, "certificates.k8s.io/v1").await,
            ("", "list" | "watch") if selects(asked, "spec.nodeName", node) => Ok(()),
            ("", "list" | "watch") => Err("can only list/watch podcertificaterequests with spec.nodeName field selector".into()),
            ("", _) => Err("can only create, get, list and watch podcertificaterequests".into()),
            _ => Err("cannot authorize podcertificaterequests subresources".into()),
        }
    }

    /// An object that says whose it is itself.
    async fn owned(&self, node: &str, asked: &Attributes<'_>, api_version: &str) -> Result<(), String> {
        if asked.name.is_empty() {
            return Err("No Object name found".into());
        }
        let target = Target::of(api_version, asked.resource, asked.namespace).named(asked.name);
        let object = self.client.get(target).await.map_err(|_| no_relationship(node))?;
        if object.value().str_at("spec.nodeName") == node { Ok(()) } else { Err(no_relationship(node)) }
    }

    /// Whether a pod of `node` names (or is) what is asked for.
    async fn related(&self, node: &str, asked: &Attributes<'_>, kind: Kind) -> Result<(), String> {
        if asked.name.is_empty() {
            return Err("No Object name found".into());
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

fn is_decided(groups: &[String], resource: &str) -> bool {
    let parent = resource.split('/').next().unwrap_or_default();
    DECIDED.iter().any(|(group, own)| *own == parent && groups.iter().any(|one| one == group))
}

fn no_relationship(node: &str) -> String {
    format!("no relationship found between node '{node}' and this object")
}

fn only_get(asked: &Attributes<'_>) -> Result<(), String> {
    match (asked.verb, asked.subresource) {
        ("get", "") => Ok(()),
        ("get", _) => Err("cannot get subresource".into()),
        _ => Err("can only get individual resources of this type".into()),
    }
}

fn check_read(asked: &Attributes<'_>) -> Result<(), String> {
    if !matches!(asked.verb, "get" | "list" | "watch") {
        return Err("can only read resources of this type".into());
    }
    if !asked.subresource.is_empty() {
        return Err("cannot read subresource".into());
    }
    if asked.namespace.is_empty() { Err("can only read namespaced object of this type".into()) } else { Ok(()) }
}

fn own_node(node: &str, asked: &Attributes<'_>) -> Result<(), String> {
    match (asked.subresource, asked.verb) {
        // A node registers itself: the name stands in the body, which admission sees.
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
        ("", "get" | "list" | "watch") => match asked.name {
            own if own == node => Ok(()),
            "" if selects(asked, "metadata.name", node) => Ok(()),
            "" => Err(format!("node '{node}' cannot read all nodes, only its own Node object")),
            other => Err(format!("node '{node}' cannot read '{other}', only its own Node object")),
        },
        _ => Err(String::new()),
    }
}

fn own_lease(node: &str, asked: &Attributes<'_>) -> Result<(), String> {
    if !matches!(asked.verb, "get" | "create" | "update" | "patch" | "delete") {
        return Err("can only get, create, update, patch, or delete a node lease".into());
    }
    if asked.namespace != "kube-node-lease" {
        return Err("can only access leases in the \"kube-node-lease\" system namespace".into());
    }
    own_named(node, asked, "can only access node lease with the same name as the requesting node")
}

fn own_csi_node(node: &str, asked: &Attributes<'_>) -> Result<(), String> {
    if !matches!(asked.verb, "get" | "create" | "update" | "patch" | "delete") {
        return Err("can only get, create, update, patch, or delete a CSINode".into());
    }
    if !asked.subresource.is_empty() {
        return Err("cannot authorize CSINode subresources".into());
    }
    own_named(node, asked, "can only access CSINode with the same name as the requesting node")
}

/// An object of the node's own name; a create has no name to look at.
fn own_named(node: &str, asked: &Attributes<'_>, why: &str) -> Result<(), String> {
    if asked.verb == "create" || asked.name == node { Ok(()) } else { Err(why.into()) }
}

/// Whether the field selector keeps a list to what is `field=value`.
fn selects(asked: &Attributes<'_>, field: &str, value: &str) -> bool {
    FieldSelector::parse(asked.field_selector).is_ok_and(|selector| selector.exact(field) == Some(value))
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
            "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "template"}],
            "volumes": [{"name": "v", "configMap": {"name": "vol"}}, {"name": "p", "projected": {"sources": [{"secret": {"name": "proj"}}]}},
                        {"name": "c", "persistentVolumeClaim": {"claimName": "data"}}]},
            "status": {"resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": "gpu-x7"}], "extendedResourceClaimStatus": {"resourceClaimName": "extended"}}})
    }

    #[tokio::test]
    async fn a_node_reaches_what_its_pods_name_and_nothing_else() {
        let env = Env::sim(1);
        let volume = json!({"kind": "PersistentVolume", "metadata": {"name": "pv", "resourceVersion": "2"}, "spec": {"claimRef": {"namespace": "d", "name": "data"},
            "csi": {"nodeStageSecretRef": {"name": "disk", "namespace": "d"}, "controllerPublishSecretRef": {"name": "control", "namespace": "d"}}}});
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
            ("get", "secrets", "disk", true),
            ("get", "secrets", "control", false),
            ("get", "resourceclaims.resource.k8s.io", "gpu-x7", true),
            ("get", "resourceclaims.resource.k8s.io", "extended", true),
            ("get", "resourceclaims.resource.k8s.io", "template", false),
            ("list", "resourceclaims.resource.k8s.io", "gpu-x7", false),
            ("patch", "persistentvolumeclaims/status", "data", true),
            ("update", "persistentvolumeclaims", "data", false),
            ("get", "serviceaccounts", "sa", true),
            ("delete", "serviceaccounts", "sa", false),
            ("get", "pods", "web", true),
            ("watch", "pods", "web", true),
            ("get", "pods", "api", false),
            ("get", "pods/exec", "web", false),
            ("create", "events", "", true),
            ("list", "services", "", true),
            ("list", "pods", "", false),
        ] {
            let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            let asked = Attributes { namespace: "d", name, subresource, ..Attributes::resource(&n1, verb, group, "v1", resource) };
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
