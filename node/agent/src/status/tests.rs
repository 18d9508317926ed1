//! Rows: containers and their states → phase, conditions and what each container shows.

use kinds::core::PodSpec;
use schema::json;
use tokio::time::Instant;

use super::*;
use crate::slot::{Run, slots};

fn pod(policy: &str, names: &[&str]) -> Pod {
    let of = |prefix: &[&str]| -> Vec<schema::Value> {
        let chosen = names.iter().filter(|name| prefix.iter().any(|prefix| name.starts_with(prefix)));
        let one =
            |name: &&str| if name.starts_with("side") { json!({"name": name, "restartPolicy": "Always"}) } else { json!({"name": name}) };
        chosen.map(one).collect()
    };
    let spec: PodSpec =
        serde_json::from_value(json!({"restartPolicy": policy, "initContainers": of(&["init", "side"]), "containers": of(&["a", "b"])}))
            .unwrap();
    Pod { spec, ..Pod::default() }
}

fn ended_with(code: i32) -> Ended {
    let why = Why::new(if code == 0 { "Completed" } else { "Error" }, "");
    Ended { id: "old".into(), code, signal: 0, why, started_at: Timestamp::UNIX_EPOCH, finished_at: Timestamp::UNIX_EPOCH }
}

/// `idle`, `starting`, `run`, `unready`, `warm`, an exit code, or a waiting reason with a code behind a colon (`CrashLoopBackOff:1`).
fn fill(slot: &mut Slot, text: &str) {
    let run = |started, ready| {
        State::Running(Run { id: "new".into(), started_at: Timestamp::UNIX_EPOCH, started, ready, unhealthy: None, stopping: false })
    };
    slot.state = match text {
        "idle" => State::Idle,
        "starting" => State::Starting { id: "new".into(), cancelled: false, ended_before: None },
        "run" => run(true, true),
        "unready" => run(true, false),
        "warm" => run(false, true),
        text => match text.split_once(':') {
            Some((reason, "")) => {
                slot.waiting = Some(Why::new(reason, ""));
                State::Idle
            }
            Some((reason, code)) => {
                slot.waiting = Some(Why::new(reason, ""));
                State::Exited { ended: ended_with(code.parse().unwrap()), at: Instant::now() }
            }
            None => State::Exited { ended: ended_with(text.parse().unwrap()), at: Instant::now() },
        },
    };
}

fn status_of(policy: &str, row: &str, is_over: bool) -> PodStatus {
    let pairs: Vec<(&str, &str)> = row.split_whitespace().map(|pair| pair.split_once('=').unwrap()).collect();
    let pod = pod(policy, &pairs.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    let mut all = slots(&pod.spec);
    all.iter_mut().for_each(|slot| fill(slot, pairs.iter().find(|(name, _)| *name == slot.name).unwrap().1));
    let facts = Facts { is_over, ..Facts::default() };
    pod_status(&pod, &PodStatus::default(), &all, &facts, Timestamp::UNIX_EPOCH)
}

/// Phase, then the conditions that hold: Initialized, Ready.
fn show(status: &PodStatus) -> String {
    let holds = |name: &str| status.conditions.iter().any(|condition| condition.r#type == name && condition.status == "True");
    let words = [("Initialized", "I"), ("Ready", "R")].into_iter().filter(|(name, _)| holds(name)).map(|(_, short)| short);
    format!("{} {}", status.phase, words.collect::<String>())
}

#[tokio::test(start_paused = true)]
async fn phases_and_conditions() {
    for (policy, row, want) in [
        ("Always", "a=idle", "Pending I"),
        ("Always", "a=starting", "Pending I"),
        ("Always", "a=ErrImagePull:", "Pending I"),
        ("Always", "a=run", "Running IR"),
        ("Always", "a=unready", "Running I"),
        ("Always", "a=warm", "Running I"),
        ("Always", "a=run b=idle", "Pending I"),
        ("Always", "a=run b=1", "Running I"),
        ("Always", "a=1", "Running I"),
        ("Always", "a=CrashLoopBackOff:1", "Running I"),
        ("OnFailure", "a=1", "Running I"),
        ("OnFailure", "a=0", "Succeeded I"),
        ("Never", "a=0", "Succeeded I"),
        ("Never", "a=1", "Failed I"),
        ("Never", "a=1 b=0", "Failed I"),
        ("Never", "a=1 b=run", "Running I"),
        ("Always", "init=idle a=idle", "Pending "),
        ("Always", "init=run a=idle", "Pending "),
        ("Always", "init=1 a=idle", "Pending "),
        ("Never", "init=1 a=idle", "Failed "),
        ("Always", "init=0 a=idle", "Pending I"),
        ("Always", "init=0 a=run", "Running IR"),
        ("Always", "side=warm a=idle", "Pending "),
        ("Always", "side=run a=run", "Running IR"),
        ("Always", "side=unready a=run", "Running I"),
        ("Always", "side=1 a=run", "Running I"),
        ("Never", "side=run a=0", "Running I"),
    ] {
        assert_eq!(show(&status_of(policy, row, false)), want, "{policy}: {row}");
    }
    for (row, want) in
        [("a=0", "Succeeded I"), ("a=143", "Failed I"), ("a=idle", "Failed I"), ("a=0 b=1", "Failed I"), ("a=0 side=143", "Succeeded I")]
    {
        assert_eq!(show(&status_of("Always", row, true)), want, "over: {row}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_container_shows() {
    let one = |policy: &str, row: &str| {
        let status = status_of(policy, row, false);
        let shown = status.container_statuses.into_iter().next().unwrap();
        let word = |state: &ContainerState| match state {
            ContainerState { waiting: Some(waiting), .. } => waiting.reason.clone(),
            ContainerState { running: Some(_), .. } => "running".into(),
            ContainerState { terminated: Some(terminated), .. } => format!("{}({})", terminated.reason, terminated.exit_code),
            ContainerState { .. } => "-".into(),
        };
        format!("{} / {}", word(&shown.state), word(&shown.last_state))
    };
    for (policy, row, want) in [
        ("Always", "a=idle", "ContainerCreating / -"),
        ("Always", "init=run a=idle", "PodInitializing / -"),
        ("Always", "a=run", "running / -"),
        ("Always", "a=1", "Error(1) / -"),
        ("Always", "a=CrashLoopBackOff:1", "CrashLoopBackOff / Error(1)"),
        ("Never", "a=RunContainerError:128", "Error(128) / -"),
        ("Always", "a=ImagePullBackOff:", "ImagePullBackOff / -"),
    ] {
        assert_eq!(one(policy, row), want, "{policy}: {row}");
    }
}

#[tokio::test(start_paused = true)]
async fn transition_times_move_only_with_the_status() {
    let pod = pod("Always", &["a"]);
    let mut all = slots(&pod.spec);
    fill(&mut all[0], "run");
    let at = |second: i64| Timestamp::from_second(second).unwrap();
    let first = pod_status(&pod, &PodStatus::default(), &all, &Facts::default(), at(100));
    let second = pod_status(&pod, &first, &all, &Facts::default(), at(200));
    assert_eq!(first, second);
    fill(&mut all[0], "unready");
    let third = pod_status(&pod, &second, &all, &Facts::default(), at(300));
    let since = |status: &PodStatus, name: &str| {
        status.conditions.iter().find(|condition| condition.r#type == name).unwrap().last_transition_time.clone().unwrap()
    };
    assert_eq!((since(&third, "Ready"), since(&third, "Initialized")), (schema::time::format(at(300)), schema::time::format(at(100))));
}

#[test]
fn a_terminal_phase_stays_and_foreign_conditions_too() {
    let mut pod = pod("Always", &["a"]);
    pod.status.conditions = vec![PodCondition { r#type: "example.com/gate".into(), status: "False".into(), ..PodCondition::default() }];
    pod.spec.readiness_gates = serde_json::from_value(json!([{"conditionType": "example.com/gate"}])).unwrap();
    let mut all = slots(&pod.spec);
    let previous = PodStatus { phase: "Failed".into(), ..PodStatus::default() };
    let status = pod_status(&pod, &previous, &all, &Facts::default(), Timestamp::UNIX_EPOCH);
    assert_eq!(status.phase, "Failed");
    assert_eq!(status.conditions.last().unwrap().r#type, "example.com/gate");
    all[0].state = State::Running(Run {
        id: "x".into(),
        started_at: Timestamp::UNIX_EPOCH,
        started: true,
        ready: true,
        unhealthy: None,
        stopping: false,
    });
    let status = pod_status(&pod, &PodStatus::default(), &all, &Facts::default(), Timestamp::UNIX_EPOCH);
    let ready = status.conditions.iter().find(|condition| condition.r#type == "Ready").unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "ReadinessGatesNotReady"));
}
