//! Containers and execs: from the launcher's report to the exit that somebody takes.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, OwnedFd};

use env::Env;
use runtime::Report;
use rustix::process::{Signal, pidfd_send_signal};
use sys::process::{Clone, Side};

use super::connections::Token;
use super::{Keeper, Source, watch, watch_end};
use crate::protocol::{Answer, Ended, Entry, Launcher, PAGE};

#[derive(Default)]
pub(super) struct Processes {
    all: BTreeMap<String, Process>,
    by_pid: HashMap<u32, String>,
    launches: HashMap<u64, Launch>,
    last_launch: u64,
    /// Ended before their launcher's report was read.
    early: HashMap<u32, i32>,
}

pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) pidfd: OwnedFd,
    pub(super) start_ticks: u64,
    pub(super) started_at: i64,
    /// The connection that an exec belongs to.
    pub(super) owner: Option<Token>,
    /// The first is the writing end of standard input, when there is one.
    pub(super) held: Vec<OwnedFd>,
    pub(super) terminal: Option<OwnedFd>,
    pub(super) ended: Option<Ended>,
    pub(super) taken: bool,
}

/// What a start asks for.
pub(super) struct Order {
    pub(super) id: String,
    pub(super) launcher: Launcher,
    pub(super) exec: bool,
    pub(super) held: usize,
}

struct Launch {
    report: OwnedFd,
    /// The launcher itself, where it becomes the process.
    init: Option<(u32, OwnedFd)>,
    token: Token,
    number: u64,
    id: String,
    exec: bool,
    held: Vec<OwnedFd>,
}

/// An exit, and whom to tell: everybody when None.
pub(super) struct Told {
    pub(super) exit: Ended,
    pub(super) owner: Option<Token>,
}

impl Keeper {
    /// Makes a launcher. The answer comes when it reports.
    pub(super) fn start(&mut self, token: Token, number: u64, order: Order, mut fds: Vec<OwnedFd>) -> Result<(), String> {
        let Order { id, launcher, exec, held } = order;
        if self.processes.all.contains_key(&id) || self.processes.launches.values().any(|launch| launch.id == id) {
            return Err(format!("{id} exists"));
        }
        if fds.len() <= held {
            return Err("the plan is missing".into());
        }
        let held = fds.split_off(fds.len() - held);
        let (report, report_tx) = sys::seqpacket::pair().map_err(|error| format!("report socket: {error}"))?;
        let init = make_launcher(launcher, fds, report_tx)?;
        self.processes.last_launch += 1;
        let launch = self.processes.last_launch;
        let watched = if init.is_some() { watch_end } else { watch }(&self.epoll, report.as_fd(), Source::Launch(launch));
        watched.map_err(|error| error.to_string())?;
        self.processes.launches.insert(launch, Launch { report, init, token, number, id, exec, held });
        Ok(())
    }

    pub(super) fn launch_reported(&mut self, launch: u64) {
        let Some(mut launch) = self.processes.launches.remove(&launch) else { return };
        let (answer, fds) = match (heard(&launch), launch.init.take()) {
            (Some((Report::Started { pid }, mut fds)), None) if !fds.is_empty() => {
                let pidfd = fds.remove(0);
                self.started(&launch, pid, pidfd, fds.pop())
            }
            (Some((Report::Ready, mut fds)), Some((pid, pidfd))) => self.started(&launch, pid, pidfd, fds.pop()),
            (Some((Report::Failed(failure), _)), _) => (Answer::Failed(failure), Vec::new()),
            _ => (Answer::Refused("the launcher died".into()), Vec::new()),
        };
        let started = matches!(answer, Answer::Started { .. });
        self.connections.send(&self.epoll, launch.token, &crate::protocol::Message::Answer { number: launch.number, answer }, fds);
        if started {
            self.settle(launch);
        }
        if self.processes.launches.is_empty() {
            self.processes.early.clear();
        }
    }

    /// Notes a started process and what to send about it.
    fn started(&mut self, launch: &Launch, pid: u32, pidfd: OwnedFd, terminal: Option<OwnedFd>) -> (Answer, Vec<OwnedFd>) {
        let started_at = nanos(&self.env);
        // A child of ours that nobody has reaped cannot have lost its number; one reaped already has no start any more.
        let start_ticks = sys::process::start_ticks(pid).unwrap_or(0);
        let copies = [Some(&pidfd), terminal.as_ref()].into_iter().flatten().filter_map(|fd| fd.try_clone().ok()).collect();
        let owner = launch.exec.then_some(launch.token);
        let process = Process { pid, pidfd, start_ticks, started_at, owner, held: Vec::new(), terminal, ended: None, taken: false };
        self.processes.insert(launch.id.clone(), process);
        (Answer::Started { pid, start_ticks, started_at }, copies)
    }

    /// Hands over what is held, and tells an exit that came before the start was told.
    fn settle(&mut self, launch: Launch) {
        let Some(process) = self.processes.all.get_mut(&launch.id) else { return };
        process.held = launch.held;
        let pid = process.pid;
        if launch.exec && !self.connections.is_open(launch.token) {
            let _ = pidfd_send_signal(&process.pidfd, Signal::KILL);
        }
        if let Some(status) = self.processes.early.remove(&pid) {
            self.process_ended(pid, Some(status));
        }
    }
}

/// The launcher's pid and pidfd where it is to become the process. Whoever is on its side never returns.
fn make_launcher(launcher: Launcher, mut fds: Vec<OwnedFd>, report: OwnedFd) -> Result<Option<(u32, OwnedFd)>, String> {
    let cgroup = if launcher == (Launcher::Init { cgroup: true }) { fds.pop() } else { None };
    if fds.is_empty() {
        return Err("the plan is missing".into());
    }
    let plan = fds.remove(0);
    match launcher {
        Launcher::Parent => match sys::process::fork() {
            Ok(Side::Child) => runtime::launch(plan, fds, &report),
            Ok(Side::Parent(_)) => Ok(None),
            Err(error) => Err(format!("fork: {error}")),
        },
        Launcher::Init { .. } => {
            let clone = Clone { namespaces: sys::ns::PID, parent: false, into_cgroup: cgroup.as_ref().map(AsFd::as_fd) };
            match sys::process::clone3(&clone) {
                Ok(None) => runtime::become_container(plan, fds, &report),
                Ok(init) => Ok(init),
                Err(error) => Err(format!("clone: {error}")),
            }
        }
    }
}

/// A launcher's last word, with the descriptors of them all. One that becomes the process has spoken to the end, so
/// asking again never waits.
fn heard(launch: &Launch) -> Option<(Report, Vec<OwnedFd>)> {
    let (mut last, mut fds) = (None, Vec::new());
    loop {
        let message = sys::seqpacket::receive(&launch.report).ok().filter(|message| !message.is_end());
        let Some(message) = message else { return Some((last?, fds)) };
        last = Some(serde_json::from_slice(&message.bytes).ok()?);
        fds.extend(message.fds);
        if launch.init.is_none() {
            return Some((last?, fds));
        }
    }
}

impl Processes {
    pub(super) fn insert(&mut self, id: String, process: Process) {
        self.by_pid.insert(process.pid, id.clone());
        self.all.insert(id, process);
    }

    /// A process has ended; None when it is none of ours (yet).
    pub(super) fn ended(&mut self, pid: u32, status: Option<i32>, finished_at: i64) -> Option<Told> {
        let Some(id) = self.by_pid.remove(&pid) else {
            if let (Some(status), false) = (status, self.launches.is_empty()) {
                self.early.insert(pid, status);
            }
            return None;
        };
        let exit = Ended { id: id.clone(), status, finished_at };
        let process = self.all.get_mut(&id)?;
        let owner = process.owner;
        if owner.is_some() {
            self.all.remove(&id);
        } else {
            process.ended = Some(exit.clone());
        }
        Some(Told { exit, owner })
    }

    pub(super) fn page(&self, after: Option<&str>) -> Vec<Entry> {
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let entries = self.all.range::<str, _>((from, std::ops::Bound::Unbounded)).filter(|(_, process)| process.owner.is_none());
        entries.take(PAGE).map(|(id, process)| process.entry(id)).collect()
    }

    pub(super) fn taken(&mut self, id: &str) -> Answer {
        self.all.get_mut(id).map_or_else(
            || unknown(id),
            |process| {
                process.taken = process.ended.is_some();
                Answer::Done
            },
        )
    }

    /// Forgets an ended process; one that is not known is forgotten already.
    pub(super) fn remove(&mut self, id: &str) -> Answer {
        if self.all.get(id).is_some_and(|process| process.ended.is_none()) {
            return Answer::Refused(format!("{id} is running"));
        }
        self.all.remove(id);
        Answer::Done
    }

    pub(super) fn close_stdin(&mut self, id: &str) -> Answer {
        let Some(process) = self.all.get_mut(id) else { return unknown(id) };
        if !process.held.is_empty() {
            process.held.remove(0);
        }
        Answer::Done
    }

    pub(super) fn terminal(&self, id: &str) -> Option<&OwnedFd> {
        self.all.get(id)?.terminal.as_ref()
    }

    pub(super) fn running(&self) -> usize {
        self.all.values().filter(|process| process.ended.is_none()).count()
    }

    pub(super) fn launching(&self) -> bool {
        !self.launches.is_empty()
    }

    pub(super) fn kill_of(&self, token: Token) {
        self.kill(|process| process.owner == Some(token));
    }

    pub(super) fn kill_all(&self) {
        self.kill(|_| true);
    }

    fn kill(&self, which: impl Fn(&Process) -> bool) {
        for process in self.all.values().filter(|process| process.ended.is_none() && which(process)) {
            let _ = pidfd_send_signal(&process.pidfd, Signal::KILL);
        }
    }
}

impl Process {
    fn entry(&self, id: &str) -> Entry {
        Entry {
            id: id.into(),
            pid: self.pid,
            start_ticks: self.start_ticks,
            started_at: self.started_at,
            ended: self.ended.clone(),
            taken: self.taken,
        }
    }
}

fn unknown(id: &str) -> Answer {
    Answer::Refused(format!("{id} is not known"))
}

/// Wall time in Unix nanoseconds.
pub(super) fn nanos(env: &Env) -> i64 {
    i64::try_from(env.now().as_nanosecond()).unwrap_or(i64::MAX)
}
