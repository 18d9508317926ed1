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
    let store = on_etcd::fresh_store().await;
    let core = Core::new(Arc::clone(&store), Env::sim(7), Config::default(), Arc::new(Permissive), kinds::all().to_vec());
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

#[tokio::test]
async fn a_runtime_class_must_exist_and_says_what_it_costs_and_where() {
    let cluster = Cluster::bare().await;
    with_account(&cluster).await;
    let class = json!({"metadata": {"name": "vm"}, "handler": "vm", "overhead": {"podFixed": {"cpu": "250m"}},
        "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm", "operator": "Exists"}]}});
    cluster.create(Target::of("node.k8s.io/v1", "runtimeclasses", ""), class).await.unwrap();
    let with = |name: &str, spec: Value| {
        let mut doc = pod(name);
        for (member, value) in spec.as_object().unwrap() {
            doc["spec"][member] = value.clone();
        }
        doc
    };
    let doc = cluster.create(pods(), with("a", json!({"runtimeClassName": "vm", "nodeSelector": {"disk": "fast"}}))).await.unwrap();
    assert_eq!(doc.at("spec.overhead"), Some(&json!({"cpu": "250m"})));
    assert_eq!(doc.at("spec.nodeSelector"), Some(&json!({"disk": "fast", "vm": "yes"})));
    assert!(doc.items_at("spec.tolerations").iter().any(|one| one.str_at("key") == "vm"));
    for (spec, want) in [
        (json!({"runtimeClassName": "nope"}), "pod rejected: RuntimeClass \"nope\" not found"),
        (json!({"overhead": {"cpu": "1"}}), "pod rejected: Pod overhead set without corresponding RuntimeClass defined Overhead"),
        (
            json!({"runtimeClassName": "vm", "overhead": {"cpu": "1"}}),
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
        ),
        (
            json!({"runtimeClassName": "vm", "nodeSelector": {"vm": "no"}}),
            "conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no",
        ),
    ] {
        let status = cluster.create(pods(), with("b", spec)).await.unwrap_err();
        assert_eq!((status.code, status.message), (403, format!("pods \"b\" is forbidden: {want}")));
    }
}

#[tokio::test]
async fn a_claim_without_a_class_gets_the_newest_default() {
    let cluster = Cluster::bare().await;
    let claims = || Target::of("v1", "persistentvolumeclaims", "default");
    let claim = |name: &str| json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    assert_eq!(cluster.create(claims(), claim("early")).await.unwrap().at("spec.storageClassName"), None);
    for (name, marked) in [("plain", "false"), ("fast", "true")] {
        let annotations = json!({"storageclass.kubernetes.io/is-default-class": marked});
        let class = json!({"metadata": {"name": name, "annotations": annotations}, "provisioner": "example.com/p"});
        cluster.create(Target::of("storage.k8s.io/v1", "storageclasses", ""), class).await.unwrap();
    }
    assert_eq!(cluster.create(claims(), claim("late")).await.unwrap().str_at("spec.storageClassName"), "fast");
    let mut none = claim("none");
    none["spec"]["storageClassName"] = json!("");
    assert_eq!(cluster.create(claims(), none).await.unwrap().at("spec.storageClassName"), Some(&json!("")));
}

#[tokio::test]
async fn who_asks_for_a_certificate_is_who_has_proved_it() {
    let cluster = Cluster::bare().await;
    let doc = json!({"metadata": {"name": "a"}, "spec": {"request": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KeAotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K", "signerName": "example.com/s", "usages": ["client auth"],
        "username": "mallory", "uid": "7", "groups": ["system:nodes"], "extra": {"a": ["b"]}}});
    let made = cluster.create(Target::of("certificates.k8s.io/v1", "certificatesigningrequests", ""), doc).await.unwrap();
    assert_eq!(made.str_at("spec.username"), "admin");
    assert_eq!(made.at("spec.groups"), Some(&json!([auth::MASTERS])));
    assert_eq!((made.at("spec.uid"), made.at("spec.extra")), (None, None));
    let mut changed = made.clone();
    changed.set_at("spec.username", "system:node:n1");
    changed.set_at("spec.request", "eQ==");
    let kept = cluster.client().update(Target::of("certificates.k8s.io/v1", "certificatesigningrequests", "").named("a"), changed).await;
    assert_eq!(kept.unwrap().value().at("spec"), made.at("spec"), "what was asked for stays");
}
