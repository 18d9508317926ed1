//! What limits and protects: quotas under load, budgets under a drain, claims in use.

use std::sync::Arc;

use client::{Object, Options, Patch, Request, Target, Verb, request::Body};
use futures::future::join_all;
use harness::{Cluster, deployment};
use schema::{DocExt, Status, Value, json};

fn of(resource: &str) -> Target {
    Target::of("v1", resource, "default")
}

fn used(name: &'static str, want: &'static str) -> impl Fn(&[Arc<Object>]) -> bool {
    move |quotas| {
        quotas.iter().any(|quota| quota.value().map_at("status.used").and_then(|used| used.get(name)).is_some_and(|used| used == want))
    }
}

async fn quota(cluster: &Cluster, hard: Value) {
    let doc = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": hard}});
    cluster.admin.create(of("resourcequotas"), doc).await.unwrap();
    let wanted = hard.as_object().unwrap().len();
    let in_force = move |quotas: &[Arc<Object>]| {
        quotas.iter().any(|quota| quota.value().map_at("status.used").is_some_and(|used| used.len() == wanted))
    };
    cluster.eventually("in force", of("resourcequotas"), in_force).await;
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_holds_under_racing_creates_and_deletes_and_counts_to_the_end() {
    let cluster = Cluster::start().await;
    cluster.eventually("the root certificate", of("configmaps"), |maps| maps.len() == 1).await;
    quota(&cluster, json!({"configmaps": "10", "count/secrets": "5"})).await;
    let most = async |round: usize| {
        let outcomes = join_all((0..30).map(|n| cluster.admin.create(of("configmaps"), map(&format!("m{round}-{n}"))))).await;
        let held = cluster.admin.list(of("configmaps"), Options::default()).await.unwrap().items;
        assert!(held.len() <= 10, "{} config maps", held.len());
        assert!(outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).all(|status| status.code == 403));
        held
    };
    for round in 0..5 {
        let held = most(round).await;
        let own: Vec<_> = held.iter().filter(|map| map.meta.name.starts_with('m')).take(4).collect();
        let deletes = own.iter().map(|map| cluster.admin.delete(of("configmaps").named(&map.meta.name), Options::default()));
        let (deleted, _) = tokio::join!(join_all(deletes), cluster.admin.create(of("configmaps"), map(&format!("late{round}"))));
        assert!(deleted.iter().all(Result::is_ok));
    }
    let count = cluster.admin.list(of("configmaps"), Options::default()).await.unwrap().items.len().to_string();
    let is_counted = |quotas: &[Arc<Object>]| quotas.iter().any(|quota| quota.value()["status"]["used"]["configmaps"] == json!(count));
    cluster.eventually("counted to the end", of("resourcequotas"), is_counted).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_count_until_they_end_and_a_deployment_gets_what_is_left() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1").await;
    quota(&cluster, json!({"pods": "3", "requests.cpu": "1"})).await;
    let pod = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"restartPolicy": "Never",
            "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "200m"}}}]}})
    };
    cluster.eventually("an account", of("serviceaccounts"), |accounts| !accounts.is_empty()).await;
    for name in ["a", "b", "c"] {
        cluster.admin.create(of("pods"), pod(name)).await.unwrap();
    }
    assert_eq!(cluster.admin.create(of("pods"), pod("d")).await.unwrap_err().code, 403);
    cluster.eventually("three", of("resourcequotas"), used("requests.cpu", "600m")).await;
    let over = json!({"status": {"phase": "Succeeded"}});
    cluster.admin.patch(of("pods").named("a").sub("status"), Patch::Merge, &over).await.unwrap();
    cluster.eventually("one is over", of("resourcequotas"), used("requests.cpu", "400m")).await;
    cluster.admin.create(of("pods"), pod("d")).await.unwrap();
    cluster
        .admin
        .patch(of("resourcequotas").named("q"), Patch::Merge, &json!({"spec": {"hard": {"pods": "9", "secrets": "7"}}}))
        .await
        .unwrap();
    cluster.eventually("other limits", of("resourcequotas"), used("secrets", "0")).await;
    cluster.admin.create(of("pods"), pod("e")).await.unwrap();
    cluster.stop().await;
}

fn budgets() -> Target {
    Target::of("policy/v1", "poddisruptionbudgets", "default")
}

fn allowed(want: i64) -> impl Fn(&[Arc<Object>]) -> bool {
    move |budgets| {
        budgets.iter().any(|budget| {
            let doc = budget.value();
            doc.i64_at("status.disruptionsAllowed") == Some(want)
                && doc.i64_at("status.currentHealthy") == Some(2 + want)
                && doc.map_at("status.disruptedPods").is_none()
        })
    }
}

async fn evict(cluster: &Cluster, name: &str) -> Result<(), Status> {
    let doc = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "default"}});
    let target = of("pods").named(name).sub("eviction");
    cluster.admin.call(Request { verb: Verb::Create, target, options: Options::default(), body: Body::Value(doc) }).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_goes_on_as_the_budget_lets_it() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1").await;
    cluster.play_kubelet();
    cluster.admin.create(Target::of("apps/v1", "deployments", "default"), deployment("web", 3, "a:1")).await.unwrap();
    let doc = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    cluster.admin.create(budgets(), doc).await.unwrap();
    let seen = cluster.eventually("one may go", budgets(), allowed(1)).await;
    let status = seen[0].value()["status"].clone();
    assert_eq!(
        (status["desiredHealthy"].clone(), status["expectedPods"].clone(), status["observedGeneration"].clone()),
        (json!(2), json!(3), json!(1))
    );
    assert_eq!(status["conditions"][0]["reason"], "SufficientPods");
    let old = cluster.admin.list(of("pods"), Options::default()).await.unwrap().items;
    let outcomes = join_all(old.iter().map(|pod| evict(&cluster, &pod.meta.name))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    assert!(outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).all(|status| status.code == 429));
    // As `kubectl drain`: each pod again, when the budget allows one more.
    for pod in &old {
        loop {
            cluster.eventually("one may go again", budgets(), allowed(1)).await;
            match evict(&cluster, &pod.meta.name).await {
                Err(status) if status.code == 429 => {}
                Err(status) => assert!(status.is_not_found(), "{status}"),
                Ok(()) => break,
            }
            if cluster.admin.get(of("pods").named(&pod.meta.name)).await.is_err() {
                break;
            }
        }
    }
    let names: Vec<String> = old.iter().map(|pod| pod.meta.name.clone()).collect();
    cluster.eventually("other pods", of("pods"), |pods| pods.len() == 3 && pods.iter().all(|pod| !names.contains(&pod.meta.name))).await;
    cluster.eventually("and healthy", budgets(), allowed(1)).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_stays_while_a_pod_uses_it_and_a_volume_while_it_is_bound() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1").await;
    cluster.play_kubelet();
    cluster.eventually("an account", of("serviceaccounts"), |accounts| !accounts.is_empty()).await;
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    cluster.admin.create(of("persistentvolumeclaims"), claim).await.unwrap();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": "n1",
        "containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}});
    cluster.admin.create(of("pods"), pod).await.unwrap();
    cluster.admin.delete(of("persistentvolumeclaims").named("data"), Options::default()).await.unwrap();
    let volumes = || Target::of("v1", "persistentvolumes", "");
    let volume = |name: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/data"}}})
    };
    for name in ["bound", "free"] {
        cluster.admin.create(volumes(), volume(name)).await.unwrap();
    }
    let bound = json!({"status": {"phase": "Bound"}});
    cluster.admin.patch(volumes().named("bound").sub("status"), Patch::Merge, &bound).await.unwrap();
    for name in ["bound", "free"] {
        cluster.admin.delete(volumes().named(name), Options::default()).await.unwrap();
    }
    let classes = || Target::of("storage.k8s.io/v1", "volumeattributesclasses", "");
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass", "metadata": {"name": "gold"}, "driverName": "d.example.com", "parameters": {"iops": "9"}});
    cluster.admin.create(classes(), class).await.unwrap();
    let mut golden = volume("golden");
    golden.set_at("spec.volumeAttributesClassName", "gold");
    golden["spec"].as_object_mut().unwrap().remove("hostPath");
    golden.set_at("spec.csi", json!({"driver": "d.example.com", "volumeHandle": "h"}));
    cluster.admin.create(volumes(), golden).await.unwrap();
    cluster.admin.delete(classes().named("gold"), Options::default()).await.unwrap();
    // The free one goes, which shows that the controller has looked; the bound one and the claim are still there.
    cluster.eventually("the free volume goes", volumes(), |volumes| volumes.len() == 2).await;
    assert!(cluster.admin.get(of("persistentvolumeclaims").named("data")).await.unwrap().meta.is_deleting());
    cluster.admin.patch(volumes().named("bound").sub("status"), Patch::Merge, &json!({"status": {"phase": "Released"}})).await.unwrap();
    cluster.eventually("released", volumes(), |volumes| volumes.len() == 1).await;
    assert!(cluster.admin.get(classes().named("gold")).await.unwrap().meta.is_deleting());
    cluster.admin.delete(volumes().named("golden"), Options::default()).await.unwrap();
    cluster.eventually("nobody names the class", classes(), <[_]>::is_empty).await;
    cluster.admin.delete(of("pods").named("p"), Options::default()).await.unwrap();
    cluster.eventually("the claim follows its pod", of("persistentvolumeclaims"), <[_]>::is_empty).await;
    cluster.stop().await;
}
