//! Pods that print numbered lines, and whether each line came once and in order: to the log file, and to who follows it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::machine::{Machine, Running};

/// Ten lines every 20 ms, on and on.
pub(crate) const STEADY: &str =
    "i=0; while :; do n=0; while [ $n -lt 10 ]; do n=$((n+1)); i=$((i+1)); echo line $i; done; sleep 0.02; done";

/// [`FLOOD_LINES`] lines as fast as they are taken, then nothing more.
pub(crate) const FLOOD: &str = "seq 150000 | sed 's/^/line /'; exec sleep 100000";
pub(crate) const FLOOD_LINES: u64 = 150_000;

/// A line of two halves every 10 ms: whoever looks finds half a line most of the time.
pub(crate) const STAMMER: &str = "i=0; while :; do i=$((i+1)); printf 'line '; sleep 0.01; echo $i; done";

/// Makes the pod and waits until it is ready.
pub(crate) fn start(machine: &Machine, pod: &str, script: &str) {
    let container = serde_json::json!({"name": "main", "image": "busybox", "command": ["sh", "-c", script]});
    let spec = serde_json::json!({"terminationGracePeriodSeconds": 1, "containers": [container]});
    machine.create(&serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod}, "spec": spec}).to_string());
    machine.ready(pod);
}

/// The numbers in the log file of the pod's container, whose lines are `line N`.
pub(crate) fn logged(machine: &Machine, pod: &str) -> Vec<u64> {
    let text = std::fs::read_to_string(log_file(machine, pod)).expect("the log is there");
    let (mut numbers, mut line) = (Vec::new(), String::new());
    for record in text.lines() {
        let mut parts = record.splitn(4, ' ');
        let tag = parts.nth(2).unwrap_or_default();
        line.push_str(parts.next().unwrap_or_default());
        if tag == "F" {
            numbers.push(number(&line).unwrap_or_else(|| panic!("no number in {line:?}")));
            line.clear();
        }
    }
    numbers
}

/// What is wrong with numbers that should be 1, 2, 3 …
pub(crate) fn gaps(numbers: &[u64]) -> Vec<String> {
    let pairs = std::iter::once(&0).chain(numbers).zip(numbers);
    pairs.filter(|(before, after)| **after != **before + 1).map(|(before, after)| format!("{after} after {before}")).take(10).collect()
}

fn log_file(machine: &Machine, pod: &str) -> PathBuf {
    let start = format!("default_{pod}_");
    let mut folders = std::fs::read_dir(machine.root().join("node/pods-log")).expect("pods have logged").flatten();
    let folder = folders.find(|entry| entry.file_name().to_string_lossy().starts_with(&start)).expect("this pod has");
    folder.path().join("main/0.log")
}

fn number(line: &str) -> Option<u64> {
    line.rsplit_once("line ")?.1.parse().ok()
}

/// `kubectl logs -f`, again from its last line whenever it ends.
pub(crate) struct LogFollower {
    stop: Arc<AtomicBool>,
    last: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<Followed>,
}

pub(crate) struct Followed {
    pub(crate) numbers: Vec<u64>,
    /// How often it began.
    pub(crate) connections: usize,
}

impl LogFollower {
    pub(crate) fn start(machine: &Machine, pod: &str) -> Self {
        let (stop, last) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, seen) = (Arc::clone(&stop), Arc::clone(&last));
        let connect = machine.starter("kubectl", &[&machine.kubeconfig_argument(), "logs", "-f", "--timestamps", pod]);
        let thread = std::thread::spawn(move || {
            let mut followed = Followed { numbers: Vec::new(), connections: 0 };
            let mut since = String::new();
            while !stopped.load(Ordering::Relaxed) {
                let more: Vec<String> = Some(since.clone())
                    .filter(|since| !since.is_empty())
                    .map(|since| format!("--since-time={since}"))
                    .into_iter()
                    .collect();
                followed.connections += 1;
                follow(&connect(&more), &stopped, &seen, &mut followed.numbers, &mut since);
            }
            followed
        });
        Self { stop, last, thread }
    }

    /// The highest number seen.
    pub(crate) fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    pub(crate) fn stop(self) -> Followed {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the follower ends")
    }
}

/// Until the stream ends. A stream that begins anew shows lines of its first second again: they are passed over.
fn follow(stream: &Running, stopped: &AtomicBool, seen: &AtomicU64, numbers: &mut Vec<u64>, since: &mut String) {
    let known = seen.load(Ordering::Relaxed);
    while !stopped.load(Ordering::Relaxed) {
        let line = match stream.line_within(Duration::from_millis(200)) {
            Ok(Some(line)) => line,
            Ok(None) => return,
            Err(()) => continue,
        };
        let Some(number) = number(&line).filter(|number| *number > known) else { continue };
        numbers.push(number);
        seen.store(number, Ordering::Relaxed);
        if let Some((time, _)) = line.split_once(' ') {
            time.clone_into(since);
        }
    }
}
