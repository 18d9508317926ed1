//! A Deployment's life under kubectl: scale, roll, look back, undo, pause, resume, restart.

use super::session::{Row, Session};

const STATUS: Row = (&["rollout", "status", "deploy/web", "--timeout=60s"], &["successfully rolled out"]);

const ROWS: &[Row] = &[
    (&["create", "deployment", "web", "--image=corten.local/hello", "--replicas=2"], &["deployment.apps/web created"]),
    STATUS,
    (&["scale", "deploy", "web", "--replicas=3"], &["scaled"]),
    STATUS,
    (&["get", "deploy", "web", "--subresource=scale", "-o", "jsonpath={.kind} {.spec.replicas}"], &["Scale 3"]),
    (&["set", "env", "deploy/web", "GREETING=second"], &["env updated"]),
    STATUS,
    (&["rollout", "history", "deploy/web"], &["REVISION", "1", "2"]),
    (&["rollout", "history", "deploy/web", "--revision=2"], &["GREETING", "second"]),
    (&["rollout", "undo", "deploy/web", "--to-revision=1"], &["rolled back"]),
    STATUS,
    (&["rollout", "history", "deploy/web"], &["2", "3"]),
    (&["rollout", "pause", "deploy/web"], &["paused"]),
    (&["set", "env", "deploy/web", "GREETING=third"], &["env updated"]),
    (&["get", "deploy", "web", "-o", "jsonpath={.status.conditions[?(@.type==\"Progressing\")].reason}"], &["DeploymentPaused"]),
    (&["rollout", "resume", "deploy/web"], &["resumed"]),
    STATUS,
    (&["set", "resources", "deploy/web", "--limits=memory=80Mi"], &["resource requirements updated"]),
    STATUS,
    (&["rollout", "restart", "deploy/web"], &["restarted"]),
    STATUS,
    (&["set", "image", "deploy/web", "hello=corten.local/hello:latest"], &["image updated"]),
    STATUS,
    (&["expose", "deploy", "web", "--port=80", "--target-port=8080", "--name=web"], &["service/web exposed"]),
];

const EXPOSED: &[Row] = &[
    (
        &[
            "wait",
            "--for=jsonpath={.endpoints[0].conditions.ready}=true",
            "endpointslice",
            "-l",
            "kubernetes.io/service-name=web",
            "--timeout=30s",
        ],
        &["condition met"],
    ),
    (
        &["patch", "deploy", "web", "--subresource=scale", "--type=merge", "-p", "{\"spec\":{\"replicas\":1}}"],
        &["scale.autoscaling/web patched"],
    ),
    (&["delete", "deploy,svc", "web"], &["deployment.apps \"web\" deleted", "service \"web\" deleted"]),
];

pub(crate) fn run(session: &mut Session<'_>) {
    session.rows(ROWS);
    // Before there is a slice, older kubectls have nothing to wait for.
    session.until_value(&["get", "endpointslice", "-l", "kubernetes.io/service-name=web", "-o", "name"]);
    session.rows(EXPOSED);
}
