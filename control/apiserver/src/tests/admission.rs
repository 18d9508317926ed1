use schema::DocExt;

use super::*;

#[tokio::test]
async fn a_pod_gets_its_account_its_token_and_its_tolerations() {
    let cluster = Cluster::bare().await;
    let accounts = || Target::of("v1", "serviceaccounts", "default");
    cluster.create(accounts(), json!({"metadata": {"name": "default"}, "imagePullSecrets": [{"name": "pull"}]})).await.unwrap();
    let plain = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let doc = cluster.create(pods(), plain).await.unwrap();
    assert_eq!(doc.str_at("spec.serviceAccountName"), "default");
    assert_eq!(doc.str_at("spec.serviceAccount"), "default");
    let volume = &doc.items_at("spec.volumes")[0];
    assert!(volume.str_at("name").starts_with("kube-api-access-"));
    assert_eq!(volume.at("projected.sources").unwrap()[0]["serviceAccountToken"], json!({"expirationSeconds": 3607, "path": "token"}));
    let mount = &doc.items_at("spec.containers")[0]["volumeMounts"][0];
    assert_eq!(mount["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount");
    assert_eq!(doc.at("spec.imagePullSecrets"), Some(&json!([{"name": "pull"}])));
    assert_eq!(doc.items_at("spec.tolerations").len(), 2);
    assert_eq!(doc.items_at("spec.tolerations")[0]["tolerationSeconds"], 300);
    assert_eq!((doc.i64_at("spec.priority"), doc.str_at("spec.preemptionPolicy")), (Some(0), "PreemptLowerPriority"));
    let status = cluster
        .create(
            pods(),
            json!({"metadata": {"name": "b"}, "spec": {"serviceAccountName": "none", "containers": [{"name": "c", "image": "i"}]}}),
        )
        .await;
    assert_eq!(
        status.unwrap_err().message,
        "pods \"b\" is forbidden: error looking up service account default/none: serviceaccount \"none\" not found"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_a_little_for_the_account_of_a_new_namespace() {
    let cluster = Cluster::bare().await;
    let (created, ()) = tokio::join!(cluster.create(pods(), pod("a")), async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        with_account(&cluster).await;
    });
    created.unwrap();
    let status = cluster.create(Target::of("v1", "pods", "other"), pod("b")).await.unwrap_err();
    assert_eq!(status.code, 403);
}

#[tokio::test]
async fn priority_classes_become_numbers() {
    let cluster = Cluster::bare().await;
    with_account(&cluster).await;
    let classes = || Target::of("scheduling.k8s.io/v1", "priorityclasses", "");
    cluster.create(classes(), json!({"metadata": {"name": "high"}, "value": 1000})).await.unwrap();
    cluster.create(classes(), json!({"metadata": {"name": "low"}, "value": 10, "globalDefault": true})).await.unwrap();
    let status = cluster.create(classes(), json!({"metadata": {"name": "two"}, "value": 11, "globalDefault": true})).await.unwrap_err();
    assert_eq!(status.code, 403);
    let with = |name: &str, class: &str| {
        let mut doc = pod(name);
        if !class.is_empty() {
            doc.set_at("spec.priorityClassName", class);
        }
        doc
    };
    assert_eq!(cluster.create(pods(), with("a", "high")).await.unwrap().i64_at("spec.priority"), Some(1000));
    let default = cluster.create(pods(), with("b", "")).await.unwrap();
    assert_eq!((default.i64_at("spec.priority"), default.str_at("spec.priorityClassName")), (Some(10), "low"));
    let status = cluster.create(pods(), with("c", "none")).await.unwrap_err();
    assert_eq!(status.message, "pods \"c\" is forbidden: no PriorityClass with name none was found");
}

/// Everybody may everything here, so that admission alone decides.
struct Permissive;

#[async_trait::async_trait]
impl auth::Authorizer for Permissive {
    async fn authorize(&self, _: &auth::Attributes<'_>) -> auth::Decision {
        auth::Decision::Allow { reason: String::new() }
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

#[tokio::test]
async fn a_node_writes_its_own_objects_only() {
    let store = Memory::new();
    let core = Core::new(Arc::clone(&store) as Arc<dyn Store>, Env::sim(7), Config::default(), Arc::new(Permissive), kinds::all().to_vec());
    core.load().await.unwrap();
    let node = Cluster { core: Arc::clone(&core), store: Arc::clone(&store), admin: UserInfo::new("system:node:n1", &[auth::NODES]) };
    let admin = Cluster { core, store, admin: UserInfo::new("admin", &[auth::MASTERS]) };
    for name in ["default", "kube-node-lease"] {
        admin.create(Target::of("v1", "namespaces", ""), json!({"metadata": {"name": name}})).await.unwrap();
    }
    with_account(&admin).await;
    let nodes = || Target::of("v1", "nodes", "");
    let made = node.create(nodes(), json!({"metadata": {"name": "n1", "labels": {"kubernetes.io/hostname": "n1"}}})).await.unwrap();
    assert_eq!(made.at("spec.taints"), Some(&json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}])));
    assert_eq!(node.create(nodes(), json!({"metadata": {"name": "n2"}})).await.unwrap_err().code, 403);
    for (name, on) in [("mine", "n1"), ("foreign", "n2")] {
        let mut doc = pod(name);
        doc.set_at("spec.nodeName", on);
        admin.create(pods(), doc).await.unwrap();
    }
    let status = json!({"status": {"phase": "Running"}});
    node.patch(pods().named("mine").sub("status"), Patch::Merge, status.clone()).await.unwrap();
    assert_eq!(node.patch(pods().named("foreign").sub("status"), Patch::Merge, status).await.unwrap_err().code, 403);
    let labels = json!({"metadata": {"labels": {"x": "y"}}});
    assert_eq!(node.patch(pods().named("mine"), Patch::Merge, labels).await.unwrap_err().code, 403);
    assert_eq!(node.delete(pods().named("foreign"), Options::default()).await.unwrap_err().code, 403);
    let leases = || Target::of("coordination.k8s.io/v1", "leases", "kube-node-lease");
    let lease = |name: &str| json!({"metadata": {"name": name}, "spec": {"holderIdentity": "n1"}});
    node.create(leases(), lease("n1")).await.unwrap();
    assert_eq!(node.create(leases(), lease("n2")).await.unwrap_err().code, 403);
    let token = |name: &str, uid: &str| json!({"spec": {"audiences": [], "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": name, "uid": uid}}});
    let account = || Target::of("v1", "serviceaccounts", "default").named("default").sub("token");
    let uid = |pod: Value| pod.str_at("metadata.uid").to_owned();
    let mine = uid(admin.get(pods().named("mine")).await.unwrap());
    let foreign = uid(admin.get(pods().named("foreign")).await.unwrap());
    assert_eq!(node.create(account(), token("foreign", &foreign)).await.unwrap_err().code, 403);
    assert_eq!(node.create(account(), json!({"spec": {"audiences": []}})).await.unwrap_err().code, 403);
    assert_eq!(node.create(account(), token("mine", &mine)).await.unwrap_err().code, 503, "allowed, but nobody issues tokens here");
    let taint = json!({"spec": {"taints": null}});
    assert_eq!(node.patch(nodes().named("n1"), Patch::Merge, taint).await.unwrap_err().code, 403);
}

/// Signers decide by who asked: nobody says it of somebody else, and nobody changes what was asked for.
#[tokio::test]
async fn a_certificate_request_names_who_made_it() {
    let cluster = Cluster::bare().await;
    let requests = || Target::of("certificates.k8s.io/v1", "certificatesigningrequests", "");
    let spec = json!({"request": "eA==", "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"],
        "username": "system:node:n1", "groups": ["system:nodes"]});
    let doc = cluster.create(requests(), json!({"metadata": {"name": "a"}, "spec": spec})).await.unwrap();
    assert!(doc.str_at("spec.username") != "system:node:n1" && !doc.str_at("spec.username").is_empty(), "{doc}");
    assert!(!doc.items_at("spec.groups").contains(&json!("system:nodes")));
    let mut changed = doc.clone();
    changed.set_at("spec.username", "system:node:n1");
    changed.set_at("spec.request", "eQ==");
    let kept = cluster.client().update(requests().named("a"), changed).await.unwrap().value();
    assert_eq!(kept.at("spec"), doc.at("spec"));
}
