//! What one rule costs on a 4 KB pod once it is compiled: microseconds per evaluation, one line per rule, and the slowest.

#![expect(clippy::print_stdout, reason = "a benchmark's result")]

use expressions::{Environment, Type, Value, limits};
use serde_json::{Value as Json, json};

/// Rules as policies and schemas hold them.
const RULES: &[&str] = &[
    "object.spec.replicas <= 5",
    "has(object.metadata.labels) && 'app' in object.metadata.labels && object.metadata.labels['app'] != ''",
    "object.spec.containers.all(c, has(c.resources) && has(c.resources.limits) && 'memory' in c.resources.limits)",
    "object.spec.containers.all(c, !has(c.securityContext) || !has(c.securityContext.privileged) || c.securityContext.privileged == false)",
    "object.spec.containers.all(c, c.image.startsWith('registry.example.com/') && c.image.matches('^[a-z0-9./-]+:[a-z0-9.-]+$'))",
    "object.spec.containers.map(c, c.name).isSorted() && object.spec.containers.exists(c, c.name == 'sidecar')",
    "object.spec.?hostNetwork.orValue(false) == false && object.spec.volumes.all(v, !has(v.hostPath))",
    "quantity(object.spec.containers[0].resources.limits.memory).isLessThan(quantity('4Gi'))",
];

const ROUNDS: u32 = 20_000;

fn main() {
    let pod = pod();
    let mut environment = Environment::kubernetes();
    environment.variable("object", Type::Dyn);
    println!("pod: {} bytes", pod.to_string().len());
    let mut slowest = 0.0_f64;
    for rule in RULES {
        let micros = micros(&environment, rule, &pod);
        println!("{micros:.3} us  {rule}");
        slowest = slowest.max(micros);
    }
    println!("slowest: {slowest:.3}");
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the wall clock")]
fn micros(environment: &Environment, rule: &str, pod: &Json) -> f64 {
    let program = environment.compile(rule).expect(rule);
    let start = std::time::Instant::now();
    for _ in 0..ROUNDS {
        let evaluation = program.evaluate(&[("object", Value::json(pod))], limits::PER_CALL);
        std::hint::black_box(evaluation.cost);
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS)
}

/// Two containers with everything that a deployment usually says.
fn pod() -> Json {
    let env: Vec<Json> =
        (0..15).map(|at| json!({"name": format!("SETTING_{at}"), "value": format!("value number {at} of the pod")})).collect();
    let container = |name: &str, port: u32| {
        json!({
            "name": name, "image": format!("registry.example.com/team/{name}:1.2.3"), "imagePullPolicy": "IfNotPresent",
            "command": ["/usr/bin/app", "--listen", format!(":{port}")], "env": env,
            "ports": [{"name": "http", "containerPort": port, "protocol": "TCP"}],
            "resources": {"limits": {"cpu": "500m", "memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 1},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "config", "mountPath": "/etc/app", "readOnly": true}],
            "securityContext": {"privileged": false, "runAsNonRoot": true, "allowPrivilegeEscalation": false},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        })
    };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "web-5d4f8c7b9-abcde", "namespace": "production", "uid": "123e4567-e89b-12d3-a456-426614174000",
            "labels": {"app": "web", "pod-template-hash": "5d4f8c7b9", "app.kubernetes.io/part-of": "shop"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4f8c7b9", "uid": "u", "controller": true}],
        },
        "spec": {
            "replicas": 3, "serviceAccountName": "web", "nodeName": "node-1", "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
            "containers": [container("main", 8080), container("sidecar", 9090)],
            "volumes": [{"name": "data", "emptyDir": {}}, {"name": "config", "configMap": {"name": "web", "defaultMode": 420}}],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
        },
        "status": {"phase": "Running", "podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": "True"}]},
    })
}
