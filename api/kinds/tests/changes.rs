//! What of each kind may change, and what an older object may keep: one row a case.

use env::Env;
use kinds::WriteContext;
use schema::{DocExt, FieldErrors, Value, json};

/// What is wrong with a change of `old` by `changes` through `subresource`, cut at the first line.
fn change(old: &Value, changes: &[(&str, Value)], subresource: &str) -> Vec<String> {
    let row = kinds::by_kind(old.str_at("apiVersion"), old.str_at("kind")).expect("a row");
    let mut new = old.clone();
    for (path, value) in changes {
        new.set_at(path, value.clone());
    }
    let env = Env::real();
    let cx = WriteContext { env: &env, user: "", subresource };
    row.strategy.fill_defaults(&mut new);
    row.strategy.prepare_update(&mut new, old, &cx);
    let mut errors = FieldErrors::default();
    row.strategy.validate_update(&new, old, &cx, &mut errors);
    errors.0.iter().map(|error| error.to_string().lines().next().unwrap_or_default().to_owned()).collect()
}

/// A stored object, which must be good.
fn stored(api_version: &str, kind: &str, members: Value) -> Value {
    let row = kinds::by_kind(api_version, kind).expect("a row");
    let mut doc = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x", "namespace": "n", "uid": "u"}});
    doc.as_object_mut().expect("an object").extend(members.as_object().cloned().expect("members"));
    let env = Env::real();
    row.strategy.fill_defaults(&mut doc);
    row.strategy.prepare_create(&mut doc, &WriteContext { env: &env, user: "", subresource: "" });
    row.strategy.fill_defaults(&mut doc);
    let mut errors = FieldErrors::default();
    row.strategy.validate_create(&doc, &mut errors);
    assert!(errors.is_empty(), "{kind}: {errors:?}");
    doc
}

fn template(restart: &str) -> Value {
    json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": restart}})
}

#[test]
fn a_stateful_set_changes_in_a_few_fields() {
    let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "serviceName": "s", "template": template("Always")});
    let old = stored("apps/v1", "StatefulSet", json!({"spec": spec}));
    assert_eq!(change(&old, &[("spec.replicas", json!(3)), ("spec.revisionHistoryLimit", json!(2))], ""), [""; 0]);
    let errors = change(&old, &[("spec.serviceName", json!("t"))], "");
    assert!(
        errors[0].starts_with("spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals'"),
        "{errors:?}"
    );
    let counted = json!({"replicas": 1, "readyReplicas": 2, "availableReplicas": 2});
    let errors = change(&old, &[("status", counted)], "status");
    let text = |member: &str| format!("status.{member}: Invalid value: 2: cannot be greater than status.replicas");
    assert_eq!(errors, [text("readyReplicas"), text("availableReplicas")]);
}

#[test]
fn a_job_is_scheduled_anew_only_before_it_started() {
    let job = |suspend: bool| stored("batch/v1", "Job", json!({"spec": {"suspend": suspend, "template": template("Never")}}));
    let elsewhere = [("spec.template.spec.nodeSelector", json!({"zone": "z"}))];
    assert_eq!(change(&job(true), &elsewhere, ""), [""; 0]);
    let errors = change(&job(false), &elsewhere, "");
    assert!(errors[0].starts_with("spec.template: Invalid value: "), "{errors:?}");
    let errors = change(&job(true), &[("spec.completionMode", json!("Indexed"))], "");
    assert_eq!(errors, ["spec.completionMode: Invalid value: \"Indexed\": field is immutable"]);
}

#[test]
fn a_job_ends_once_and_with_its_reasons() {
    let old = stored("batch/v1", "Job", json!({"spec": {"template": template("Never")}}));
    let done = json!([{"type": "Complete", "status": "True"}]);
    let errors = change(&old, &[("status", json!({"conditions": done, "active": 1}))], "status");
    assert_eq!(
        errors,
        [
            "status.active: Invalid value: 1: active>0 is invalid for finished job",
            "status.startTime: Required value: startTime is required for finished job",
            "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
            "status.completionTime: Required value: completionTime is required for Complete jobs",
        ]
    );
}

#[test]
fn a_claim_grows_once_it_is_bound() {
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let mut old = stored("v1", "PersistentVolumeClaim", json!({"spec": spec}));
    let bigger = [("spec.resources.requests.storage", json!("2Gi"))];
    let text = "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
    assert_eq!(change(&old, &bigger, ""), [text]);
    assert_eq!(change(&old, &[("spec.volumeName", json!("v"))], ""), [""; 0], "it is bound once");
    old.set_at("spec.volumeName", "v");
    old.set_at("status", json!({"phase": "Bound", "capacity": {"storage": "1Gi"}}));
    assert_eq!(change(&old, &bigger, ""), [""; 0]);
    let errors = change(&old, &[("spec.resources.requests.storage", json!("512Mi"))], "");
    assert_eq!(errors, ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]);
    assert_eq!(change(&old, &[("spec.volumeName", json!("w"))], ""), [text]);
}

#[test]
fn a_volume_keeps_its_source() {
    let source = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/a"}});
    let old = stored("v1", "PersistentVolume", json!({"spec": source}));
    assert_eq!(change(&old, &[("spec.capacity", json!({"storage": "2Gi"}))], ""), [""; 0]);
    let errors = change(&old, &[("spec.hostPath.path", json!("/b"))], "");
    assert_eq!(errors, ["spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"]);
}

#[test]
fn a_webhook_of_before_keeps_its_side_effects() {
    let hook = |name: &str, effects: &str| json!({"name": name, "clientConfig": {"url": "https://example.com/"}, "sideEffects": effects, "admissionReviewVersions": ["v1"]});
    let kind = ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration");
    let mut old = stored(kind.0, kind.1, json!({"webhooks": [hook("a.example.com", "None")]}));
    let some = [("webhooks", json!([hook("a.example.com", "Some")]))];
    let text = "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"";
    assert_eq!(change(&old, &some, ""), [text]);
    old["webhooks"][0]["sideEffects"] = json!("Some");
    assert_eq!(change(&old, &some, ""), [""; 0], "it was so before");
    let twice = [("webhooks", json!([hook("a.example.com", "None"), hook("a.example.com", "None")]))];
    assert_eq!(change(&old, &twice, ""), ["webhooks[1].name: Duplicate value: \"a.example.com\""]);
}

#[test]
fn a_schedule_of_before_keeps_its_zone() {
    let spec = json!({"schedule": "0 0 * * *", "jobTemplate": {"spec": {"template": template("Never")}}});
    let mut old = stored("batch/v1", "CronJob", json!({"spec": spec}));
    let zoned = [("spec.schedule", json!("TZ=UTC 0 1 * * *"))];
    let errors = change(&old, &zoned, "");
    assert!(errors[0].ends_with("cannot use TZ or CRON_TZ in schedule, use timeZone field instead"), "{errors:?}");
    old.set_at("spec.schedule", "TZ=UTC 0 0 * * *");
    assert_eq!(change(&old, &zoned, ""), [""; 0]);
    let errors = change(&old, &[("spec.timeZone", json!("Mars/Olympus"))], "");
    assert!(errors.contains(&"spec.timeZone: Invalid value: \"Mars/Olympus\": unknown time zone Mars/Olympus".to_owned()), "{errors:?}");
}

#[test]
fn an_autoscaler_at_zero_may_stay_there() {
    let external = json!([{"type": "External", "external": {"metric": {"name": "m"}, "target": {"type": "Value", "value": "1"}}}]);
    let spec = json!({"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 3, "metrics": external});
    let mut old = stored("autoscaling/v2", "HorizontalPodAutoscaler", json!({"spec": spec}));
    let zero = [("spec.minReplicas", json!(0))];
    assert_eq!(change(&old, &zero, ""), ["spec.minReplicas: Invalid value: 0: must be greater than or equal to 1"]);
    old.set_at("spec.minReplicas", 0);
    assert_eq!(change(&old, &zero, ""), [""; 0]);
}

#[test]
fn what_is_for_ever() {
    let request = json!({"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}});
    let cases = [
        (
            "resource.k8s.io/v1",
            "ResourceClaim",
            json!({"spec": request}),
            ("spec.devices.config", json!([{"opaque": {"driver": "d.io", "parameters": {}}}])),
            "spec: Invalid value: ",
        ),
        (
            "networking.k8s.io/v1",
            "IngressClass",
            json!({"spec": {"controller": "a.io/b"}}),
            ("spec.controller", json!("a.io/c")),
            "spec.controller: Invalid value: \"a.io/c\": field is immutable",
        ),
        (
            "networking.k8s.io/v1",
            "ServiceCIDR",
            json!({"spec": {"cidrs": ["10.0.0.0/24"]}}),
            ("spec.cidrs", json!(["10.0.1.0/24"])),
            "spec.cidrs: Invalid value: [\"10.0.1.0/24\"]: field is immutable",
        ),
        (
            "storage.k8s.io/v1",
            "StorageClass",
            json!({"provisioner": "a.io/b"}),
            ("parameters", json!({"a": "b"})),
            "parameters: Forbidden: updates to parameters are forbidden.",
        ),
        (
            "storage.k8s.io/v1",
            "VolumeAttributesClass",
            json!({"driverName": "a.io", "parameters": {"a": "b"}}),
            ("driverName", json!("b.io")),
            "driverName: Forbidden: updates to driverName are forbidden.",
        ),
        (
            "v1",
            "ResourceQuota",
            json!({"spec": {"hard": {"pods": "1"}}}),
            ("spec.scopes", json!(["BestEffort"])),
            "spec.scopes: Invalid value: [\"BestEffort\"]: field is immutable",
        ),
        (
            "storagemigration.k8s.io/v1",
            "StorageVersionMigration",
            json!({"spec": {"resource": {"group": "", "resource": "secrets"}}}),
            ("spec.resource.resource", json!("pods")),
            "resource: Invalid value: \"pods\": field is immutable",
        ),
        (
            "apps/v1",
            "ControllerRevision",
            json!({"data": {"a": 1}, "revision": 1}),
            ("data", json!({"a": 2})),
            "data: Invalid value: {\"a\":2}: field is immutable",
        ),
    ];
    for (api_version, kind, members, (path, value), text) in cases {
        let old = stored(api_version, kind, members);
        let errors = change(&old, &[(path, value)], "");
        assert!(errors.len() == 1 && errors[0].starts_with(text), "{kind}: {errors:?}");
        assert_eq!(change(&old, &[("metadata.labels", json!({"l": "v"}))], ""), [""; 0], "{kind} takes labels");
    }
}
