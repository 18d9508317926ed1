//! `control` and `node`: started, started again with back-off, stopped in reverse order.

use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};
use sys::pidfd::WaitStatus;
use sys::process::{CStringArray, Side};
use tokio::time::Instant;

use crate::config::ChildSpec;
use crate::control::ChildStatus;
use crate::protocol::{ChildMemory, Memory, Places, write_whole};

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Who ran this long was well: the next start is not delayed by older failures. A process that fails at its start does so
/// within milliseconds; one that ran for a second and died should be back at once, clients wait for it.
const WELL_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Children {
    all: Vec<Child>,
    argv: Vec<String>,
    env: Vec<(String, String)>,
    places: Places,
    /// Indexes still to be stopped, the next first.
    stopping: VecDeque<usize>,
    stopped: bool,
    grace: Duration,
}

struct Child {
    spec: ChildSpec,
    state: State,
    backoff: Duration,
    restarts: u32,
    last_exit: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running {
        pid: u32,
        since: Instant,
        kill_at: Option<Instant>,
    },
    /// None: now.
    Waiting(Option<Instant>),
    Stopped,
}

impl Children {
    pub(super) fn new(specs: Vec<ChildSpec>, argv: Vec<String>, env: Vec<(String, String)>, run_dir: PathBuf) -> Self {
        let child = |spec| Child { spec, state: State::Waiting(None), backoff: BACKOFF_MIN, restarts: 0, last_exit: None };
        let all = specs.into_iter().map(child).collect();
        Self { all, argv, env, places: Places(run_dir), stopping: VecDeque::new(), stopped: false, grace: Duration::ZERO }
    }

    /// Takes up a process that an earlier keeper started.
    pub(super) fn adopt(&mut self, name: &str, pid: u32, now: Instant) -> bool {
        let Some(child) = self.all.iter_mut().find(|child| child.spec.name == name) else { return false };
        child.state = State::Running { pid, since: now, kill_at: None };
        true
    }

    /// Starts whoever is due, and kills whoever was asked to end and has not.
    pub(super) fn start_due(&mut self, now: Instant) {
        let mut started = false;
        for child in &mut self.all {
            match child.state {
                State::Waiting(at) if at.is_none_or(|at| at <= now) => {
                    child.start(now);
                    started = true;
                }
                State::Running { pid, since, kill_at: Some(at) } if at <= now => {
                    let _ = sys::signal::kill_child(pid, libc::SIGKILL);
                    child.state = State::Running { pid, since, kill_at: None };
                }
                _ => {}
            }
        }
        if started {
            self.remember();
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let deadline = |child: &Child| match child.state {
            State::Waiting(at) => at,
            State::Running { kill_at, .. } => kill_at,
            State::Stopped => None,
        };
        self.all.iter().filter_map(deadline).min()
    }

    /// Whether it was one of ours that ended.
    pub(super) fn ended(&mut self, pid: u32, status: Option<i32>, now: Instant) -> bool {
        let ours = |child: &&mut Child| matches!(child.state, State::Running { pid: known, .. } if known == pid);
        let Some(child) = self.all.iter_mut().find(ours) else { return false };
        child.last_exit = Some(describe(status));
        if self.stopped {
            child.state = State::Stopped;
            self.stop_next(now);
        } else {
            child.wait_for_restart(now);
        }
        true
    }

    /// Ends all, the last started first: SIGTERM, then after `grace` SIGKILL.
    pub(super) fn stop(&mut self, now: Instant, grace: Duration) {
        let already = std::mem::replace(&mut self.stopped, true);
        self.grace = grace;
        for child in &mut self.all {
            if matches!(child.state, State::Waiting(_)) {
                child.state = State::Stopped;
            }
        }
        if !already {
            self.stopping = (0..self.all.len()).rev().collect();
            self.stop_next(now);
        }
    }

    pub(super) fn all_stopped(&self) -> bool {
        self.all.iter().all(|child| child.state == State::Stopped)
    }

    pub(super) fn resume(&mut self, _now: Instant) {
        self.stopped = false;
        self.stopping.clear();
        for child in self.all.iter_mut().filter(|child| child.state == State::Stopped) {
            child.state = State::Waiting(None);
            child.backoff = BACKOFF_MIN;
        }
    }

    pub(super) fn status(&self) -> Vec<ChildStatus> {
        let status = |child: &Child| ChildStatus {
            name: child.spec.name.clone(),
            pid: match child.state {
                State::Running { pid, .. } => Some(pid),
                _ => None,
            },
            restarts: child.restarts,
            last_exit: child.last_exit.clone(),
        };
        self.all.iter().map(status).collect()
    }

    fn stop_next(&mut self, now: Instant) {
        while let Some(index) = self.stopping.pop_front() {
            let child = &mut self.all[index];
            if let State::Running { pid, since, .. } = child.state {
                let _ = sys::signal::kill_child(pid, libc::SIGTERM);
                child.state = State::Running { pid, since, kill_at: Some(now + self.grace) };
                return;
            }
        }
    }

    /// What the next keeper needs to know about them.
    pub(super) fn remember(&self) {
        let children = self.all.iter().filter_map(|child| match child.state {
            State::Running { pid, .. } => {
                Some(ChildMemory { name: child.spec.name.clone(), pid, start_ticks: sys::process::start_ticks(pid)? })
            }
            _ => None,
        });
        let memory = Memory { argv: self.argv.clone(), env: self.env.clone(), children: children.collect() };
        // Without it a new keeper starts new children; their predecessors then keep their ports and it shows.
        let _ = write_whole(&self.places.memory(), &memory);
    }
}

impl Child {
    fn start(&mut self, now: Instant) {
        match sys::process::fork() {
            Ok(Side::Child) => become_child(&self.spec),
            Ok(Side::Parent(pid)) => self.state = State::Running { pid, since: now, kill_at: None },
            Err(error) => {
                self.last_exit = Some(format!("fork: {error}"));
                self.state = State::Waiting(Some(now + self.backoff));
            }
        }
    }

    fn wait_for_restart(&mut self, now: Instant) {
        if let State::Running { since, .. } = self.state
            && now.saturating_duration_since(since) >= WELL_AFTER
        {
            self.backoff = BACKOFF_MIN;
        }
        self.restarts += 1;
        self.state = State::Waiting(Some(now + self.backoff));
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
    }
}

fn describe(status: Option<i32>) -> String {
    let Some(status) = status.map(WaitStatus) else { return "unknown".into() };
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => "unknown".into(),
    }
}

/// Never returns: what cannot be set up is said in the child's log.
fn become_child(spec: &ChildSpec) -> ! {
    let error = try_become(spec);
    let _ = io::Write::write_all(&mut io::stderr(), format!("start {}: {error}\n", spec.name).as_bytes());
    sys::process::exit_now(126)
}

fn try_become(spec: &ChildSpec) -> io::Error {
    let prepared = prepare(spec);
    match prepared {
        Ok((program, argv, env)) => sys::process::execve(&program, &argv, &env),
        Err(error) => error,
    }
}

fn prepare(spec: &ChildSpec) -> io::Result<(CString, CStringArray, CStringArray)> {
    redirect(&spec.log)?;
    let c_string = |text: &str| CString::new(text).map_err(io::Error::other);
    let program = c_string(spec.argv.first().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?)?;
    let argv = spec.argv.iter().map(|text| c_string(text)).collect::<io::Result<_>>()?;
    let env = spec.env.iter().map(|(key, value)| c_string(&format!("{key}={value}"))).collect::<io::Result<_>>()?;
    rustix::process::setsid()?;
    if let Some((uid, gid)) = spec.user {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        drop_bounding(spec.drop_capabilities)?;
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    } else {
        drop_bounding(spec.drop_capabilities)?;
    }
    if spec.drop_capabilities {
        let none = CapabilitySet::empty();
        rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
        rustix::thread::set_no_new_privs(true)?;
    }
    sys::signal::reset_all();
    sys::fd::cloexec_from(3)?;
    Ok((program, CStringArray::new(argv), CStringArray::new(env)))
}

fn drop_bounding(wanted: bool) -> io::Result<()> {
    for bit in (0..64).filter(|bit| wanted && runtime::capability::ALL & (1 << bit) != 0) {
        match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) {
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Standard input is empty, output and errors are appended to the log.
pub(super) fn redirect(log: &Path) -> io::Result<()> {
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let log = OpenOptions::new().append(true).create(true).open(log)?;
    rustix::stdio::dup2_stdin(null.as_fd())?;
    rustix::stdio::dup2_stdout(log.as_fd())?;
    Ok(rustix::stdio::dup2_stderr(log.as_fd())?)
}
