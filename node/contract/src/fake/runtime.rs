//! A runtime whose containers are rows in a map.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use env::Env;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::{
    ContainerSpec, ContainerState, Error, ErrorKind, Exec, ExecSpec, Exit, Resources, Result, Runtime, Sandbox, SandboxSpec, Stats, Streams,
};

const SIGKILL: i32 = 9;
const OUTPUT_MAX: usize = 64;

/// How containers of one name behave.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// Time that a start takes.
    pub start_delay: Duration,
    /// The start fails with this, as a missing binary does.
    pub start_error: Option<Error>,
    /// It ends by itself, with this code, this long after its start.
    pub exits_after: Option<(Duration, i32)>,
    pub oom_killed: bool,
    /// Only a kill ends it.
    pub ignores_signals: bool,
    /// Time between a stop signal and the exit.
    pub stop_delay: Duration,
    /// 143 where it says nothing else.
    pub stop_code: Option<i32>,
    /// Answers of `exec`, by the command's first word; others succeed without output.
    pub exec: HashMap<String, ExecReply>,
}

#[derive(Clone, Debug, Default)]
pub struct ExecReply {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub delay: Duration,
}

/// Cheap to clone; clones are the same runtime, so that an agent can be restarted over it.
#[derive(Clone)]
pub struct FakeRuntime(Arc<Inner>);

struct Inner {
    env: Env,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sandboxes: BTreeMap<String, Sandbox>,
    containers: HashMap<String, Container>,
    scripts: HashMap<String, Script>,
    /// Exits that no reader has taken.
    untaken: Vec<Exit>,
    reader: Option<mpsc::UnboundedSender<Exit>>,
    next_pid: u32,
    calls: Vec<String>,
}

struct Container {
    spec: ContainerSpec,
    state: ContainerState,
    script: Script,
    output: broadcast::Sender<Bytes>,
}

impl FakeRuntime {
    pub fn new(env: &Env) -> Self {
        Self(Arc::new(Inner { env: env.clone(), state: Mutex::default() }))
    }

    /// How containers named `container` behave from their next start on.
    pub fn script(&self, container: &str, script: Script) {
        self.lock().scripts.insert(container.into(), script);
    }

    /// Ends a running container now.
    pub fn exit(&self, id: &str, code: i32) {
        self.end(id, code, None, false);
    }

    /// As if the container had written to its standard output.
    pub fn print(&self, id: &str, text: &str) {
        if let Some(container) = self.lock().containers.get(id) {
            let _ = container.output.send(Bytes::copy_from_slice(text.as_bytes()));
        }
    }

    /// What was asked so far: `start web`, `signal web 15`, `kill web`, `sandbox <uid>` …
    pub fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }

    /// The spec that a container was started with.
    pub fn spec(&self, id: &str) -> Option<ContainerSpec> {
        self.lock().containers.get(id).map(|container| container.spec.clone())
    }

    /// Ids of the running containers of that name.
    pub fn running(&self, name: &str) -> Vec<String> {
        let state = self.lock();
        let running = state.containers.values().filter(|container| container.state.name == name && container.state.exit.is_none());
        running.map(|container| container.state.id.clone()).collect()
    }

    /// The reader of exits is gone, as when an agent dies.
    pub fn drop_reader(&self) {
        self.lock().reader = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no holder of the fake's state panics")
    }

    fn end(&self, id: &str, code: i32, signal: Option<i32>, oom_killed: bool) {
        let finished_at = i64::try_from(self.0.env.now().as_nanosecond()).unwrap_or_default();
        let mut state = self.lock();
        let Some(container) = state.containers.get_mut(id).filter(|container| container.state.exit.is_none()) else { return };
        let exit = Exit { id: id.into(), code, signal, oom_killed, finished_at, unknown: false };
        container.state.exit = Some(exit.clone());
        let unsent = match &state.reader {
            Some(reader) => reader.send(exit).err().map(|unsent| unsent.0),
            None => Some(exit),
        };
        state.untaken.extend(unsent);
    }

    fn end_later(&self, id: &str, after: Duration, code: i32, signal: Option<i32>, oom_killed: bool) {
        if after.is_zero() {
            return self.end(id, code, signal, oom_killed);
        }
        let (runtime, id) = (self.clone(), id.to_owned());
        self.0.env.spawn("fake exit", async move {
            let shutdown = runtime.0.env.shutdown().clone();
            if shutdown.run_until_cancelled(runtime.0.env.sleep(after)).await.is_some() {
                runtime.end(&id, code, signal, oom_killed);
            }
        });
    }

    fn not_found(id: &str) -> Error {
        Error::new(ErrorKind::NotFound, format!("container {id} does not exist"))
    }

    /// Puts the container where it runs.
    fn begin(&self, spec: &ContainerSpec, script: Script) -> Result<ContainerState> {
        let started_at = i64::try_from(self.0.env.now().as_nanosecond()).unwrap_or_default();
        let mut state = self.lock();
        if !state.sandboxes.contains_key(&spec.pod_uid) {
            return Err(Error::new(ErrorKind::NotFound, format!("pod {} has no sandbox", spec.pod_uid)));
        }
        if state.containers.contains_key(&spec.id) {
            return Err(Error::new(ErrorKind::Invalid, format!("container {} exists already", spec.id)));
        }
        state.next_pid += 1;
        let known = ContainerState {
            id: spec.id.clone(),
            pod_uid: spec.pod_uid.clone(),
            name: spec.name.clone(),
            pid: 1000 + state.next_pid,
            started_at,
            exit: None,
            labels: spec.labels.clone(),
            log_path: spec.stdio.log_path.clone(),
        };
        let container = Container { spec: spec.clone(), state: known.clone(), script, output: broadcast::channel(OUTPUT_MAX).0 };
        state.containers.insert(spec.id.clone(), container);
        Ok(known)
    }
}

#[async_trait]
impl Runtime for FakeRuntime {
    async fn ensure_sandbox(&self, spec: &SandboxSpec) -> Result<Sandbox> {
        let mut state = self.lock();
        state.calls.push(format!("sandbox {}", spec.pod_uid));
        let netns = (!spec.host_network).then(|| PathBuf::from("/fake/netns").join(&spec.pod_uid));
        let sandbox = Sandbox { pod_uid: spec.pod_uid.clone(), netns };
        Ok(state.sandboxes.entry(spec.pod_uid.clone()).or_insert(sandbox).clone())
    }

    async fn remove_sandbox(&self, pod_uid: &str) -> Result<()> {
        let live: Vec<String> = {
            let mut state = self.lock();
            state.calls.push(format!("remove sandbox {pod_uid}"));
            state.sandboxes.remove(pod_uid);
            let of_pod = state.containers.values().filter(|container| container.state.pod_uid == pod_uid);
            of_pod.map(|container| container.state.id.clone()).collect()
        };
        live.iter().for_each(|id| self.end(id, 128 + SIGKILL, Some(SIGKILL), false));
        Ok(())
    }

    async fn sandboxes(&self) -> Result<Vec<Sandbox>> {
        Ok(self.lock().sandboxes.values().cloned().collect())
    }

    async fn start(&self, spec: &ContainerSpec) -> Result<ContainerState> {
        let script = {
            let mut state = self.lock();
            state.calls.push(format!("start {}", spec.name));
            state.scripts.get(&spec.name).cloned().unwrap_or_default()
        };
        self.0.env.sleep(script.start_delay).await;
        if let Some(error) = &script.start_error {
            return Err(error.clone());
        }
        let (exits_after, oom_killed) = (script.exits_after, script.oom_killed);
        let state = self.begin(spec, script)?;
        if let Some((after, code)) = exits_after {
            self.end_later(&spec.id, after, code, None, oom_killed);
        }
        Ok(state)
    }

    async fn signal(&self, id: &str, signal: i32) -> Result<()> {
        let script = {
            let mut state = self.lock();
            let container = state.containers.get(id).ok_or_else(|| Self::not_found(id))?;
            let (name, script) = (container.state.name.clone(), container.script.clone());
            state.calls.push(format!("signal {name} {signal}"));
            script
        };
        if signal == SIGKILL {
            self.end(id, 128 + SIGKILL, Some(SIGKILL), false);
        } else if !script.ignores_signals {
            self.end_later(id, script.stop_delay, script.stop_code.unwrap_or(128 + signal), Some(signal), false);
        }
        Ok(())
    }

    async fn kill(&self, id: &str) -> Result<()> {
        {
            let mut state = self.lock();
            let container = state.containers.get(id).ok_or_else(|| Self::not_found(id))?;
            let name = container.state.name.clone();
            state.calls.push(format!("kill {name}"));
        }
        self.end(id, 128 + SIGKILL, Some(SIGKILL), false);
        Ok(())
    }

    async fn remove(&self, id: &str) -> Result<()> {
        let mut state = self.lock();
        match state.containers.get(id) {
            Some(container) if container.state.exit.is_none() => {
                Err(Error::new(ErrorKind::Busy, format!("container {id} is running: stop it first")))
            }
            Some(container) => {
                let name = container.state.name.clone();
                state.calls.push(format!("remove {name}"));
                state.containers.remove(id);
                state.untaken.retain(|exit| exit.id != id);
                Ok(())
            }
            None => Ok(()),
        }
    }

    async fn observe(&self) -> Result<Vec<ContainerState>> {
        Ok(self.lock().containers.values().map(|container| container.state.clone()).collect())
    }

    async fn exits(&self) -> Result<mpsc::Receiver<Exit>> {
        let (tx, rx) = mpsc::channel(OUTPUT_MAX);
        let (reader, mut unbounded_rx) = mpsc::unbounded_channel();
        {
            let mut state = self.lock();
            for exit in state.untaken.drain(..) {
                let _ = reader.send(exit);
            }
            state.reader = Some(reader);
        }
        let shutdown = self.0.env.shutdown().clone();
        self.0.env.spawn("fake exits", async move {
            while let Some(Some(exit)) = shutdown.run_until_cancelled(unbounded_rx.recv()).await {
                if tx.send(exit).await.is_err() {
                    return;
                }
            }
        });
        Ok(rx)
    }

    async fn exec(&self, id: &str, spec: &ExecSpec) -> Result<Exec> {
        let reply = {
            let mut state = self.lock();
            let container = state.containers.get(id).ok_or_else(|| Self::not_found(id))?;
            if container.state.exit.is_some() {
                return Err(Error::new(ErrorKind::NotFound, format!("container {id} is not running")));
            }
            let command = spec.argv.first().cloned().unwrap_or_default();
            let reply = container.script.exec.get(&command).cloned();
            let name = container.state.name.clone();
            state.calls.push(format!("exec {name} {}", spec.argv.join(" ")));
            reply
        };
        Ok(self.reply(id, spec, reply))
    }

    async fn attach(&self, id: &str) -> Result<Streams> {
        let mut output_rx = {
            let state = self.lock();
            let container = state.containers.get(id).ok_or_else(|| Self::not_found(id))?;
            container.output.subscribe()
        };
        let (stdout_tx, stdout) = mpsc::channel(OUTPUT_MAX);
        let (_, stderr) = mpsc::channel(1);
        self.0.env.spawn("fake attach", async move {
            while let Ok(chunk) = output_rx.recv().await {
                if stdout_tx.send(chunk).await.is_err() {
                    return;
                }
            }
        });
        Ok(Streams { stdin: None, stdout, stderr, resize: None })
    }

    async fn stats(&self, id: &str) -> Result<Stats> {
        self.lock().containers.get(id).map(|_| Stats::default()).ok_or_else(|| Self::not_found(id))
    }

    async fn reopen_log(&self, id: &str) -> Result<()> {
        self.lock().containers.get(id).map(|_| ()).ok_or_else(|| Self::not_found(id))
    }

    async fn update(&self, id: &str, resources: &Resources) -> Result<()> {
        let mut state = self.lock();
        let container = state.containers.get_mut(id).ok_or_else(|| Self::not_found(id))?;
        container.spec.resources = resources.clone();
        Ok(())
    }
}

impl FakeRuntime {
    /// A command that was scripted prints and ends; `cat` echoes its input; any other succeeds.
    fn reply(&self, id: &str, spec: &ExecSpec, reply: Option<ExecReply>) -> Exec {
        let (stdout_tx, stdout) = mpsc::channel(OUTPUT_MAX);
        let (stderr_tx, stderr) = mpsc::channel(OUTPUT_MAX);
        let (stdin_tx, mut stdin_rx) = mpsc::channel::<Bytes>(OUTPUT_MAX);
        let (resize_tx, _resize_rx) = mpsc::channel(OUTPUT_MAX);
        let (exit_tx, exit) = oneshot::channel();
        let echoes = reply.is_none() && spec.stdin && spec.argv.first().is_some_and(|command| command == "cat");
        let (env, id, reply) = (self.0.env.clone(), id.to_owned(), reply.unwrap_or_default());
        self.0.env.spawn("fake exec", async move {
            env.sleep(reply.delay).await;
            while echoes && let Some(chunk) = stdin_rx.recv().await {
                if stdout_tx.send(chunk).await.is_err() {
                    break;
                }
            }
            for (tx, text) in [(&stdout_tx, reply.stdout), (&stderr_tx, reply.stderr)] {
                if !text.is_empty() {
                    let _ = tx.send(text.into()).await;
                }
            }
            let finished_at = i64::try_from(env.now().as_nanosecond()).unwrap_or_default();
            let _ = exit_tx.send(Exit { id, code: reply.code, finished_at, ..Exit::default() });
        });
        let streams = Streams { stdin: spec.stdin.then_some(stdin_tx), stdout, stderr, resize: spec.tty.then_some(resize_tx) };
        Exec { streams, exit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::suite;

    #[tokio::test(start_paused = true)]
    async fn passes_the_suite() {
        let env = Env::sim(1);
        let runtime = FakeRuntime::new(&env);
        suite::run(
            &runtime,
            &suite::Commands { forever: vec!["forever".into()], exits_with_3: vec!["three".into()], cat: vec!["cat".into()] },
            |name| match name {
                "three" => runtime.script("three", Script { exits_after: Some((Duration::from_millis(5), 3)), ..Script::default() }),
                "missing" => {
                    let error = Error::new(ErrorKind::Start, "exec: \"/no/such\": stat /no/such: no such file or directory");
                    runtime.script("missing", Script { start_error: Some(error), ..Script::default() });
                }
                "stubborn" => runtime.script("stubborn", Script { ignores_signals: true, ..Script::default() }),
                _ => {}
            },
        )
        .await;
    }
}
