//! What may change, and through which door: one row a case, through the strategy that the core calls.

use env::Env;
use kinds::WriteContext;
use schema::{DocExt, FieldErrors, Value, json};

/// A stored object of the kind, as a create leaves it.
fn stored(api_version: &str, kind: &str, spec: Value) -> Value {
    let row = kinds::by_kind(api_version, kind).expect("a row");
    let mut doc = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x", "namespace": "n", "uid": "u"}, "spec": spec});
    let env = Env::real();
    row.strategy.fill_defaults(&mut doc);
    row.strategy.prepare_create(&mut doc, &WriteContext { env: &env, user: "", subresource: "" });
    doc
}

/// `new` as it would be stored after a write to `subresource`, and what is wrong with it (`path: text`, cut at the first line).
fn write(old: &Value, mut new: Value, subresource: &str) -> (Value, Vec<String>) {
    let row = kinds::by_kind(old.str_at("apiVersion"), old.str_at("kind")).expect("a row");
    let env = Env::real();
    let cx = WriteContext { env: &env, user: "", subresource };
    row.strategy.fill_defaults(&mut new);
    row.strategy.prepare_update(&mut new, old, &cx);
    let mut errors = FieldErrors::default();
    row.strategy.validate_update(&new, old, &cx, &mut errors);
    let first_line = |error: &schema::field::FieldError| error.to_string().lines().next().unwrap_or_default().to_owned();
    (new, errors.0.iter().map(first_line).collect())
}

fn changed(old: &Value, path: &str, value: Value) -> Value {
    let mut new = old.clone();
    new.set_at(path, value);
    new
}

fn pod() -> Value {
    let container = json!({"name": "c", "image": "i:1", "resources": {"requests": {"cpu": "1"}}});
    let mut pod = stored("v1", "Pod", json!({"containers": [container], "restartPolicy": "Never", "serviceAccountName": "default"}));
    pod.set_at("status.podIP", "10.0.0.7");
    pod
}

#[test]
fn a_pod_changes_in_a_few_fields_only() {
    let old = pod();
    let mut image = old.clone();
    image["spec"]["containers"][0]["image"] = json!("i:2");
    assert_eq!(write(&old, image, "").1, [""; 0]);
    assert_eq!(write(&old, changed(&old, "spec.activeDeadlineSeconds", json!(5)), "").1, [""; 0]);
    let tolerated = changed(&old, "spec.tolerations", json!([{"key": "k", "operator": "Exists"}]));
    assert_eq!(write(&old, tolerated.clone(), "").1, [""; 0]);
    let untolerated = write(&tolerated, changed(&tolerated, "spec.tolerations", json!([])), "").1;
    assert_eq!(untolerated, ["spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"]);
    let moved = write(&old, changed(&old, "spec.nodeName", json!("n")), "").1;
    assert!(moved[0].starts_with("spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"), "{moved:?}");
    let mut fewer = old.clone();
    fewer["spec"]["containers"] = json!([]);
    let fewer = write(&old, fewer, "").1;
    assert!(fewer.contains(&"spec.containers: Forbidden: pod updates may not add or remove containers".to_owned()), "{fewer:?}");
}

#[test]
fn a_write_to_the_pod_keeps_the_status_and_a_write_to_the_status_the_rest() {
    let old = pod();
    let (new, _) = write(&old, changed(&old, "status.phase", json!("Running")), "");
    assert_eq!(new["status"], old["status"]);
    let both = changed(&changed(&old, "status.phase", json!("Running")), "spec.restartPolicy", json!("Always"));
    let (new, errors) = write(&old, both, "status");
    assert_eq!(errors, [""; 0]);
    assert_eq!((&new["status"]["phase"], &new["spec"]), (&json!("Running"), &old["spec"]));
    assert_eq!(new["status"]["podIPs"], json!([{"ip": "10.0.0.7"}]), "the one address is also the list");
    let (new, errors) = write(&old, changed(&old, "status", json!({"phase": "Failed"})), "status");
    assert_eq!((errors, &new["status"]["qosClass"]), (vec![], &json!("Burstable")), "who leaves the class out keeps it");
}

#[test]
fn what_has_ended_stays_ended() {
    let state = |state: Value| json!([{"name": "c", "image": "i", "imageID": "", "state": state}]);
    let old = changed(&pod(), "status.containerStatuses", state(json!({"terminated": {"exitCode": 0}})));
    let new = changed(&old, "status.containerStatuses", state(json!({"running": {}})));
    let text = "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state";
    assert_eq!(write(&old, new, "status").1, [text]);
}

#[test]
fn ephemeral_containers_come_by_their_own_door_and_stay() {
    let old = pod();
    let debug = json!([{"name": "d", "image": "busybox", "targetContainerName": "c"}]);
    let (new, _) = write(&old, changed(&old, "spec.ephemeralContainers", debug.clone()), "");
    assert!(new.at("spec.ephemeralContainers").is_none(), "a write to the pod cannot bring them");
    let (with, errors) = write(&old, changed(&old, "spec.ephemeralContainers", debug), "ephemeralcontainers");
    assert_eq!((errors, with.items_at("spec.ephemeralContainers").len()), (vec![], 1));
    let errors = write(&with, changed(&with, "spec.ephemeralContainers", json!([])), "ephemeralcontainers").1;
    assert_eq!(errors, ["spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be removed"]);
    let wrong = json!([{"name": "c", "image": "busybox", "targetContainerName": "nope", "ports": [{"containerPort": 1}]}]);
    let errors = write(&old, changed(&old, "spec.ephemeralContainers", wrong), "ephemeralcontainers").1;
    assert_eq!(
        errors,
        [
            "spec.ephemeralContainers[0].name: Duplicate value: \"c\"",
            "spec.ephemeralContainers[0].targetContainerName: Not found: \"nope\"",
            "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container",
        ]
    );
}

#[test]
fn a_resize_changes_processor_time_and_memory() {
    let old = pod();
    let resources = |resources: Value| {
        let mut new = old.clone();
        new["spec"]["containers"][0]["resources"] = resources;
        write(&old, new, "resize")
    };
    let (new, errors) = resources(json!({"requests": {"cpu": "2"}}));
    assert_eq!((errors, &new["spec"]["containers"][0]["resources"]["requests"]["cpu"]), (vec![], &json!("2")));
    let (_, errors) = resources(json!({}));
    assert!(
        errors.contains(&"spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed".to_owned()),
        "{errors:?}"
    );
    let (_, errors) = resources(json!({"requests": {"cpu": "1", "example.com/gpu": "1"}, "limits": {"example.com/gpu": "1"}}));
    assert_eq!(errors, ["spec: Forbidden: only cpu and memory resources are mutable"]);
}

fn service(spec: Value) -> Value {
    let mut doc = stored("v1", "Service", spec);
    doc.default_at("spec.clusterIP", "10.0.0.9");
    let ip = doc.str_at("spec.clusterIP").to_owned();
    doc.set_at("spec.clusterIPs", json!([ip]));
    doc.default_at("spec.ipFamilies", json!(["IPv4"]));
    doc.default_at("spec.ipFamilyPolicy", "SingleStack");
    doc
}

#[test]
fn a_service_keeps_its_address_and_lets_go_of_what_its_type_lost() {
    let old = service(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}));
    let errors = write(&old, changed(&old, "spec.clusterIP", json!("10.0.0.10")), "").1;
    assert_eq!(errors, ["spec.clusterIPs[0]: Invalid value: [\"10.0.0.10\"]: may not change once set"]);
    let (new, errors) = write(&old, changed(&old, "spec.type", json!("ClusterIP")), "");
    assert_eq!(errors, [""; 0]);
    assert_eq!((new["spec"]["ports"][0].get("nodePort"), new["spec"].get("externalTrafficPolicy")), (None, None));
    let mut external = changed(&changed(&old, "spec.type", json!("ExternalName")), "spec.externalName", json!("a.example.com"));
    external.remove_at("spec.ports");
    let (new, errors) = write(&old, external, "");
    assert_eq!(errors, [""; 0]);
    for member in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        assert!(new["spec"].get(member).is_none(), "{member} goes with the type");
    }
}

#[test]
fn selectors_and_role_references_are_for_ever() {
    let template = json!({"metadata": {"labels": {"a": "b", "c": "d"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    for kind in ["Deployment", "ReplicaSet"] {
        let old = stored("apps/v1", kind, json!({"selector": {"matchLabels": {"a": "b"}}, "template": template}));
        let errors = write(&old, changed(&old, "spec.selector", json!({"matchLabels": {"c": "d"}})), "").1;
        assert_eq!(errors, ["spec.selector: Invalid value: {\"matchLabels\":{\"c\":\"d\"}}: field is immutable"]);
        assert_eq!(write(&old, changed(&old, "spec.replicas", json!(5)), "").1, [""; 0]);
    }
    let mut old = stored("rbac.authorization.k8s.io/v1", "RoleBinding", json!({}));
    old.remove_at("spec");
    old.set_at("roleRef", json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}));
    let errors = write(&old, changed(&old, "roleRef.name", json!("s")), "").1;
    assert!(errors[0].ends_with("cannot change roleRef"), "{errors:?}");
}

#[test]
fn a_deployments_status_does_not_touch_labels() {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let old = stored("apps/v1", "Deployment", json!({"selector": {"matchLabels": {"a": "b"}}, "template": template}));
    let new = changed(&changed(&old, "metadata.labels", json!({"x": "y"})), "metadata.annotations", json!({"c": "d"}));
    let (new, errors) = write(&old, changed(&new, "status.replicas", json!(1)), "status");
    assert_eq!(errors, [""; 0]);
    assert_eq!((new.at("metadata.labels"), new.at("metadata.annotations.c")), (None, Some(&json!("d"))));
    let errors = write(&old, changed(&old, "status.readyReplicas", json!(2)), "status").1;
    assert_eq!(errors, ["status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"]);
}

#[test]
fn a_namespace_is_active_until_it_is_deleted() {
    let old = stored("v1", "Namespace", json!({}));
    assert_eq!(old["spec"]["finalizers"], json!(["kubernetes"]));
    let errors = write(&old, changed(&old, "status.phase", json!("Terminating")), "status").1;
    assert_eq!(errors, ["status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"]);
    let (new, _) = write(&old, changed(&old, "spec.finalizers", json!([])), "");
    assert_eq!(new["spec"]["finalizers"], json!(["kubernetes"]), "finalizers go by the finalize subresource");
    let (new, errors) = write(&old, changed(&old, "spec.finalizers", json!([])), "finalize");
    assert_eq!((errors, &new["spec"]["finalizers"]), (vec![], &json!([])));
}

#[test]
fn a_generation_counts_what_the_user_asks_for() {
    let row = kinds::by_kind("v1", "Pod").expect("a row");
    let old = pod();
    assert!(!row.strategy.bumps_generation(&changed(&old, "status.phase", json!("Running")), &old));
    assert!(!row.strategy.bumps_generation(&changed(&old, "metadata.labels", json!({"a": "b"})), &old));
    assert!(!row.strategy.bumps_generation(&changed(&old, "spec.nodeSelector", json!({})), &old), "empty is absent");
    assert!(row.strategy.bumps_generation(&changed(&old, "spec.activeDeadlineSeconds", json!(5)), &old));
}
