//! managedFields of every write but apply.

use schema::DocExt;
use schema::apply::managed::Managed;

use super::*;

async fn write(cluster: &Cluster, verb: Verb, target: Target, manager: &str, body: Body) -> Result<Value, Status> {
    object(cluster.call(verb, target, by(manager), body).await?)
}

fn merge(patch: Value) -> Body {
    Body::Patch { kind: Patch::Merge, bytes: Bytes::from(patch.to_string()) }
}

/// A good object of each kind that can be made by hand here, from the table of kinds.
pub(super) fn smallest(kind: &kinds::Descriptor) -> Option<Value> {
    let path = format!("{}/testdata/smallest.jsonl", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the table of smallest objects");
    let docs = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON lines"));
    let mut docs = docs;
    docs.find(|doc| doc.str_at("apiVersion") == kind.api_version() && doc.str_at("kind") == kind.kind)
}

/// Every kind x create, the three patches, update, apply, status: who wrote is told, what did not change is not, and the
/// entries can be read.
#[tokio::test]
async fn every_write_of_every_kind_tells_its_manager() {
    let cluster = Cluster::bare().await;
    with_account(&cluster).await;
    let mut failures = Vec::new();
    for kind in kinds::all().iter().filter(|kind| !kind.storage_prefix.is_empty()) {
        let walked = match smallest(kind) {
            Some(doc) => Walk { cluster: &cluster, kind }.run(doc).await,
            None => Err("testdata/smallest.jsonl has none".into()),
        };
        failures.extend(walked.err().map(|why| format!("{} {}: {why}", kind.api_version(), kind.kind)));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

struct Walk<'a> {
    cluster: &'a Cluster,
    kind: &'a kinds::KindRef,
}

impl Walk<'_> {
    fn target(&self) -> Target {
        let namespace = if self.kind.is_namespaced() { "default" } else { "" };
        Target::of(&self.kind.api_version(), &self.kind.resource, namespace)
    }

    async fn run(&self, mut doc: Value) -> Result<(), String> {
        let name = doc.str_at("metadata.name").to_owned();
        let one = || self.target().named(&name);
        doc.set_at("metadata.labels.walk", "made");
        self.write("maker", Verb::Create, self.target(), Body::Value(doc)).await?;
        for (manager, kind) in [("merger", Patch::Merge), ("strategist", Patch::Strategic)] {
            let bytes = Bytes::from(json!({"metadata": {"labels": {"walk": manager}}}).to_string());
            self.write(manager, Verb::Patch, one(), Body::Patch { kind, bytes }).await?;
        }
        let bytes = Bytes::from_static(br#"[{"op": "replace", "path": "/metadata/labels/walk", "value": "json"}]"#);
        self.write("jason", Verb::Patch, one(), Body::Patch { kind: Patch::Json, bytes }).await?;
        let mut put = self.cluster.get(one()).await.map_err(|status| status.to_string())?;
        put.set_at("metadata.labels.walk", "put");
        let put = self.write("putter", Verb::Update, one(), Body::Value(put)).await?;
        self.writes_nothing(one(), put).await?;
        let meta = json!({"name": name, "labels": {"applied": "yes"}});
        let config = json!({"apiVersion": self.kind.api_version(), "kind": self.kind.kind, "metadata": meta});
        let body = Body::Patch { kind: Patch::Apply, bytes: Bytes::from(config.to_string()) };
        let applied = self.write("applier", Verb::Patch, one(), body).await?;
        let own = r#"applier Apply: {"f:metadata":{"f:labels":{"f:applied":{}}}}"#.to_owned();
        if !owners(&applied).contains(&own) {
            return Err(format!("the applier owns its label alone: {:#?}", owners(&applied)));
        }
        if self.kind.has_status {
            let patch = merge(json!({"metadata": {"annotations": {"seen": "yes"}}}));
            self.write("reporter", Verb::Patch, one().sub("status"), patch).await?;
        }
        let _ = self.cluster.delete(one(), Options::default()).await;
        Ok(())
    }

    async fn write(&self, manager: &str, verb: Verb, target: Target, body: Body) -> Result<Value, String> {
        let written = write(self.cluster, verb, target, manager, body).await;
        let doc = written.map_err(|status| format!("{manager}: {status}"))?;
        self.check(manager, &doc).map_err(|why| format!("{manager}: {why}: {:#?}", owners(&doc)))?;
        Ok(doc)
    }

    async fn writes_nothing(&self, one: Target, doc: Value) -> Result<(), String> {
        let before = self.cluster.store.revision();
        let again =
            write(self.cluster, Verb::Update, one, "nobody", Body::Value(doc.clone())).await.map_err(|status| status.to_string())?;
        if again == doc && self.cluster.store.revision() == before { Ok(()) } else { Err(format!("no change was a write: {again}")) }
    }

    /// The manager has an entry, all entries can be read, none speaks of what nobody owns.
    fn check(&self, manager: &str, doc: &Value) -> Result<(), String> {
        let managed = Managed::decode(doc)?;
        if !managed.owners.keys().any(|owner| owner.manager == manager) {
            return Err("the writer has no entry".into());
        }
        for entry in doc.items_at("metadata.managedFields") {
            let meta = entry.at("fieldsV1").and_then(|fields| fields.get("f:metadata")).cloned().unwrap_or_default();
            let unowned = ["f:name", "f:uid", "f:resourceVersion", "f:managedFields", "f:creationTimestamp", "f:generation"];
            let by_status = entry["subresource"] == json!("status");
            if unowned.iter().any(|name| meta.get(name).is_some()) {
                return Err("somebody owns what the server alone writes".into());
            }
            if self.kind.has_status && !by_status && entry["fieldsV1"].get("f:status").is_some() {
                return Err("a status is owned through the object".into());
            }
        }
        Ok(())
    }
}

#[tokio::test]
async fn defaults_are_the_makers_and_what_admission_adds_is_nobodys() {
    let cluster = Cluster::bare().await;
    with_account(&cluster).await;
    let doc = json!({"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let made = write(&cluster, Verb::Create, pods(), "maker", Body::Value(doc)).await.unwrap();
    let want = concat!(
        r#"maker Update: {"f:metadata":{"f:labels":{".":{},"f:a":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"#,
        r#""f:imagePullPolicy":{},"f:name":{},"f:resources":{},"f:terminationMessagePath":{},"f:terminationMessagePolicy":{}}},"#,
        r#""f:dnsPolicy":{},"f:enableServiceLinks":{},"f:restartPolicy":{},"f:schedulerName":{},"f:securityContext":{},"#,
        r#""f:terminationGracePeriodSeconds":{}}}"#
    );
    assert_eq!(owners(&made), [want]);
    assert!(!made.items_at("spec.tolerations").is_empty(), "admission has added something");
}

#[tokio::test]
async fn a_status_is_owned_through_its_own_endpoint_and_a_binding_by_nobody() {
    let cluster = Cluster::bare().await;
    with_account(&cluster).await;
    let made = write(&cluster, Verb::Create, pods(), "maker", Body::Value(pod("p"))).await.unwrap();
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    write(&cluster, Verb::Create, pods().named("p").sub("binding"), "kube-scheduler", Body::Value(binding)).await.unwrap();
    let status =
        json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}, "spec": {"nodeName": "other"}});
    let done = write(&cluster, Verb::Patch, pods().named("p").sub("status"), "kubelet", merge(status)).await.unwrap();
    let mut want = owners(&made);
    // In one second, so in the order of names.
    want.insert(
        0,
        r#"kubelet Update status: {"f:status":{"f:conditions":{"k:{\"type\":\"Ready\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},"f:status":{},"f:type":{}}},"f:phase":{}}}"#
            .into(),
    );
    assert_eq!(owners(&done), want);
}

#[tokio::test]
async fn who_changes_a_field_takes_it_and_who_owns_nothing_is_forgotten() {
    let cluster = Cluster::bare().await;
    let doc = json!({"metadata": {"name": "a"}, "data": {"k": "1"}});
    write(&cluster, Verb::Create, config_maps(), "one", Body::Value(doc)).await.unwrap();
    let one = || config_maps().named("a");
    let doc = write(&cluster, Verb::Patch, one(), "two", merge(json!({"data": {"k": "2"}}))).await.unwrap();
    assert_eq!(owners(&doc), [r#"one Update: {"f:data":{}}"#, r#"two Update: {"f:data":{"f:k":{}}}"#]);
    let doc = write(&cluster, Verb::Patch, one(), "three", merge(json!({"data": {"k": null, "l": "1"}}))).await.unwrap();
    assert_eq!(owners(&doc), [r#"one Update: {"f:data":{}}"#, r#"three Update: {"f:data":{"f:l":{}}}"#]);
}

/// What clients send of managedFields: kept where it can be read, ignored where it cannot, reset by an empty list.
#[tokio::test]
async fn clients_may_write_and_clear_managed_fields() {
    let cluster = Cluster::bare().await;
    let doc = json!({"metadata": {"name": "a"}, "data": {"k": "1"}});
    write(&cluster, Verb::Create, config_maps(), "one", Body::Value(doc)).await.unwrap();
    let one = || config_maps().named("a");
    let entries = json!([{"manager": "kubectl", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "time": "2020-01-01T00:00:00Z", "fieldsV1": {"f:data": {"f:k": {}}}}]);
    let replace = json!([{"op": "replace", "path": "/metadata/managedFields", "value": entries}]);
    let doc = cluster.patch(one(), Patch::Json, replace).await.unwrap();
    assert_eq!(owners(&doc), [r#"kubectl Apply: {"f:data":{"f:k":{}}}"#]);
    let bad = json!({"metadata": {"managedFields": [{"manager": "x", "operation": "Dream", "apiVersion": "v1"}]}});
    let kept = cluster.patch(one(), Patch::Merge, bad).await.unwrap();
    assert_eq!(kept, doc, "what cannot be read is ignored");
    let mut without = doc.clone();
    without.remove_at("metadata.managedFields");
    assert_eq!(cluster.update(one(), without).await.unwrap(), doc, "what is left out stays");
    for empty in [json!([]), json!([{}])] {
        let cleared = cluster.patch(one(), Patch::Merge, json!({"metadata": {"managedFields": empty}})).await.unwrap();
        assert_eq!(cleared.at("metadata.managedFields"), None);
    }
    let doc = write(&cluster, Verb::Patch, one(), "two", merge(json!({"data": {"k": "2"}}))).await.unwrap();
    assert_eq!(owners(&doc), Vec::<String>::new(), "an object without entries is not tracked until it is applied");
}

#[tokio::test]
async fn the_eleventh_updater_folds_the_oldest_and_a_delete_tells_nothing() {
    let cluster = Cluster::bare().await;
    let made = json!({"metadata": {"name": "a", "finalizers": ["example.com/hold"]}, "data": {"k0": "x"}});
    write(&cluster, Verb::Create, config_maps(), "m0", Body::Value(made)).await.unwrap();
    let one = || config_maps().named("a");
    let mut doc = Value::Null;
    for n in 1..12 {
        let patch = merge(json!({"data": {format!("k{n}"): "x"}}));
        doc = write(&cluster, Verb::Patch, one(), &format!("m{n}"), patch).await.unwrap();
    }
    assert_eq!(doc.items_at("metadata.managedFields").len(), 10);
    assert!(owners(&doc).iter().any(|entry| entry.starts_with("ancient-changes Update")), "{:#?}", owners(&doc));
    let marked = cluster.delete(one(), Options::default()).await.unwrap_or_default();
    drop(marked);
    assert_eq!(owners(&cluster.get(one()).await.unwrap()), owners(&doc));
}

#[tokio::test]
async fn a_scale_moves_the_replicas_of_its_parent() {
    let cluster = Cluster::bare().await;
    let deployments = || Target::of("apps/v1", "deployments", "default");
    let config = |replicas: i64| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
    };
    cluster.apply(deployments().named("web"), "owner", false, config(1)).await.unwrap();
    let scale = || deployments().named("web").sub("scale");
    write(&cluster, Verb::Patch, scale(), "scaler", merge(json!({"spec": {"replicas": 3}}))).await.unwrap();
    let doc = cluster.get(deployments().named("web")).await.unwrap();
    assert_eq!(owners(&doc)[1], r#"scaler Update scale: {"f:spec":{"f:replicas":{}}}"#);
    assert!(!owners(&doc)[0].contains("f:replicas"), "{:#?}", owners(&doc));
    let status = cluster.apply(deployments().named("web"), "owner", false, config(1)).await.unwrap_err();
    assert_eq!(
        status.message,
        r#"Apply failed with 1 conflict: conflict with "scaler" with subresource "scale" using apps/v1: .spec.replicas"#
    );
    let asked = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 5}});
    let status = cluster.apply(scale(), "applier", false, asked.clone()).await.unwrap_err();
    assert_eq!(status.code, 409, "{status}");
    let scaled = cluster.apply(scale(), "applier", true, asked).await.unwrap();
    assert_eq!(scaled.i64_at("spec.replicas"), Some(5));
    let doc = cluster.get(deployments().named("web")).await.unwrap();
    assert_eq!(owners(&doc)[0], r#"applier Apply scale: {"f:spec":{"f:replicas":{}}}"#, "{:#?}", owners(&doc));
}

#[tokio::test]
async fn components_of_this_process_have_the_names_of_the_original() {
    let cluster = Cluster::bare().await;
    for (user, want) in [
        ("system:kube-scheduler", "kube-scheduler"),
        ("system:controller:replicaset-controller", "kube-controller-manager"),
        ("system:serviceaccount:kube-system:job-controller", "kube-controller-manager"),
        ("system:kube-controller-manager", "kube-controller-manager"),
        ("system:node:n1", "kubelet"),
        ("system:apiserver", "kube-apiserver"),
        ("admin", "admin"),
    ] {
        let client = Client::new(cluster.core.transport(UserInfo::new(user, &[auth::MASTERS])));
        let doc = json!({"metadata": {"generateName": "x-"}, "data": {"k": "v"}});
        let made = client.create(config_maps(), doc).await.unwrap().value();
        assert_eq!(
            owners(&made),
            [format!(r#"{want} Update: {{"f:data":{{".":{{}},"f:k":{{}}}},"f:metadata":{{"f:generateName":{{}}}}}}"#)]
        );
    }
}
