use std::sync::Arc;

use kinds::apps::ReplicaSet;
use schema::json;

use super::super::sets;
use super::*;

/// A Deployment at template `v2`; `text` is `replicas[ surge/unavailable][ paused][ recreate]`.
fn deployment(text: &str) -> Deployment {
    let mut words = text.split(' ');
    let replicas: i32 = words.next().unwrap().parse().unwrap();
    let mut doc = json!({
        "metadata": {"name": "web", "namespace": "d", "generation": 1},
        "spec": {"replicas": replicas, "template": template("v2"), "revisionHistoryLimit": 2, "progressDeadlineSeconds": 600,
                 "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}},
        "status": {"conditions": [{"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}]},
    });
    for word in words {
        match word {
            "paused" => doc["spec"]["paused"] = json!(true),
            "recreate" => doc["spec"]["strategy"] = json!({"type": "Recreate"}),
            both => {
                let (surge, unavailable) = both.split_once('/').unwrap();
                let number = |text: &str| text.parse::<i32>().map_or(json!(text), |n| json!(n));
                doc["spec"]["strategy"]["rollingUpdate"] = json!({"maxSurge": number(surge), "maxUnavailable": number(unavailable)});
            }
        }
    }
    serde_json::from_value(doc).unwrap()
}

fn template(version: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": version}]}})
}

/// `name version replicas/available[ desired,max]`; the revision is the version's number.
fn sets(deployment: &Deployment, texts: &[&str]) -> Sets {
    let mut made = Sets::default();
    for (age, text) in texts.iter().enumerate() {
        let words: Vec<&str> = text.split(' ').collect();
        let (replicas, available) = words[2].split_once('/').unwrap();
        let (replicas, available): (i32, i32) = (replicas.parse().unwrap(), available.parse().unwrap());
        let (desired, max) = match words.get(3) {
            Some(noted) => noted.split_once(',').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap(),
            None => (desired(deployment).to_string(), sizes(deployment).1.to_string()),
        };
        let set: ReplicaSet = serde_json::from_value(json!({
            "metadata": {"name": words[0], "creationTimestamp": format!("2026-01-01T00:00:{age:02}Z"),
                "annotations": {sets::REVISION: words[1].trim_start_matches('v'), sets::DESIRED: desired, sets::MAX: max}},
            "spec": {"replicas": replicas, "template": template(words[1])},
            "status": {"replicas": replicas, "availableReplicas": available, "readyReplicas": available},
        }))
        .unwrap();
        let set = Set { lens: Arc::new(set) };
        if words[1] == "v2" { made.new = Some(set) } else { made.old.push(set) }
    }
    made
}

fn check(deployment_text: &str, set_texts: &[&str], want: &str) {
    let deployment = deployment(deployment_text);
    let sets = sets(&deployment, set_texts);
    let steps = plan(&deployment, &sets, false).steps;
    let texts = steps.iter().map(|step| match step {
        Step::Create { replicas, revision } => format!("create {replicas} r{revision}"),
        Step::Annotate { set, .. } => format!("annotate {}", set.lens.metadata.name),
        Step::Scale { set, to } => format!("{} to {to}", set.lens.metadata.name),
        Step::Delete { set } => format!("delete {}", set.lens.metadata.name),
    });
    assert_eq!(texts.collect::<Vec<_>>().join("; "), want, "{deployment_text} {set_texts:?}");
}

#[test]
fn a_roll_out_goes_step_by_step() {
    check("4", &[], "create 4 r1");
    check("4", &["a v1 4/4"], "create 1 r2");
    check("4", &["a v1 4/4", "b v2 1/0"], "a to 3");
    check("4", &["a v1 3/3", "b v2 1/0"], "b to 2");
    check("4", &["a v1 3/3", "b v2 2/0"], "");
    check("4", &["a v1 3/3", "b v2 2/2"], "a to 1");
    check("4", &["a v1 0/0", "b v2 4/4"], "");
}

#[test]
fn pods_that_do_not_serve_go_first() {
    check("4 1/0", &["a v1 2/0", "x v0 2/2", "b v2 1/1"], "a to 1");
    check("4 0/1", &["a v1 4/3", "b v2 0/0"], "a to 3");
}

#[test]
fn surge_and_unavailability_of_zero_still_move() {
    check("1 0/0", &["a v1 1/1", "b v2 0/0"], "a to 0");
    check("3 0%/0%", &["a v1 3/3", "b v2 0/0"], "a to 2");
}

#[test]
fn recreate_waits_for_the_old_pods() {
    check("3 recreate", &["a v1 3/3"], "a to 0");
    check("3 recreate", &["a v1 0/0"], "create 3 r2");
    let deployment = deployment("3 recreate");
    let sets = sets(&deployment, &["a v1 0/0"]);
    assert!(plan(&deployment, &sets, true).steps.is_empty(), "an old pod still runs");
}

#[test]
fn scaling_in_the_middle_of_a_roll_out_is_proportional() {
    check("20 0/1", &["a v1 8/8 10,10", "b v2 2/2 10,10"], "a to 16; b to 4");
    check("5 0/1", &["a v1 8/8 10,10", "b v2 2/2 10,10"], "a to 4; b to 1");
    check("0 0/1", &["a v1 8/8 10,10", "b v2 2/2 10,10"], "a to 0; b to 0");
    check("6", &["a v1 4/4 4,5"], "a to 6");
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    check("4 paused", &["a v1 4/4"], "");
    check("6 paused", &["a v1 4/4 4,5"], "a to 6");
}

#[test]
fn history_beyond_the_limit_goes_when_all_is_done() {
    check("2", &["a v-3 0/0", "x v-2 0/0", "c v-1 0/0", "d v1 0/0", "b v2 2/2"], "delete a; delete x");
    check("2", &["a v-3 0/0", "x v-2 0/0", "c v-1 0/0", "d v1 0/0", "b v2 2/1"], "");
}

#[test]
fn rolling_back_makes_the_old_set_new_with_a_later_revision() {
    let deployment = deployment("2");
    let mut sets = sets(&deployment, &["a v3 2/2", "b v2 0/0"]);
    let made = plan(&deployment, &sets, false);
    assert_eq!(made.revision, Some(4));
    let [Step::Annotate { annotations, .. }] = made.steps.as_slice() else { panic!("{:?}", made.steps) };
    assert_eq!(annotations, &json!({sets::REVISION: "4", sets::REVISION_HISTORY: "2"}));
    sets.new = None;
    assert!(matches!(plan(&deployment, &sets, false).steps[0], Step::Create { revision: 4, .. }));
}
