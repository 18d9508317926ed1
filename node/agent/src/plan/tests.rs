//! Rows: the pod's containers and their states → what is done next.
//!
//! A state is `idle`, `starting`, `run` (started), `warm` (startup probe not passed), `sick`, `stopping`, or an exit code, with
//! `@N` seconds ago. Words after `|`: `absent`, `busy`, `removed` (the setup; else ready), `end+N` (must end in N s), `deadline+N`.

use std::time::Duration;

use jiff::Timestamp;
use schema::json;

use super::*;
use crate::slot::{BACKOFF_FIRST, Backoff, Ended, Run, Unhealthy, Why, slots};

/// `init*` containers are init containers, `side*` sidecars, `debug*` ephemeral ones.
fn spec(policy: &str, names: &[&str]) -> PodSpec {
    let of = |prefix: &[&str]| -> Vec<schema::Value> {
        let chosen = names.iter().filter(|name| prefix.iter().any(|prefix| name.starts_with(prefix)));
        let one =
            |name: &&str| if name.starts_with("side") { json!({"name": name, "restartPolicy": "Always"}) } else { json!({"name": name}) };
        chosen.map(one).collect()
    };
    let doc = json!({"restartPolicy": policy, "initContainers": of(&["init", "side"]), "containers": of(&["a", "b"]), "ephemeralContainers": of(&["debug"])});
    serde_json::from_value(doc).unwrap()
}

fn state(text: &str, now: Instant) -> State {
    let (word, ago) = text.split_once('@').unwrap_or((text, "0"));
    let run = |started, unhealthy, stopping| {
        State::Running(Run { id: "id".into(), started_at: Timestamp::UNIX_EPOCH, started, ready: true, unhealthy, stopping })
    };
    match word {
        "idle" => State::Idle,
        "starting" => State::Starting { id: "id".into(), cancelled: false, ended_before: None },
        "cancelled" => State::Starting { id: "id".into(), cancelled: true, ended_before: None },
        "run" => run(true, None, false),
        "warm" => run(false, None, false),
        "sick" => run(true, Some(Unhealthy::default()), false),
        "stopping" => run(true, None, true),
        code => {
            let (code, at) = (code.parse().unwrap(), now - Duration::from_secs(ago.parse().unwrap()));
            let why = Why::default();
            let ended =
                Ended { id: "id".into(), code, signal: 0, why, started_at: Timestamp::UNIX_EPOCH, finished_at: Timestamp::UNIX_EPOCH };
            State::Exited { ended, at }
        }
    }
}

fn run_with(policy: &str, row: &str, change: impl Fn(&mut Vec<Slot>, Instant)) -> String {
    let now = Instant::now() + Duration::from_secs(10_000);
    let (containers, rest) = row.split_once('|').unwrap_or((row, ""));
    let pairs: Vec<(&str, &str)> = containers.split_whitespace().map(|pair| pair.split_once('=').unwrap()).collect();
    let spec = spec(policy, &pairs.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    let mut all = slots(&spec);
    for slot in &mut all {
        slot.state = state(pairs.iter().find(|(name, _)| *name == slot.name).unwrap().1, now);
    }
    change(&mut all, now);
    let mut view = View { spec: &spec, slots: &all, setup: Setup::Ready, ending: None, active_deadline: None, now };
    let after = |text: &str| {
        let seconds: i64 = text.parse().unwrap();
        if seconds < 0 { now - Duration::from_secs(seconds.unsigned_abs()) } else { now + Duration::from_secs(seconds.unsigned_abs()) }
    };
    for word in rest.split_whitespace() {
        match word {
            "absent" => view.setup = Setup::Absent { retry_at: None },
            "later" => view.setup = Setup::Absent { retry_at: Some(now + Duration::from_secs(3)) },
            "busy" => view.setup = Setup::Busy,
            "removed" => view.setup = Setup::Removed,
            word if word.starts_with("end") => view.ending = Some(Ending { deadline: after(&word[4..]) }),
            word => view.active_deadline = Some(after(word.strip_prefix("deadline+").unwrap())),
        }
    }
    show(&plan(&view), &all, now)
}

fn run(policy: &str, row: &str) -> String {
    run_with(policy, row, |_, _| {})
}

fn show(plan: &Plan, slots: &[Slot], now: Instant) -> String {
    let one = |action: &Action| match action {
        Action::Prepare => "prepare".to_owned(),
        Action::Complete => "complete".into(),
        Action::Expire => "expire".into(),
        Action::CleanUp => "clean".into(),
        Action::Start(index) => format!("start {}", slots[*index].name),
        Action::BackOff(index) => format!("back-off {}", slots[*index].name),
        Action::PullBackOff(index) => format!("pull-back-off {}", slots[*index].name),
        Action::StopUnhealthy(index) => format!("stop sick {}", slots[*index].name),
        Action::Stop(index) => format!("stop {}", slots[*index].name),
        Action::Cancel(index) => format!("cancel {}", slots[*index].name),
    };
    let mut words: Vec<String> = plan.actions.iter().map(one).collect();
    words.extend(plan.wake.map(|wake| format!("wake {}s", (wake - now).as_secs())));
    words.extend(plan.done.then(|| "done".to_owned()));
    words.join("; ")
}

#[tokio::test(start_paused = true)]
async fn beginnings() {
    for (policy, row, want) in [
        ("Always", "a=idle | absent", "prepare"),
        ("Always", "a=idle | later", "wake 3s"),
        ("Always", "a=idle | busy", ""),
        ("Always", "a=idle b=idle", "start a; start b"),
        ("Always", "a=run b=idle", "start b"),
        ("Always", "a=starting b=run", ""),
        ("Always", "a=idle debug=idle", "start a; start debug"),
        ("Always", "a=run debug=0", ""),
        ("Always", "a=run debug=1", ""),
        ("Always", "a=run | absent", "prepare"),
    ] {
        assert_eq!(run(policy, row), want, "{policy}: {row}");
    }
}

#[tokio::test(start_paused = true)]
async fn init_containers_and_sidecars() {
    for (policy, row, want) in [
        ("Always", "init1=idle init2=idle a=idle", "start init1"),
        ("Always", "init1=starting init2=idle a=idle", ""),
        ("Always", "init1=run init2=idle a=idle", ""),
        ("Always", "init1=0 init2=idle a=idle", "start init2"),
        ("Always", "init1=0 init2=0 a=idle", "start a"),
        ("Always", "init1=1 init2=idle a=idle", "start init1"),
        ("OnFailure", "init1=1 a=idle", "start init1"),
        ("Never", "init1=1 a=idle", "complete"),
        ("Never", "init1=0 a=idle", "start a"),
        ("Always", "side=idle init=idle a=idle", "start side"),
        ("Always", "side=warm init=idle a=idle", ""),
        ("Always", "side=run init=idle a=idle", "start init"),
        ("Always", "side=run init=0 a=idle", "start a"),
        ("Always", "side=run init=0 a=run", ""),
        ("Always", "side=1 init=0 a=run", "start side"),
        ("Never", "side=0 init=0 a=run", "start side"),
        ("Always", "side=warm init=0 a=run", ""),
        ("Always", "side=warm init=0 a=1", "start a"),
        ("Always", "init=1 a=run", ""),
        ("Always", "side1=run side2=idle a=idle", "start side2"),
        ("Always", "side1=1 side2=run a=idle", "start side1"),
    ] {
        assert_eq!(run(policy, row), want, "{policy}: {row}");
    }
}

#[tokio::test(start_paused = true)]
async fn ends_of_containers() {
    for (policy, row, want) in [
        ("Always", "a=0", "start a"),
        ("Always", "a=1 b=run", "start a"),
        ("OnFailure", "a=0", "complete"),
        ("OnFailure", "a=1", "start a"),
        ("OnFailure", "a=0 b=run", ""),
        ("OnFailure", "a=0 b=1", "start b"),
        ("Never", "a=1 b=run", ""),
        ("Never", "a=1 b=0", "complete"),
        ("Never", "a=0 side=run", "complete"),
        ("Never", "a=0 debug=run", "complete"),
        ("Always", "a=sick", "stop sick a"),
        ("Always", "a=stopping", ""),
        ("Always", "a=run side=sick", "stop sick side"),
        ("Always", "a=run | deadline+5", "wake 5s"),
        ("Always", "a=run | deadline+0", "expire"),
    ] {
        assert_eq!(run(policy, row), want, "{policy}: {row}");
    }
}

#[tokio::test(start_paused = true)]
async fn endings() {
    for (row, want) in [
        ("a=run b=run | end+30", "stop a; stop b; wake 30s"),
        ("a=stopping b=1 | end+30", "wake 30s"),
        ("a=starting | end+30", "cancel a; wake 30s"),
        ("a=cancelled | end+30", "wake 30s"),
        ("a=idle | end+30", "clean"),
        ("a=0 | end+30", "clean"),
        ("a=0 | busy end+30", ""),
        ("a=0 | later end+30", "wake 3s"),
        ("a=0 | absent end+30", "clean"),
        ("a=0 | removed end+30", "done"),
        ("a=run side1=run side2=run | end+30", "stop a; wake 30s"),
        ("a=stopping side1=run side2=run | end+30", "wake 30s"),
        ("a=0 side1=run side2=run | end+30", "stop side2; wake 30s"),
        ("a=0 side1=run side2=stopping | end+30", "wake 30s"),
        ("a=0 side1=run side2=143 | end+30", "stop side1; wake 30s"),
        ("a=0 side1=0 side2=0 | end+30", "clean"),
        ("a=stopping side1=run side2=run | end+-1", "stop side2; stop side1"),
        ("a=run init=run | end+5", "stop init; stop a; wake 5s"),
        ("a=0 debug=run | end+5", "stop debug; wake 5s"),
        ("a=sick | end+5", "stop a; wake 5s"),
    ] {
        assert_eq!(run("Always", row), want, "{row}");
    }
}

#[tokio::test(start_paused = true)]
async fn back_offs() {
    let crash = |delay: u64, reason: &'static str| {
        move |slots: &mut Vec<Slot>, now: Instant| {
            slots[0].backoff = Backoff { delay: Duration::from_secs(delay), since: Some(now - Duration::from_secs(30)) };
            slots[0].waiting = (!reason.is_empty()).then(|| Why::new(reason, ""));
        }
    };
    for (row, delay, reason, want) in [
        ("a=1@0", 0, "", "start a"),
        ("a=1@0", 10, "", "back-off a; wake 10s"),
        ("a=1@4", 10, "CrashLoopBackOff", "wake 6s"),
        ("a=1@10", 10, "CrashLoopBackOff", "start a"),
        ("a=1@0", 300, "", "back-off a; wake 300s"),
        ("a=128@0", 10, "RunContainerError", "wake 2s"),
        ("a=128@3", 10, "RunContainerError", "back-off a; wake 7s"),
        ("a=0@0", 10, "", "back-off a; wake 10s"),
    ] {
        assert_eq!(run_with("Always", row, crash(delay, reason)), want, "{row} {delay} {reason}");
    }
    let pull = |ago: u64, reason: &'static str| {
        move |slots: &mut Vec<Slot>, now: Instant| {
            slots[0].pull_delay = BACKOFF_FIRST;
            slots[0].retry_at = Some(now + BACKOFF_FIRST - Duration::from_secs(ago));
            slots[0].waiting = Some(Why::new(reason, ""));
        }
    };
    for (ago, reason, want) in [
        (0, "ErrImagePull", "wake 2s"),
        (2, "ErrImagePull", "pull-back-off a; wake 8s"),
        (5, "ImagePullBackOff", "wake 5s"),
        (10, "ImagePullBackOff", "start a"),
    ] {
        assert_eq!(run_with("Always", "a=idle", pull(ago, reason)), want, "{ago} {reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn restart_rules_go_before_the_policy() {
    let rules = |slots: &mut Vec<Slot>, _: Instant| {
        slots[0].rules = serde_json::from_value(json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}])).unwrap();
    };
    assert_eq!(run_with("Never", "a=42", rules), "start a");
    assert_eq!(run_with("Never", "a=1", rules), "complete");
}

proptest::proptest! {
    /// Whatever the states: a plan never starts what lives, never stops what does not, and a pod that ends never starts anything.
    #[test]
    fn plans_are_sane(states in proptest::collection::vec(0..8_usize, 5), ends: bool, policy in 0..3_usize) {
        const STATES: [&str; 8] = ["idle", "starting", "run", "warm", "sick", "stopping", "0", "1"];
        let names = ["init", "side1", "side2", "a", "b"];
        let now = Instant::now();
        let spec = spec(["Always", "OnFailure", "Never"][policy], &names);
        let mut all = slots(&spec);
        all.iter_mut().zip(&states).for_each(|(slot, index)| slot.state = state(STATES[*index], now));
        let ending = ends.then_some(Ending { deadline: now + Duration::from_secs(5) });
        let plan = plan(&View { spec: &spec, slots: &all, setup: Setup::Ready, ending, active_deadline: None, now });
        for action in &plan.actions {
            match action {
                Action::Start(index) => proptest::prop_assert!(!ends && !all[*index].is_live()),
                Action::Stop(index) | Action::StopUnhealthy(index) => proptest::prop_assert!(all[*index].is_running()),
                Action::CleanUp => proptest::prop_assert!(ends && !all.iter().any(Slot::is_live)),
                _ => {}
            }
        }
    }
}
