use schema::json;

use super::*;

fn told(level: Level, minor: Option<u32>, doc: &Value) -> String {
    detail(&violations(Demand { level, minor }, &Pod::new(doc)))
}

/// A pod that `restricted` has nothing against, with `more` set in it.
fn pod(more: Value) -> Value {
    let mut doc = json!({"metadata": {}, "spec": {
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "initContainers": [container("i")], "containers": [container("a"), container("b")]}});
    for (path, value) in more.as_object().unwrap() {
        match path.strip_prefix("all.") {
            None => doc.set_at(path, value.clone()),
            Some(path) => doc.items_at_mut("spec.containers").iter_mut().for_each(|one| one.set_at(path, value.clone())),
        }
    }
    doc
}

fn container(name: &str) -> Value {
    json!({"name": name, "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}})
}

#[test]
fn a_careful_pod_is_let_in_everywhere_and_privileged_asks_nothing() {
    for level in [Level::Privileged, Level::Baseline, Level::Restricted] {
        assert_eq!(told(level, None, &pod(json!({}))), "");
    }
    let wild = json!({"spec": {"hostNetwork": true, "containers": [{"name": "a", "securityContext": {"privileged": true}}]}});
    assert_eq!(told(Level::Privileged, None, &wild), "");
}

#[test]
fn baseline_forbids_the_ways_to_the_node() {
    let rows = [
        (
            json!({"spec.securityContext.appArmorProfile": {"type": "Unconfined"}, "metadata.annotations": {"container.apparmor.security.beta.kubernetes.io/a": "unconfined"}}),
            "forbidden AppArmor profiles (pod and annotation must not set AppArmor profile type to \"Unconfined\", \
             \"container.apparmor.security.beta.kubernetes.io/a=\"unconfined\"\")",
        ),
        (
            json!({"all.securityContext.capabilities.add": ["NET_RAW", "CHOWN"]}),
            "non-default capabilities (containers \"a\", \"b\" must not include \"NET_RAW\" in securityContext.capabilities.add)",
        ),
        (json!({"spec.hostNetwork": true, "spec.hostIPC": true}), "host namespaces (hostNetwork=true, hostIPC=true)"),
        (
            json!({"spec.volumes": [{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "emptyDir": {}}]}),
            "hostPath volumes (volume \"v\")",
        ),
        (json!({"all.ports": [{"hostPort": 80}, {"hostPort": 443}]}), "hostPort (containers \"a\", \"b\" use hostPorts 443, 80)"),
        (
            json!({"all.livenessProbe": {"httpGet": {"host": "10.0.0.1"}}}),
            "probe or lifecycle host (containers \"a\", \"b\" use probe or lifecycle host \"10.0.0.1\")",
        ),
        (
            json!({"all.securityContext.privileged": true}),
            "privileged (containers \"a\", \"b\" must not set securityContext.privileged=true)",
        ),
        (
            json!({"all.securityContext.procMount": "Unmasked"}),
            "procMount (containers \"a\", \"b\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            json!({"spec.securityContext.seLinuxOptions": {"type": "x", "user": "u"}, "all.securityContext.seLinuxOptions": {"type": "y"}}),
            "seLinuxOptions (pod and containers \"a\", \"b\" set forbidden securityContext.seLinuxOptions: types \"x\", \"y\"; user may not be set)",
        ),
        (
            json!({"spec.securityContext.seccompProfile.type": "Unconfined"}),
            "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            json!({"spec.securityContext.sysctls": [{"name": "a"}, {"name": "net.ipv4.tcp_rmem"}, {"name": "b"}]}),
            "forbidden sysctls (a, b)",
        ),
        (
            json!({"spec.securityContext.windowsOptions.hostProcess": true}),
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
    ];
    for (more, want) in rows {
        assert_eq!(told(Level::Baseline, None, &pod(more.clone())), want, "{more}");
        assert!(!told(Level::Restricted, None, &pod(more.clone())).is_empty(), "restricted lets in what baseline does not: {more}");
    }
}

#[test]
fn restricted_asks_for_the_least() {
    let rows = [
        (
            json!({"all.securityContext": {}}),
            "allowPrivilegeEscalation != false (containers \"a\", \"b\" must set securityContext.allowPrivilegeEscalation=false), unrestricted \
             capabilities (containers \"a\", \"b\" must set securityContext.capabilities.drop=[\"ALL\"])",
        ),
        (
            json!({"all.securityContext.capabilities": {"add": ["CHOWN", "NET_BIND_SERVICE"]}}),
            "unrestricted capabilities (containers \"a\", \"b\" must set securityContext.capabilities.drop=[\"ALL\"]; containers \"a\", \"b\" must \
             not include \"CHOWN\" in securityContext.capabilities.add)",
        ),
        (
            json!({"spec.volumes": [{"name": "v", "hostPath": {}}, {"name": "w", "nfs": {}}, {"name": "x", "secret": {}}]}),
            "restricted volume types (volumes \"v\", \"w\" use restricted volume types \"hostPath\", \"nfs\")",
        ),
        (
            json!({"spec.securityContext.runAsNonRoot": null}),
            "runAsNonRoot != true (pod or containers \"i\", \"a\", \"b\" must set securityContext.runAsNonRoot=true)",
        ),
        (
            json!({"spec.securityContext.runAsNonRoot": false, "all.securityContext.runAsNonRoot": false}),
            "runAsNonRoot != true (pod and containers \"a\", \"b\" must not set securityContext.runAsNonRoot=false)",
        ),
        (json!({"spec.securityContext.runAsUser": 0}), "runAsUser=0 (pod must not set runAsUser=0)"),
        (
            json!({"spec.securityContext.seccompProfile": null}),
            "seccompProfile (pod or containers \"i\", \"a\", \"b\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \
             \"Localhost\")",
        ),
        (
            json!({"spec.hostPID": true, "spec.securityContext.runAsUser": 0}),
            "host namespaces (hostPID=true), runAsUser=0 (pod must not set runAsUser=0)",
        ),
    ];
    for (more, want) in rows {
        assert_eq!(told(Level::Restricted, None, &pod(more.clone())), want, "{more}");
    }
}

#[test]
fn rules_are_those_of_the_version_that_is_asked_for() {
    let bare = json!({"spec": {"containers": [{"name": "a"}]}});
    let number = |minor: u32| violations(Demand { level: Level::Restricted, minor: Some(minor) }, &Pod::new(&bare)).len();
    assert_eq!([7, 8, 18, 19, 21, 22, 37, 99].map(number), [1, 2, 2, 3, 3, 4, 4, 4]);
    let windows = pod(json!({"all.securityContext": {}, "spec.os": {"name": "windows"}}));
    assert_eq!(
        (told(Level::Restricted, Some(24), &windows).is_empty(), told(Level::Restricted, Some(25), &windows)),
        (false, String::new())
    );
    let sysctl = |name: &str| pod(json!({"spec.securityContext.sysctls": [{"name": name}]}));
    for (name, since) in [("net.ipv4.ip_local_reserved_ports", 27), ("net.ipv4.tcp_fin_timeout", 29), ("net.ipv4.tcp_wmem", 32)] {
        assert_eq!(told(Level::Baseline, Some(since - 1), &sysctl(name)), format!("forbidden sysctls ({name})"));
        assert_eq!(told(Level::Baseline, Some(since), &sysctl(name)), "");
    }
    let annotated = pod(json!({"metadata.annotations": {SECCOMP_OF_POD: "unconfined"}}));
    let want = format!("seccompProfile (forbidden annotation {SECCOMP_OF_POD}=\"unconfined\")");
    assert_eq!((told(Level::Baseline, Some(18), &annotated), told(Level::Baseline, Some(19), &annotated)), (want, String::new()));
    let root = pod(json!({"spec.hostUsers": false, "spec.securityContext.runAsUser": 0}));
    assert_eq!((told(Level::Restricted, Some(34), &root).is_empty(), told(Level::Restricted, None, &root)), (false, String::new()));
}
