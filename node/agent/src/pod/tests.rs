//! Whole lives of pods on fakes, against the stub of an API, on a paused clock.

use std::time::Duration;

use client::Client;
use contract::fake::{ExecReply, FakeImages, FakePodNet, FakeRuntime, FakeVolumes, Script};
use contract::{Error, ErrorKind, Runtime};
use env::Env;
use schema::{DocExt, Status, Value, json};
use stdx::Instance;

use crate::stub::Stub;
use crate::{Agent, AgentConfig, Drivers};

/// One node over a stub API.
struct World {
    env: Env,
    api: Stub,
    runtime: FakeRuntime,
    images: FakeImages,
    volumes: FakeVolumes,
    net: FakePodNet,
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let env = Env::sim(7);
        Self {
            runtime: FakeRuntime::new(&env),
            images: FakeImages::any(),
            volumes: FakeVolumes::new(),
            net: FakePodNet::new("10.244.0.0/24".parse().unwrap()),
            api: Stub::default(),
            dir: tempfile::tempdir().unwrap(),
            env,
        }
    }

    async fn started() -> Self {
        let world = Self::new();
        world.agent(&world.env);
        world
    }

    fn agent(&self, env: &Env) -> std::sync::Arc<Agent> {
        let mut config = AgentConfig::new("n1", "192.168.0.1".parse().unwrap(), Instance::new("corten", Some(self.dir.path())).unwrap());
        (config.write_files, config.cpu_millis, config.memory_bytes) = (false, Some(4000), Some(8 << 30));
        let drivers = Drivers {
            runtime: std::sync::Arc::new(self.runtime.clone()),
            images: std::sync::Arc::new(self.images.clone()),
            volumes: std::sync::Arc::new(self.volumes.clone()),
            podnet: std::sync::Arc::new(self.net.clone()),
        };
        let agent = Agent::new(config, Client::new(std::sync::Arc::new(self.api.clone())), drivers, env.clone());
        env.spawn("agent", std::sync::Arc::clone(&agent).run());
        agent
    }

    fn pod(&self, name: &str, spec: Value) {
        let mut doc = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "d"}, "spec": spec});
        doc.set_at("spec.nodeName", "n1");
        doc.default_at("spec.restartPolicy", "Always");
        self.api.put("v1", "pods", doc);
    }

    fn get(&self, name: &str) -> Option<Value> {
        self.api.get("v1", "pods", "d", name)
    }

    /// Waits until the pod's document satisfies `holds`.
    async fn until(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            loop {
                match self.get(name) {
                    Some(doc) if holds(&doc) => return doc,
                    _ => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        match tokio::time::timeout(Duration::from_secs(3600), wait).await {
            Ok(doc) => doc,
            Err(_) => panic!("{name} never became {what}: {:#}", self.get(name).unwrap_or_default()["status"]),
        }
    }

    async fn phase(&self, name: &str, phase: &str) -> Value {
        self.until(name, phase, |doc| doc.str_at("status.phase") == phase).await
    }

    async fn gone(&self, name: &str) {
        let wait = async {
            while self.get(name).is_some() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(3600), wait).await.is_ok(), "{name} stays: {:#}", self.get(name).unwrap());
    }

    async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    fn calls(&self) -> Vec<String> {
        self.runtime.calls()
    }
}

fn container(doc: &Value, index: usize) -> &Value {
    &doc.items_at("status.containerStatuses")[index]
}

fn condition<'a>(doc: &'a Value, name: &str) -> &'a str {
    doc.items_at("status.conditions")
        .iter()
        .find(|condition| condition.str_at("type") == name)
        .map_or("", |condition| condition.str_at("status"))
}

fn one(name: &str) -> Value {
    json!({"containers": [{"name": name, "image": "busybox"}]})
}

#[tokio::test(start_paused = true)]
async fn a_pod_lives_and_is_deleted() {
    let world = World::started().await;
    world.pod("web", one("a"));
    let doc = world.phase("web", "Running").await;
    assert_eq!((condition(&doc, "Ready"), doc.str_at("status.podIP"), doc.str_at("status.hostIP")), ("True", "10.244.0.2", "192.168.0.1"));
    assert_eq!((container(&doc, 0).bool_at("ready"), container(&doc, 0).i64_at("restartCount")), (true, Some(0)));
    assert!(container(&doc, 0).str_at("containerID").starts_with("corten://"));
    assert_eq!(doc.str_at("status.qosClass"), "BestEffort");

    world.api.delete_pod("web", 30);
    world.gone("web").await;
    world.settle().await;
    assert_eq!(world.calls(), ["sandbox uid-web", "start a", "signal a 15", "remove sandbox uid-web", "remove a"]);
    assert!(world.runtime.observe().await.unwrap().is_empty(), "nothing of it is left");
    let reasons: Vec<String> = world.api.events().iter().map(|event| event.split(':').next().unwrap().to_owned()).collect();
    for reason in ["Normal Pulled", "Normal Created", "Normal Started", "Normal Killing"] {
        assert!(reasons.contains(&reason.to_owned()), "{reason} in {reasons:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_node_registers_and_keeps_its_lease() {
    let world = World::started().await;
    world.settle().await;
    let node = world.api.get("v1", "nodes", "", "n1").unwrap();
    let ready = node.items_at("status.conditions").iter().find(|condition| condition.str_at("type") == "Ready").unwrap();
    assert_eq!((ready.str_at("status"), ready.str_at("reason")), ("True", "KubeletReady"));
    assert_eq!((node["status"]["capacity"]["cpu"].clone(), node["status"]["allocatable"]["pods"].clone()), (json!("4"), json!("110")));
    assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], "n1");
    let renewed =
        || world.api.get("coordination.k8s.io/v1", "leases", "kube-node-lease", "n1").unwrap().str_at("spec.renewTime").to_owned();
    let first = renewed();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_ne!(renewed(), first);
}

#[tokio::test(start_paused = true)]
async fn the_heartbeat_goes_on_while_pods_are_stuck_stopping() {
    let world = World::started().await;
    world.runtime.script("a", Script { ignores_signals: true, ..Script::default() });
    for index in 0..50 {
        world.pod(&format!("p{index}"), one("a"));
    }
    for index in 0..50 {
        world.phase(&format!("p{index}"), "Running").await;
        world.api.delete_pod(&format!("p{index}"), 60);
    }
    let renewed =
        || world.api.get("coordination.k8s.io/v1", "leases", "kube-node-lease", "n1").unwrap().str_at("spec.renewTime").to_owned();
    for _ in 0..4 {
        let before = renewed();
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert_ne!(renewed(), before);
    }
    assert!(world.get("p0").is_some());
    for index in 0..50 {
        world.gone(&format!("p{index}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn init_containers_run_in_order_and_retry() {
    let world = World::started().await;
    world.runtime.script("one", Script { exits_after: Some((Duration::from_secs(1), 0)), ..Script::default() });
    world.runtime.script("two", Script { exits_after: Some((Duration::from_secs(1), 1)), ..Script::default() });
    world.pod("web", json!({"initContainers": [{"name": "one", "image": "i"}, {"name": "two", "image": "i"}], "containers": [{"name": "app", "image": "i"}]}));
    let doc = world.until("web", "waiting for its second init container", |doc| {
        doc.items_at("status.initContainerStatuses").get(1).is_some_and(|two| two.str_at("state.waiting.reason") == "CrashLoopBackOff")
    });
    let doc = doc.await;
    assert_eq!((doc.str_at("status.phase"), condition(&doc, "Initialized")), ("Pending", "False"));
    assert_eq!(doc.items_at("status.initContainerStatuses")[0].str_at("state.terminated.reason"), "Completed");
    assert_eq!(container(&doc, 0).str_at("state.waiting.reason"), "PodInitializing");
    world.runtime.script("two", Script { exits_after: Some((Duration::ZERO, 0)), ..Script::default() });
    let doc = world.phase("web", "Running").await;
    assert_eq!(condition(&doc, "Initialized"), "True");
    assert!(doc.items_at("status.initContainerStatuses").iter().all(|init| init.bool_at("ready")));
}

#[tokio::test(start_paused = true)]
async fn a_crashing_container_backs_off_longer_and_longer() {
    let world = World::started().await;
    world.runtime.script("a", Script { exits_after: Some((Duration::from_secs(1), 7)), ..Script::default() });
    world.pod("web", one("a"));
    let doc = world.until("web", "in its third back-off", |doc| {
        container_reason(doc) == "CrashLoopBackOff" && container(doc, 0).i64_at("restartCount") == Some(3)
    });
    let doc = doc.await;
    let one = container(&doc, 0);
    assert_eq!((one.i64_at("lastState.terminated.exitCode"), one.str_at("lastState.terminated.reason")), (Some(7), "Error"));
    assert!(one.str_at("state.waiting.message").starts_with("back-off 40s restarting failed container=a pod=web_d(uid-web)"), "{one:#}");
    assert_eq!(doc.str_at("status.phase"), "Running", "it is between two runs");
    world.runtime.script("a", Script::default());
    let doc = world.until("web", "ready", |doc| condition(doc, "Ready") == "True").await;
    assert_eq!(container(&doc, 0).i64_at("restartCount"), Some(4));
}

fn container_reason(doc: &Value) -> &str {
    doc.items_at("status.containerStatuses").first().map_or("", |one| one.str_at("state.waiting.reason"))
}

#[tokio::test(start_paused = true)]
async fn restart_policies_end_pods() {
    for (policy, code, phase) in [("Never", 0, "Succeeded"), ("Never", 3, "Failed"), ("OnFailure", 0, "Succeeded")] {
        let world = World::started().await;
        world.runtime.script("a", Script { exits_after: Some((Duration::from_secs(1), code)), ..Script::default() });
        world.pod("job", json!({"restartPolicy": policy, "containers": [{"name": "a", "image": "i"}]}));
        let doc = world.phase("job", phase).await;
        assert_eq!(container(&doc, 0).i64_at("state.terminated.exitCode"), Some(code.into()), "{policy} {code}");
        world.settle().await;
        assert!(world.runtime.sandboxes().await.unwrap().is_empty(), "its network is freed");
        assert!(world.get("job").is_some(), "a merely terminal pod is never deleted");
        assert_eq!(world.runtime.observe().await.unwrap().len(), 1, "its container stays for its logs");
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_image_backs_off_and_comes() {
    let world = World::started().await;
    world.images.refuse("nope");
    world.pod("web", json!({"containers": [{"name": "a", "image": "nope"}]}));
    let doc = world.until("web", "ErrImagePull", |doc| container_reason(doc) == "ErrImagePull").await;
    assert!(container(&doc, 0).str_at("state.waiting.message").contains("corten image import"), "the message teaches");
    world.until("web", "ImagePullBackOff", |doc| container_reason(doc) == "ImagePullBackOff").await;
    world.images.add("nope", contract::ImageConfig { cmd: vec!["x".into()], ..Default::default() });
    let doc = world.phase("web", "Running").await;
    assert_eq!(container(&doc, 0).i64_at("restartCount"), Some(0), "a missing image is no restart");
    world.images.refuse("never");
    world.pod("never", json!({"containers": [{"name": "a", "image": "never", "imagePullPolicy": "Never"}]}));
    world.until("never", "ErrImageNeverPull", |doc| container_reason(doc) == "ErrImageNeverPull").await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_binary_is_a_start_error() {
    let world = World::started().await;
    let error = Error::new(ErrorKind::Start, "exec: \"x\": executable file not found in $PATH");
    world.runtime.script("a", Script { start_error: Some(error), ..Script::default() });
    world.pod("web", one("a"));
    let doc = world.until("web", "RunContainerError", |doc| container_reason(doc) == "RunContainerError").await;
    let last = &container(&doc, 0)["lastState"]["terminated"];
    assert_eq!((last.i64_at("exitCode"), last.str_at("reason")), (Some(128), "StartError"));
    world.until("web", "CrashLoopBackOff", |doc| container_reason(doc) == "CrashLoopBackOff").await;
    world.pod("once", json!({"restartPolicy": "Never", "containers": [{"name": "a", "image": "i"}]}));
    let doc = world.phase("once", "Failed").await;
    assert_eq!(container(&doc, 0).str_at("state.terminated.reason"), "StartError");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_ignores_sigterm_is_killed_at_the_end_of_its_grace() {
    let world = World::started().await;
    world.runtime.script("a", Script { ignores_signals: true, ..Script::default() });
    world.pod("web", one("a"));
    world.phase("web", "Running").await;
    let began = tokio::time::Instant::now();
    world.api.delete_pod("web", 20);
    world.gone("web").await;
    assert_eq!(began.elapsed().as_secs(), 20);
    assert!(world.calls().contains(&"kill a".into()));
}

#[tokio::test(start_paused = true)]
async fn pre_stop_runs_first_and_spends_the_grace() {
    let world = World::started().await;
    world.runtime.script("a", Script { ignores_signals: true, ..Script::default() });
    world.pod("web", json!({"containers": [{"name": "a", "image": "i", "lifecycle": {"preStop": {"sleep": {"seconds": 8}}}}]}));
    world.phase("web", "Running").await;
    let began = tokio::time::Instant::now();
    world.api.delete_pod("web", 10);
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert!(!world.calls().iter().any(|call| call.starts_with("signal")), "the hook comes before the signal");
    world.gone("web").await;
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_second_delete_shortens_the_grace() {
    let world = World::started().await;
    world.runtime.script("a", Script { ignores_signals: true, ..Script::default() });
    world.pod("web", one("a"));
    world.phase("web", "Running").await;
    let began = tokio::time::Instant::now();
    world.api.delete_pod("web", 600);
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.api.delete_pod("web", 3);
    world.gone("web").await;
    assert_eq!(began.elapsed().as_secs(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_pod_deleted_while_it_starts_leaves_nothing() {
    let world = World::started().await;
    world.runtime.script("a", Script { start_delay: Duration::from_secs(5), ..Script::default() });
    world.pod("web", one("a"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.api.delete_pod("web", 30);
    world.gone("web").await;
    world.settle().await;
    assert!(world.runtime.observe().await.unwrap().is_empty() && world.runtime.sandboxes().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_vanishes_is_ended_and_forgotten() {
    let world = World::started().await;
    world.pod("web", one("a"));
    world.phase("web", "Running").await;
    world.api.delete_pod("web", 0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(world.runtime.observe().await.unwrap().is_empty() && world.runtime.sandboxes().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn sidecars_start_before_and_end_after_the_app() {
    let world = World::started().await;
    world.runtime.script("app", Script { exits_after: Some((Duration::from_secs(30), 0)), ..Script::default() });
    world.pod("job", json!({"restartPolicy": "Never",
        "initContainers": [{"name": "s1", "image": "i", "restartPolicy": "Always"}, {"name": "s2", "image": "i", "restartPolicy": "Always"}],
        "containers": [{"name": "app", "image": "i"}]}));
    world.phase("job", "Running").await;
    world.phase("job", "Succeeded").await;
    let calls: Vec<String> = world.calls().into_iter().filter(|call| call.starts_with("start") || call.starts_with("signal")).collect();
    assert_eq!(calls, ["start s1", "start s2", "start app", "signal s2 15", "signal s1 15"]);
}

#[tokio::test(start_paused = true)]
async fn probes_gate_readiness_and_restart_the_sick() {
    let world = World::started().await;
    let sick = ExecReply { code: 1, stdout: "sick".into(), ..ExecReply::default() };
    let script = |live: &ExecReply, ready: &ExecReply| Script {
        exec: [("live".to_owned(), live.clone()), ("ready".to_owned(), ready.clone())].into(),
        ..Script::default()
    };
    let well = ExecReply::default();
    world.runtime.script("a", script(&well, &sick));
    world.pod(
        "web",
        json!({"containers": [{"name": "a", "image": "i",
        "livenessProbe": {"exec": {"command": ["live"]}, "periodSeconds": 5, "failureThreshold": 2},
        "readinessProbe": {"exec": {"command": ["ready"]}, "periodSeconds": 5}}]}),
    );
    let doc = world.phase("web", "Running").await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(condition(&world.get("web").unwrap(), "Ready"), "False");
    assert_eq!(container(&doc, 0).i64_at("restartCount"), Some(0));
    world.runtime.script("a", script(&sick, &well));
    let id = world.runtime.running("a")[0].clone();
    world.runtime.exit(&id, 1);
    world.until("web", "ready", |doc| condition(doc, "Ready") == "True").await;
    let doc = world.until("web", "restarted for its liveness", |doc| container(doc, 0).i64_at("restartCount") == Some(2)).await;
    assert_eq!(container(&doc, 0).i64_at("lastState.terminated.exitCode"), Some(143));
    let events = world.api.events();
    assert!(events.contains(&"Warning Unhealthy: Liveness probe failed: sick".into()), "{events:#?}");
    assert!(events.contains(&"Normal Killing: Container a failed liveness probe, will be restarted".into()), "{events:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_restarted_agent_touches_no_container() {
    let world = World::new();
    let first = Env::sim(1);
    world.agent(&first);
    world.runtime.script("b", Script { exits_after: Some((Duration::from_secs(1), 1)), ..Script::default() });
    world.pod("web", json!({"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]}));
    world.until("web", "restarted once", |doc| container_of(doc, "b").and_then(|b| b.i64_at("restartCount")) == Some(2)).await;
    let before = world.runtime.running("a");
    first.stop(Duration::from_secs(1)).await;
    world.runtime.drop_reader();
    let starts = |name: &str| world.calls().iter().filter(|call| **call == format!("start {name}")).count();
    let started = (starts("a"), starts("b"));
    tokio::time::sleep(Duration::from_secs(3)).await;

    world.runtime.script("b", Script::default());
    world.agent(&Env::sim(2));
    let went_on = |doc: &Value| container_of(doc, "b").is_some_and(|b| b.i64_at("restartCount") >= Some(3) && b.bool_at("ready"));
    let doc = world.until("web", "ready again with a count that goes on", went_on).await;
    assert_eq!((world.runtime.running("a"), starts("a")), (before, started.0), "the running container was left alone");
    assert_eq!(container_of(&doc, "a").unwrap().i64_at("restartCount"), Some(0));
}

fn container_of<'a>(doc: &'a Value, name: &str) -> Option<&'a Value> {
    doc.items_at("status.containerStatuses").iter().find(|one| one.str_at("name") == name)
}

#[tokio::test(start_paused = true)]
async fn after_a_reboot_init_containers_run_again_and_the_count_goes_on() {
    let mut world = World::new();
    let first = Env::sim(1);
    let init = || Script { exits_after: Some((Duration::from_secs(1), 0)), ..Script::default() };
    world.runtime.script("init", init());
    world.agent(&first);
    world.pod("web", json!({"initContainers": [{"name": "init", "image": "i"}], "containers": [{"name": "a", "image": "i"}]}));
    world.pod("once", json!({"restartPolicy": "Never", "containers": [{"name": "a", "image": "i"}]}));
    world.phase("web", "Running").await;
    world.phase("once", "Running").await;
    first.stop(Duration::from_secs(1)).await;
    // A new runtime knows nothing.
    world.runtime = FakeRuntime::new(&world.env);
    world.runtime.script("init", init());
    world.agent(&Env::sim(2));
    let doc = world.phase("once", "Failed").await;
    assert_eq!(container(&doc, 0).str_at("state.terminated.reason"), "ContainerStatusUnknown");
    let doc = world
        .until("web", "ready again", |doc| condition(doc, "Ready") == "True" && container(doc, 0).i64_at("restartCount") == Some(1))
        .await;
    assert_eq!(container(&doc, 0).str_at("lastState.terminated.reason"), "ContainerStatusUnknown");
    let starts: Vec<String> = world.calls().into_iter().filter(|call| call.starts_with("start")).collect();
    assert_eq!(starts, ["start init", "start a"]);
}

#[tokio::test(start_paused = true)]
async fn containers_without_a_pod_are_ended() {
    let world = World::new();
    let first = Env::sim(1);
    world.agent(&first);
    world.pod("web", one("a"));
    world.phase("web", "Running").await;
    first.stop(Duration::from_secs(1)).await;
    world.runtime.drop_reader();
    world.api.delete_pod("web", 0);
    world.agent(&Env::sim(2));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(world.runtime.observe().await.unwrap().is_empty() && world.runtime.sandboxes().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_the_node_cannot_do_is_refused_by_name() {
    let world = World::started().await;
    world.pod("web", json!({"volumes": [{"name": "v", "nfs": {"server": "x", "path": "/"}}], "containers": [{"name": "a", "image": "i"}]}));
    let doc = world.phase("web", "Failed").await;
    assert_eq!(doc.str_at("status.reason"), "UnsupportedField");
    assert!(doc.str_at("status.message").contains("spec.volumes[0].nfs"));
    assert!(doc.items_at("status.containerStatuses").is_empty());
    world.api.delete_pod("web", 30);
    world.gone("web").await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_config_map_holds_the_pod_and_its_coming_frees_it() {
    let world = World::started().await;
    world.pod("env", json!({"containers": [{"name": "a", "image": "i", "env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}]}]}));
    world.pod("vol", json!({"volumes": [{"name": "v", "configMap": {"name": "m"}}], "containers": [{"name": "b", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}));
    let doc = world.until("env", "CreateContainerConfigError", |doc| container_reason(doc) == "CreateContainerConfigError").await;
    assert_eq!(container(&doc, 0).str_at("state.waiting.message"), "configmap \"m\" not found");
    world.settle().await;
    let began = tokio::time::Instant::now();
    world.api.put("v1", "configmaps", json!({"metadata": {"name": "m", "namespace": "d"}, "data": {"k": "1"}}));
    world.phase("env", "Running").await;
    world.phase("vol", "Running").await;
    assert!(began.elapsed() < Duration::from_secs(1), "it is told, it does not poll");
    assert_eq!(world.volumes.text("uid-vol", "v", "k").as_deref(), Some("1"));
    let spec = world.runtime.spec(&world.runtime.running("a")[0]).unwrap();
    assert!(spec.env.contains(&("X".into(), "1".into())));
    world.api.edit("v1", "configmaps", "d", "m", |doc| doc.set_at("data.k", "2"));
    world.settle().await;
    assert_eq!(world.volumes.text("uid-vol", "v", "k").as_deref(), Some("2"), "the volume follows");
    assert!(world.api.events().iter().any(|event| event.contains("FailedMount")));
}

#[tokio::test(start_paused = true)]
async fn projected_tokens_are_renewed_before_they_expire() {
    let world = World::started().await;
    let token = json!({"serviceAccountToken": {"path": "token", "expirationSeconds": 1000}});
    world.pod("web", json!({"volumes": [{"name": "t", "projected": {"sources": [token]}}], "containers": [{"name": "a", "image": "i", "volumeMounts": [{"name": "t", "mountPath": "/t"}]}]}));
    world.phase("web", "Running").await;
    let text = || world.volumes.text("uid-web", "t", "token").unwrap();
    let first = text();
    tokio::time::sleep(Duration::from_secs(700)).await;
    assert_eq!(text(), first);
    tokio::time::sleep(Duration::from_secs(150)).await;
    assert_ne!(text(), first);
}

#[tokio::test(start_paused = true)]
async fn active_deadline_fails_the_pod() {
    let world = World::started().await;
    world.pod("web", json!({"activeDeadlineSeconds": 30, "containers": [{"name": "a", "image": "i"}]}));
    world.phase("web", "Running").await;
    let doc = world.phase("web", "Failed").await;
    assert_eq!(doc.str_at("status.reason"), "DeadlineExceeded");
    assert!(world.runtime.running("a").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_failing_api_loses_no_status() {
    let world = World::started().await;
    world.runtime.script("a", Script { start_delay: Duration::from_secs(2), ..Script::default() });
    world.pod("web", one("a"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.api.fail(Some(Status::unavailable("down")));
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.api.fail(None);
    world.phase("web", "Running").await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_post_start_hook_kills_the_container() {
    let world = World::started().await;
    let exec = [("hook".to_owned(), ExecReply { code: 1, ..ExecReply::default() })].into();
    world.runtime.script("a", Script { exec, ..Script::default() });
    world.pod("web", json!({"containers": [{"name": "a", "image": "i", "lifecycle": {"postStart": {"exec": {"command": ["hook"]}}}}]}));
    world.until("web", "PostStartHookError", |doc| container_reason(doc) == "PostStartHookError").await;
    assert!(world.api.events().iter().any(|event| event.contains("FailedPostStartHook")));
}

#[tokio::test(start_paused = true)]
async fn parts_of_the_system_are_shown_as_pods() {
    let world = World::new();
    let agent = world.agent(&world.env);
    let (ready_tx, ready) = tokio::sync::watch::channel(false);
    let labels = [("k8s-app".to_owned(), "kube-dns".to_owned())].into();
    agent.mirror(vec![crate::SystemPart { name: "kube-dns".into(), labels, log: "/var/log/x.log".into(), ready }]);
    let get = || world.api.get("v1", "pods", "kube-system", "kube-dns-n1");
    let until = async |what: &str, holds: &dyn Fn(&Value) -> bool| {
        for _ in 0..500 {
            if get().is_some_and(|doc| holds(&doc)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("never {what}: {:#}", get().unwrap_or_default());
    };
    until("running", &|doc| doc.str_at("status.phase") == "Running" && condition(doc, "Ready") == "False").await;
    assert_eq!(get().unwrap().str_at("metadata.labels.k8s-app"), "kube-dns");
    ready_tx.send(true).unwrap();
    until("ready", &|doc| condition(doc, "Ready") == "True").await;
    world.api.edit("v1", "pods", "kube-system", "kube-dns-n1", |doc| doc.set_at("metadata.deletionTimestamp", "2026-01-01T00:01:00Z"));
    until("made again", &|doc| doc.at("metadata.deletionTimestamp").is_none() && condition(doc, "Ready") == "True").await;
    assert!(world.calls().is_empty(), "nothing is started for it");
}

#[tokio::test(start_paused = true)]
async fn equal_statuses_are_not_written_twice() {
    let world = World::started().await;
    world.pod("web", one("a"));
    world.until("web", "ready", |doc| condition(doc, "Ready") == "True").await;
    world.settle().await;
    let written = world.api.log().len();
    world.api.edit("v1", "pods", "d", "web", |doc| doc.set_at("metadata.annotations.x", "y"));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(world.api.log().len(), written);
    assert!(written <= 3, "{:?}", world.api.log());
}

#[tokio::test(start_paused = true)]
async fn an_ephemeral_container_joins_the_processes_of_its_target() {
    let world = World::started().await;
    world.pod("web", json!({"shareProcessNamespace": false, "containers": [{"name": "a", "image": "i"}]}));
    let target = world.until("web", "ready", |doc| condition(doc, "Ready") == "True").await;
    world.api.edit("v1", "pods", "d", "web", |doc| {
        doc.set_at("spec.ephemeralContainers", json!([{"name": "doctor", "image": "i", "targetContainerName": "a"}]));
    });
    let running =
        |doc: &Value| doc.items_at("status.ephemeralContainerStatuses").first().is_some_and(|one| one.at("state.running").is_some());
    let doc = world.until("web", "looked at", running).await;
    let id = |status: &Value| status.str_at("containerID").trim_start_matches("corten://").to_owned();
    let doctor = world.runtime.spec(&id(&doc.items_at("status.ephemeralContainerStatuses")[0])).unwrap();
    assert_eq!(doctor.pid_target, Some(id(container(&target, 0))));
    assert_eq!(world.runtime.spec(&id(container(&target, 0))).unwrap().pid_target, None);
}
