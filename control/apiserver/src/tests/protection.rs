//! Pod security, protection finalizers, growing claims, certificates, owners and budgets through the core.

use schema::DocExt;

use super::*;

fn namespaces() -> Target {
    Target::of("v1", "namespaces", "")
}

async fn labelled(cluster: &Cluster, labels: Value) -> Vec<String> {
    let body = Body::Patch { kind: Patch::Merge, bytes: Bytes::from(json!({"metadata": {"labels": labels}}).to_string()) };
    cluster.call(Verb::Patch, namespaces().named("default"), Options::default(), body).await.unwrap().warnings
}

fn careful(name: &str) -> Value {
    let mut doc = pod(name);
    doc.set_at("spec.securityContext", json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}));
    doc["spec"]["containers"][0]["securityContext"] = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    doc
}

#[tokio::test]
async fn a_namespace_demands_and_pods_are_refused_in_upstreams_words() {
    let cluster = Cluster::bare().await;
    with_account(&cluster).await;
    cluster.create(pods(), pod("early")).await.unwrap();
    let warnings = labelled(&cluster, json!({"pod-security.kubernetes.io/enforce": "restricted"})).await;
    assert_eq!(
        warnings,
        [
            "existing pods in namespace \"default\" violate the new PodSecurity enforce level \"restricted:latest\"",
            "early: allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile",
        ]
    );
    let status = cluster.create(pods(), pod("a")).await.unwrap_err();
    assert_eq!(
        status.message,
        "pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false (container \"c\" must set \
         securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"c\" must set \
         securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
    cluster.create(pods(), careful("b")).await.unwrap();
    let labels = json!({"metadata": {"labels": {"x": "y"}}});
    cluster.patch(pods().named("early"), Patch::Merge, labels).await.unwrap();
    let image = json!([{"op": "replace", "path": "/spec/containers/0/image", "value": "other"}]);
    assert_eq!(cluster.patch(pods().named("early"), Patch::Json, image).await.unwrap_err().code, 403, "what a check looks at is looked at");
}

#[tokio::test]
async fn a_template_that_would_violate_is_warned_of() {
    let cluster = Cluster::bare().await;
    labelled(&cluster, json!({"pod-security.kubernetes.io/warn": "baseline", "pod-security.kubernetes.io/warn-version": "v1.30"})).await;
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"hostNetwork": true, "containers": [{"name": "c", "image": "i", "securityContext": {"privileged": true}}]}});
    let doc = json!({"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template}});
    let answer = cluster.call(Verb::Create, Target::of("apps/v1", "deployments", "default"), Options::default(), Body::Value(doc)).await;
    assert_eq!(
        answer.unwrap().warnings,
        ["would violate PodSecurity \"baseline:v1.30\": host namespaces (hostNetwork=true), privileged (container \"c\" must not set \
          securityContext.privileged=true)"]
    );
    let wrong = json!({"metadata": {"name": "x", "labels": {"pod-security.kubernetes.io/enforce": "strict"}}});
    assert_eq!(
        cluster.create(namespaces(), wrong).await.unwrap_err().message,
        "Namespace \"x\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of privileged, \
         baseline, restricted"
    );
}

#[tokio::test]
async fn nothing_is_demanded_of_the_exempt() {
    let mut config = Config::default();
    config.pod_security.defaults.enforce.level = crate::admission::pod_security::Level::Restricted;
    config.pod_security.exempt_namespaces = vec!["other".into()];
    let cluster = Cluster::with(config).await;
    with_account(&cluster).await;
    cluster.create(Target::of("v1", "serviceaccounts", "other"), json!({"metadata": {"name": "default"}})).await.unwrap();
    assert_eq!(cluster.create(pods(), pod("a")).await.unwrap_err().code, 403);
    cluster.create(Target::of("v1", "pods", "other"), pod("a")).await.unwrap();
}

fn claim(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fixed", "volumeName": "v",
        "resources": {"requests": {"storage": "1Gi"}}}})
}

#[tokio::test]
async fn claims_are_protected_and_grow_where_their_class_lets_them() {
    let cluster = Cluster::bare().await;
    let claims = || Target::of("v1", "persistentvolumeclaims", "default");
    let classes = || Target::of("storage.k8s.io/v1", "storageclasses", "");
    cluster.create(classes(), json!({"metadata": {"name": "fixed"}, "provisioner": "example.com/p"})).await.unwrap();
    let made = cluster.create(claims(), claim("x")).await.unwrap();
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    let bound = json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}});
    cluster.patch(claims().named("x").sub("status"), Patch::Merge, bound).await.unwrap();
    let grown = || json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    let status = cluster.patch(claims().named("x"), Patch::Merge, grown()).await.unwrap_err();
    assert_eq!(
        status.message,
        "persistentvolumeclaims \"x\" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc \
         must support resize"
    );
    cluster.patch(classes().named("fixed"), Patch::Merge, json!({"allowVolumeExpansion": true})).await.unwrap();
    cluster.patch(claims().named("x"), Patch::Merge, grown()).await.unwrap();
    let deleted = cluster.delete(claims().named("x"), Options::default()).await.unwrap();
    assert!(!deleted.str_at("metadata.deletionTimestamp").is_empty(), "it waits for its controller");
}

#[tokio::test]
async fn a_bound_pod_takes_on_the_place_of_its_node() {
    let cluster = Cluster::bare().await;
    with_account(&cluster).await;
    let node =
        json!({"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "x": "y"}}});
    cluster.create(Target::of("v1", "nodes", ""), node).await.unwrap();
    let mut doc = pod("a");
    doc.set_at("metadata.labels", json!({"topology.kubernetes.io/zone": "own"}));
    cluster.create(pods(), doc).await.unwrap();
    let binding = json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n1"}});
    cluster.call(Verb::Create, pods().named("a").sub("binding"), Options::default(), Body::Value(binding)).await.unwrap();
    let labels = cluster.get(pods().named("a")).await.unwrap()["metadata"]["labels"].clone();
    assert_eq!(labels, json!({"topology.kubernetes.io/zone": "own", "topology.kubernetes.io/region": "r"}));
    let mut there = pod("b");
    there.set_at("spec.nodeName", "n1");
    assert_eq!(cluster.create(pods(), there).await.unwrap()["metadata"]["labels"]["topology.kubernetes.io/zone"], "z");
}

/// Lets everybody do everything but what `refused` says of a verb and a resource.
struct Refusing(&'static str, &'static str);

#[async_trait::async_trait]
impl auth::Authorizer for Refusing {
    async fn authorize(&self, asked: &auth::Attributes<'_>) -> auth::Decision {
        let reason = String::new();
        if (asked.verb, asked.resource) == (self.0, self.1) {
            auth::Decision::NoOpinion { reason }
        } else {
            auth::Decision::Allow { reason }
        }
    }
    async fn rules_for(&self, _: &UserInfo, _: &str) -> auth::Rules {
        auth::Rules::default()
    }
    async fn missing(&self, _: &UserInfo, _: &str, _: &[auth::PolicyRule]) -> Vec<auth::PolicyRule> {
        Vec::new()
    }
    async fn role_rules(&self, _: &str, _: &str, _: &str) -> Option<Vec<auth::PolicyRule>> {
        None
    }
}

async fn refusing(verb: &'static str, resource: &'static str) -> Cluster {
    let store = on_etcd::fresh_store().await;
    let config = Config { owner_references_enforced: true, ..Config::default() };
    let core =
        Core::new(Arc::clone(&store) as Arc<dyn Store>, Env::sim(7), config, Arc::new(Refusing(verb, resource)), kinds::all().to_vec());
    core.load().await.unwrap();
    let cluster = Cluster { core, store, admin: UserInfo::new("alice", &[]) };
    cluster.create(namespaces(), json!({"metadata": {"name": "default"}})).await.unwrap();
    cluster
}

#[tokio::test]
async fn certificates_are_answered_by_who_may() {
    let (pem, _) = auth::pki::request(&auth::pki::Leaf::client("a", "a", Some(auth::MASTERS))).unwrap();
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem);
    let requests = || Target::of("certificates.k8s.io/v1", "certificatesigningrequests", "");
    let csr =
        |signer: &str| json!({"metadata": {"name": "a"}, "spec": {"request": encoded, "signerName": signer, "usages": ["client auth"]}});
    for (verb, sub, condition, want) in [
        ("approve", "approval", "Approved", "user not permitted to approve requests with signerName \"example.com/s\""),
        ("sign", "status", "Failed", "user not permitted to sign requests with signerName \"example.com/s\""),
    ] {
        let cluster = refusing(verb, "signers").await;
        let status = cluster.create(requests(), csr("kubernetes.io/kube-apiserver-client")).await.unwrap_err();
        assert_eq!(
            status.message,
            "certificatesigningrequests.certificates.k8s.io \"a\" is forbidden: use of kubernetes.io/kube-apiserver-client signer with \
             system:masters group is not allowed"
        );
        cluster.create(requests(), csr("example.com/s")).await.unwrap();
        let answer = json!({"status": {"conditions": [{"type": condition, "status": "True", "reason": "r", "message": "m"}]}});
        let status = cluster.patch(requests().named("a").sub(sub), Patch::Merge, answer).await.unwrap_err();
        assert_eq!(status.message, format!("certificatesigningrequests.certificates.k8s.io \"a\" is forbidden: {want}"));
    }
}

#[tokio::test]
async fn owners_are_given_by_who_may_delete() {
    let owned = |name: &str| json!({"metadata": {"name": name, "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u", "blockOwnerDeletion": true}]}});
    for (verb, want) in [
        ("delete", "cannot set an ownerRef on a resource you can't delete: , <nil>"),
        ("update", "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>"),
    ] {
        let cluster = refusing(verb, "configmaps").await;
        let status = cluster.create(config_maps(), owned("a")).await.unwrap_err();
        assert_eq!(status.message, format!("configmaps \"a\" is forbidden: {want}"));
        cluster.create(config_maps(), json!({"metadata": {"name": "free"}})).await.unwrap();
    }
}

fn budgets() -> Target {
    Target::of("policy/v1", "poddisruptionbudgets", "default")
}

async fn budget(cluster: &Cluster, allowed: i64) {
    let doc = json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}});
    cluster.create(budgets(), doc).await.unwrap();
    let status = json!({"status": {"disruptionsAllowed": allowed, "currentHealthy": allowed + 1, "desiredHealthy": 1, "expectedPods": 9, "observedGeneration": 1}});
    cluster.patch(budgets().named("b").sub("status"), Patch::Merge, status).await.unwrap();
}

/// A pod on a node, running and ready.
async fn running(cluster: &Cluster, name: &str) {
    let mut doc = pod(name);
    doc.set_at("metadata.labels", json!({"app": "a"}));
    doc.set_at("spec.nodeName", "n1");
    cluster.create(pods(), doc).await.unwrap();
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    cluster.patch(pods().named(name).sub("status"), Patch::Merge, status).await.unwrap();
}

async fn evict(cluster: &Cluster, name: &str) -> Result<Value, Status> {
    let eviction = json!({"metadata": {"name": name}});
    object(cluster.call(Verb::Create, pods().named(name).sub("eviction"), Options::default(), Body::Value(eviction)).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_evictions_take_what_the_budget_allows() {
    let cluster = Cluster::bare().await;
    with_account(&cluster).await;
    budget(&cluster, 20).await;
    let names: Vec<String> = (0..40).map(|n| format!("p{n}")).collect();
    for name in &names {
        running(&cluster, name).await;
    }
    let outcomes = futures::future::join_all(names.iter().map(|name| evict(&cluster, name))).await;
    let refused: Vec<&Status> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(refused.iter().all(|status| status.code == 429), "{refused:?}");
    assert_eq!(refused.len(), 20);
    let going = cluster.list(pods(), Options::default()).await.unwrap().items.iter().filter(|pod| pod.meta.is_deleting()).count();
    let held = cluster.get(budgets().named("b")).await.unwrap();
    assert_eq!((going, held.i64_at("status.disruptionsAllowed"), held.map_at("status.disruptedPods").unwrap().len()), (20, Some(0), 20));
    assert_eq!(held.items_at("status.conditions")[0].str_at("reason"), "InsufficientPods");
    let gone = cluster.get(pods().named(held.map_at("status.disruptedPods").unwrap().keys().next().unwrap())).await.unwrap();
    assert!(gone.items_at("status.conditions").iter().any(|one| one.str_at("type") == "DisruptionTarget"), "{gone}");
}

#[tokio::test]
async fn a_budget_refuses_in_upstreams_words_and_lets_go_what_does_not_count() {
    let cluster = Cluster::bare().await;
    with_account(&cluster).await;
    budget(&cluster, 0).await;
    running(&cluster, "a").await;
    let status = evict(&cluster, "a").await.unwrap_err();
    assert_eq!((status.code, status.message.as_str()), (429, "Cannot evict pod as it would violate the pod's disruption budget."));
    let cause = &status.details.unwrap().causes[0];
    assert_eq!(
        (cause.reason.as_str(), cause.message.as_str()),
        ("DisruptionBudget", "The disruption budget b needs 1 healthy pods and has 1 currently")
    );
    let second = json!({"metadata": {"name": "c"}, "spec": {"selector": {}}});
    cluster.create(budgets(), second).await.unwrap();
    assert_eq!(evict(&cluster, "a").await.unwrap_err().code, 500, "two budgets");
    cluster.patch(pods().named("a").sub("status"), Patch::Merge, json!({"status": {"phase": "Failed"}})).await.unwrap();
    evict(&cluster, "a").await.unwrap();
    assert_eq!(cluster.get(pods().named("a")).await.unwrap_err().code, 404);
}
