//! The control plane as a whole: what a Deployment, a Service and a namespace do when everything works together.

use client::{Delete, Options, Patch, Target};
use harness::{Cluster, deployment};
use schema::{DocExt, json};

fn available(wanted: i64) -> impl Fn(&[std::sync::Arc<client::Object>]) -> bool {
    move |items| {
        let done = |doc: &schema::Value| {
            doc.i64_at("status.availableReplicas") == Some(wanted)
                && doc.i64_at("status.updatedReplicas") == Some(wanted)
                && doc.i64_at("status.replicas") == Some(wanted)
                && doc.i64_at("status.observedGeneration") == doc.i64_at("metadata.generation")
        };
        items.iter().any(|item| done(&item.value()))
    }
}

fn deployments() -> Target {
    Target::of("apps/v1", "deployments", "default")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_rolls_out_rolls_over_and_rolls_back() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1").await;
    cluster.play_kubelet();
    cluster.admin.create(deployments(), deployment("web", 3, "a:1")).await.unwrap();
    cluster.eventually("available", deployments(), available(3)).await;

    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "a:2"}]}}}});
    cluster.admin.patch(deployments().named("web"), Patch::Strategic, &patch).await.unwrap();
    cluster.eventually("rolled", deployments(), available(3)).await;
    let sets = Target::of("apps/v1", "replicasets", "default");
    let two = cluster.eventually("old set at zero", sets.clone(), |sets| {
        let sizes: Vec<_> = sets.iter().map(|set| set.value().i64_at("spec.replicas")).collect();
        sizes.len() == 2 && sizes.contains(&Some(0)) && sizes.contains(&Some(3))
    });
    assert_eq!(two.await.len(), 2);

    let back = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "a:1"}]}}}});
    cluster.admin.patch(deployments().named("web"), Patch::Strategic, &back).await.unwrap();
    let is_back = |items: &[std::sync::Arc<client::Object>]| {
        items.iter().any(|item| item.meta.annotations.get("deployment.kubernetes.io/revision").is_some_and(|revision| revision == "3"))
    };
    cluster.eventually("revision 3", deployments(), is_back).await;
    cluster.eventually("available again", deployments(), available(3)).await;
    assert_eq!(cluster.admin.list(sets, Options::default()).await.unwrap().items.len(), 2, "the old set became new again");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_a_deployment_takes_sets_and_pods_with_it() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1").await;
    cluster.play_kubelet();
    cluster.admin.create(deployments(), deployment("web", 2, "a:1")).await.unwrap();
    cluster.eventually("available", deployments(), available(2)).await;
    cluster.admin.delete(deployments().named("web"), Options::default()).await.unwrap();
    cluster.eventually("no sets", Target::of("apps/v1", "replicasets", "default"), <[_]>::is_empty).await;
    cluster.eventually("no pods", Target::of("v1", "pods", "default"), <[_]>::is_empty).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphaned_pods_stay_and_are_adopted_again() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1").await;
    cluster.play_kubelet();
    cluster.admin.create(deployments(), deployment("web", 2, "a:1")).await.unwrap();
    cluster.eventually("available", deployments(), available(2)).await;
    let options = Options { delete: Delete { propagation_policy: Some("Orphan".into()), ..Delete::default() }, ..Options::default() };
    cluster.admin.delete(deployments().named("web"), options).await.unwrap();
    cluster.eventually("gone", deployments(), <[_]>::is_empty).await;
    let sets = Target::of("apps/v1", "replicasets", "default");
    cluster.eventually("orphans", sets.clone(), |sets| sets.len() == 1 && sets[0].meta.owner_references.is_empty()).await;
    cluster.admin.create(deployments(), deployment("web", 2, "a:1")).await.unwrap();
    cluster.eventually("adopted", sets, |sets| sets.len() == 1 && sets[0].meta.controller().is_some()).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_gets_slices_and_endpoints_at_target_ports() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1").await;
    cluster.play_kubelet();
    cluster.admin.create(deployments(), deployment("web", 2, "a:1")).await.unwrap();
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}});
    let made = cluster.admin.create(Target::of("v1", "services", "default"), service).await.unwrap();
    assert!(made.value().str_at("spec.clusterIP").starts_with("10.96."));
    let slices = Target::of("discovery.k8s.io/v1", "endpointslices", "default");
    let is_served = |slices: &[std::sync::Arc<client::Object>]| {
        slices.iter().any(|slice| {
            let doc = slice.value();
            slice.meta.labels.get("kubernetes.io/service-name").is_some_and(|name| name == "web")
                && doc.items_at("endpoints").len() == 2
                && doc.items_at("ports")[0].i64_at("port") == Some(8080)
        })
    };
    cluster.eventually("slices", slices, is_served).await;
    let endpoints = Target::of("v1", "endpoints", "default");
    cluster
        .eventually("endpoints", endpoints, |all| {
            all.iter().any(|one| {
                one.meta.name == "web"
                    && one.value().items_at("subsets").first().is_some_and(|subset| subset.items_at("addresses").len() == 2)
            })
        })
        .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_is_furnished_and_emptied() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1").await;
    cluster.play_kubelet();
    let namespaces = Target::of("v1", "namespaces", "");
    cluster.admin.create(namespaces.clone(), json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})).await.unwrap();
    cluster
        .eventually("service account", Target::of("v1", "serviceaccounts", "team"), |all| all.iter().any(|one| one.meta.name == "default"))
        .await;
    cluster
        .eventually("root CA", Target::of("v1", "configmaps", "team"), |all| all.iter().any(|one| one.meta.name == "kube-root-ca.crt"))
        .await;
    let mut doc = deployment("web", 2, "a:1");
    doc.set_at("metadata.namespace", "team");
    cluster.admin.create(Target::of("apps/v1", "deployments", "team"), doc).await.unwrap();
    cluster.eventually("available", Target::of("apps/v1", "deployments", "team"), available(2)).await;
    cluster.admin.delete(namespaces.clone().named("team"), Options::default()).await.unwrap();
    cluster.eventually("gone", namespaces, |all| !all.iter().any(|one| one.meta.name == "team")).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_waits_with_a_reason_until_a_node_comes() {
    let cluster = Cluster::start().await;
    cluster.play_kubelet();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "a"}]}});
    let pods = Target::of("v1", "pods", "default");
    cluster.eventually("account", Target::of("v1", "serviceaccounts", "default"), |all| !all.is_empty()).await;
    cluster.admin.create(pods.clone(), pod).await.unwrap();
    let is_told = |pods: &[std::sync::Arc<client::Object>]| {
        pods.iter().any(|pod| {
            pod.value().items_at("status.conditions").iter().any(|one| one.str_at("message") == "no nodes available to schedule pods")
        })
    };
    cluster.eventually("told", pods.clone(), is_told).await;
    cluster.add_node("n1").await;
    cluster.eventually("bound", pods, |pods| pods.iter().any(|pod| pod.value().str_at("spec.nodeName") == "n1")).await;
    cluster.stop().await;
}

/// The whole set of controllers, on a line that breaks every watch after a few events and every tenth write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_converges_on_a_bad_line() {
    for seed in [1, 2, 3] {
        let cluster = Cluster::start_on_bad_line(seed).await;
        cluster.add_node("n1").await;
        cluster.play_kubelet();
        cluster.admin.create(deployments(), deployment("web", 3, "a:1")).await.unwrap();
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
        cluster.admin.create(Target::of("v1", "services", "default"), service).await.unwrap();
        cluster.eventually("available", deployments(), available(3)).await;
        let patch = json!({"spec": {"replicas": 5, "template": {"spec": {"containers": [{"name": "c", "image": "a:2"}]}}}});
        cluster.admin.patch(deployments().named("web"), Patch::Strategic, &patch).await.unwrap();
        cluster.eventually("rolled", deployments(), available(5)).await;
        let pods = Target::of("v1", "pods", "default");
        cluster
            .eventually("five pods of the new template", pods.clone(), |pods| {
                pods.len() == 5
                    && pods.iter().all(|pod| pod.value().items_at("spec.containers")[0].str_at("image") == "a:2" && !pod.meta.is_deleting())
            })
            .await;
        cluster
            .eventually("five endpoints", Target::of("discovery.k8s.io/v1", "endpointslices", "default"), |slices| {
                let ours =
                    slices.iter().filter(|slice| slice.meta.labels.get("kubernetes.io/service-name").is_some_and(|name| name == "web"));
                ours.map(|slice| {
                    slice.value().items_at("endpoints").iter().filter(|one| one.at("conditions.ready") == Some(&json!(true))).count()
                })
                .sum::<usize>()
                    == 5
            })
            .await;
        let options =
            Options { delete: Delete { propagation_policy: Some("Foreground".into()), ..Delete::default() }, ..Options::default() };
        cluster.admin.delete(deployments().named("web"), options).await.unwrap();
        cluster.eventually("gone", deployments(), <[_]>::is_empty).await;
        cluster.eventually("no sets", Target::of("apps/v1", "replicasets", "default"), <[_]>::is_empty).await;
        cluster.eventually("no pods", pods, <[_]>::is_empty).await;
        cluster.stop().await;
    }
}

fn config_map(name: &str, namespace: &str, owner: &schema::Value) -> schema::Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace, "ownerReferences": [owner]}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_in_another_namespace_are_told_and_do_not_count() {
    let cluster = Cluster::start().await;
    let namespaces = Target::of("v1", "namespaces", "");
    cluster.admin.create(namespaces.clone(), json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "far"}})).await.unwrap();
    let maps = |namespace: &str| Target::of("v1", "configmaps", namespace);
    let owner =
        cluster.admin.create(maps("far"), json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}})).await.unwrap();
    let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.meta.uid});
    // What is shown to the collector already can be found by it.
    cluster.informers.of("v1", "configmaps").synced().await;
    cluster.eventually("owner", maps("far"), |maps| maps.iter().any(|map| map.meta.name == "owner")).await;
    // A cluster-scoped object cannot say where its owner is: nobody may conclude that it is gone.
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "kept", "ownerReferences": [reference]}, "rules": []});
    let roles = Target::of("rbac.authorization.k8s.io/v1", "clusterroles", "");
    cluster.admin.create(roles.clone(), role).await.unwrap();
    cluster.admin.create(maps("default"), config_map("lost", "default", &reference)).await.unwrap();
    cluster.admin.create(maps("far"), config_map("near", "far", &reference)).await.unwrap();
    cluster.eventually("lost is collected", maps("default"), |maps| !maps.iter().any(|map| map.meta.name == "lost")).await;
    for (about, namespace) in [("kept", "default"), ("lost", "default")] {
        cluster
            .eventually("told", Target::of("v1", "events", namespace), |events| {
                events.iter().any(|event| {
                    let doc = event.value();
                    doc.str_at("reason") == "OwnerRefInvalidNamespace" && doc.str_at("involvedObject.name") == about
                })
            })
            .await;
    }
    assert!(cluster.admin.get(roles.named("kept")).await.is_ok());
    assert!(cluster.admin.get(maps("far").named("near")).await.is_ok(), "its owner is where it says");
    cluster.admin.delete(maps("far").named("owner"), Options::default()).await.unwrap();
    cluster.eventually("near is collected", maps("far"), |maps| !maps.iter().any(|map| map.meta.name == "near")).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_loses_its_pods_keeps_its_slice() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1").await;
    cluster.play_kubelet();
    cluster.admin.create(deployments(), deployment("web", 2, "a:1")).await.unwrap();
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"clusterIP": "None", "selector": {"app": "web"}, "ports": [{"port": 80}]}});
    cluster.admin.create(Target::of("v1", "services", "default"), service).await.unwrap();
    let slices = Target::of("discovery.k8s.io/v1", "endpointslices", "default");
    let endpoints = |wanted: usize| {
        move |slices: &[std::sync::Arc<client::Object>]| {
            let ours = slices.iter().filter(|slice| slice.meta.labels.get("kubernetes.io/service-name").is_some_and(|name| name == "web"));
            let sizes: Vec<usize> = ours.map(|slice| slice.value().items_at("endpoints").len()).collect();
            sizes == [wanted]
        }
    };
    let uid = |slices: &[std::sync::Arc<client::Object>]| {
        slices.iter().find(|slice| slice.meta.name.starts_with("web-")).map(|slice| slice.meta.uid.clone())
    };
    let full = cluster.eventually("two", slices.clone(), endpoints(2)).await;
    let ours = full.iter().find(|slice| slice.meta.name.starts_with("web-")).unwrap();
    assert!(ours.meta.annotations.contains_key("endpoints.kubernetes.io/last-change-trigger-time"));
    assert!(ours.meta.labels.contains_key("service.kubernetes.io/headless"));
    cluster.admin.patch(deployments().named("web"), Patch::Merge, &json!({"spec": {"replicas": 0}})).await.unwrap();
    let empty = cluster.eventually("none", slices.clone(), endpoints(0)).await;
    cluster.admin.patch(deployments().named("web"), Patch::Merge, &json!({"spec": {"replicas": 1}})).await.unwrap();
    let one = cluster.eventually("one", slices, endpoints(1)).await;
    assert!(uid(&full) == uid(&empty) && uid(&empty) == uid(&one), "whoever watches sees no gap");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_noticed() {
    let cluster = Cluster::api().await;
    let nobody = harness::line_to(&cluster.core, auth::UserInfo::new("nobody", &[auth::AUTHENTICATED]), &cluster.refusals, &None);
    assert_eq!(nobody.list(deployments(), Options::default()).await.unwrap_err().code, 403);
    let noted = std::mem::take(&mut *cluster.refusals.lock().unwrap());
    assert!(noted[0].starts_with("nobody list /apis/apps/v1/namespaces/default/deployments: "), "{noted:?}");
    cluster.stop().await;
}

/// Two objects that own each other, both blocking: a delete in the foreground of one takes both, and none waits for the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_in_a_circle_are_deleted_in_the_foreground() {
    let cluster = Cluster::start().await;
    let maps = || Target::of("v1", "configmaps", "default");
    let mut uids = Vec::new();
    for name in ["a", "b", "c"] {
        let made =
            cluster.admin.create(maps(), json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})).await.unwrap();
        uids.push((name, made.meta.uid.clone()));
    }
    for (at, name) in ["a", "b", "c"].into_iter().enumerate() {
        let (owner, uid) = &uids[(at + 1) % 3];
        let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": uid, "blockOwnerDeletion": true});
        let patch = json!({"metadata": {"ownerReferences": [reference]}});
        cluster.admin.patch(maps().named(name), Patch::Merge, &patch).await.unwrap();
    }
    let delete = Delete { propagation_policy: Some("Foreground".into()), ..Delete::default() };
    cluster.admin.delete(maps().named("a"), Options { delete, ..Options::default() }).await.unwrap();
    cluster.eventually("the circle is gone", maps(), |items| items.iter().all(|item| item.meta.name.len() > 1)).await;
    cluster.stop().await;
}

/// What is deleted on a node that an administrator called out of service needs no word of that node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_deleted_on_a_node_out_of_service_goes() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1").await;
    cluster.admin.create(deployments(), deployment("web", 1, "a:1")).await.unwrap();
    let pods = || Target::of("v1", "pods", "default");
    let bound = |items: &[std::sync::Arc<client::Object>]| items.iter().any(|item| !item.value().str_at("spec.nodeName").is_empty());
    let uid = cluster.eventually("bound", pods(), bound).await[0].meta.uid.clone();
    let node = || Target::of("v1", "nodes", "").named("n1");
    let down = json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}});
    cluster.admin.patch(node().sub("status"), Patch::Strategic, &down).await.unwrap();
    cluster.admin.delete(deployments().named("web"), Options::default()).await.unwrap();
    let deleting = |items: &[std::sync::Arc<client::Object>]| items.iter().any(|item| item.meta.uid == uid && item.meta.is_deleting());
    cluster.eventually("deleting, and nobody ends it", pods(), deleting).await;
    let mut doc = cluster.admin.get(node()).await.unwrap().value();
    let mut taints = doc.items_at("spec.taints").to_vec();
    taints.push(json!({"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}));
    doc.set_at("spec.taints", taints);
    let meta = json!({"spec": {"taints": doc.at("spec.taints")}});
    cluster.admin.patch(node(), Patch::Merge, &meta).await.unwrap();
    cluster.eventually("gone", pods(), |items| items.iter().all(|item| item.meta.uid != uid)).await;
    cluster.stop().await;
}
