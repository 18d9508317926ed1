//! The node's side: [`contract::Runtime`] over the keeper.

mod connection;
mod containers;
mod exec;
mod link;
mod logs;
mod namespaces;
mod plans;
mod sandboxes;
mod spool;
mod state;
mod streams;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use contract::{
    ContainerSpec, ContainerState, Error, ErrorKind, Exec, ExecSpec, Exit, Resources, Result, Runtime, Sandbox, SandboxSpec, Stats, Streams,
};
use env::Env;
use runtime::FailureKind;
use runtime::cgroup::Cgroups;
use stdx::instance::Instance;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use self::connection::{CallError, Connection, Reply};
use self::namespaces::Namespaces;
use self::state::Container;
use crate::protocol::{Answer, Places, Request};

/// Exits that wait for their reader to take them one by one.
const EXITS: usize = 256;

/// Sandboxes, logs and state of containers; the keeper itself only forks, waits and holds descriptors.
pub struct Driver {
    inner: Arc<Inner>,
}

struct Inner {
    env: Env,
    places: Places,
    /// The instance's cgroup.
    group: PathBuf,
    cgroups: Cgroups,
    namespaces: Namespaces,
    /// None between two keepers.
    link: watch::Sender<Option<Arc<Connection>>>,
    containers: Mutex<HashMap<String, Arc<Container>>>,
    execs: Mutex<HashMap<String, oneshot::Sender<Exit>>>,
    /// Exits that nobody has taken yet.
    untaken: Mutex<VecDeque<Exit>>,
    untaken_grew: Notify,
    /// One sandbox is made or removed at a time per pod.
    sandbox_locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Driver {
    /// Connects to the keeper of the instance and takes up the containers it finds. Starts a new keeper when the old
    /// one dies later on.
    pub async fn connect(instance: &Instance, env: &Env) -> Result<Arc<Self>> {
        let places = Places::new(&instance.run_dir());
        let connection = Connection::open(&places.socket()).map_err(|error| {
            Error::new(
                ErrorKind::NotFound,
                format!("no keeper answers at {}: {error}: start it with `corten up`", places.socket().display()),
            )
        })?;
        let inner = Arc::new(Inner {
            env: env.clone(),
            group: instance.cgroup().into(),
            cgroups: Cgroups::detect().map_err(|error| Error::new(ErrorKind::Unsupported, error.to_string()))?,
            namespaces: Namespaces::start().map_err(|error| Error::io("namespace thread", error))?,
            link: watch::channel(None).0,
            containers: Mutex::default(),
            execs: Mutex::default(),
            untaken: Mutex::default(),
            untaken_grew: Notify::new(),
            sandbox_locks: Mutex::default(),
            places,
        });
        inner.clone().keep_link(connection).await?;
        inner.sweep_sandboxes().await;
        Ok(Arc::new(Self { inner }))
    }

    /// Leaves a descriptor with the keeper under a name, so that it outlives this process (a listening socket).
    pub async fn store_fd(&self, name: &str, fd: OwnedFd) -> Result<()> {
        match self.inner.call(Request::Put { name: name.into() }, vec![fd]).await? {
            (Answer::Done, _) => Ok(()),
            (answer, _) => Err(refused(answer)),
        }
    }

    /// A descriptor that was left with the keeper.
    pub async fn stored_fd(&self, name: &str) -> Result<Option<OwnedFd>> {
        let (_, mut fds) = self.inner.call(Request::Get { name: name.into() }, Vec::new()).await?;
        Ok(fds.pop())
    }
}

impl Inner {
    /// Asks the keeper. When it dies over the question, the next one is asked, unless the first may have acted on it.
    async fn call(&self, request: Request, fds: Vec<OwnedFd>) -> Result<Reply> {
        tokio::select! {
            reply = self.ask(request, fds) => reply,
            () = self.env.shutdown().cancelled() => Err(Error::new(ErrorKind::Io, "the node is stopping")),
        }
    }

    async fn ask(&self, request: Request, fds: Vec<OwnedFd>) -> Result<Reply> {
        let mut link = self.link.subscribe();
        let mut last: Option<Arc<Connection>> = None;
        loop {
            let fresh =
                |now: &Option<Arc<Connection>>| now.as_ref().is_some_and(|now| last.as_ref().is_none_or(|last| !Arc::ptr_eq(now, last)));
            let connection = link.wait_for(fresh).await.map_err(|error| Error::io("keeper", error))?.clone();
            let connection = connection.expect("waited for one");
            match connection.call(request.clone(), &fds).await {
                Ok(reply) => return Ok(reply),
                Err(CallError::Lost(error)) if matches!(request, Request::Start { .. }) => return Err(Error::io("keeper", error)),
                Err(_) => last = Some(connection),
            }
        }
    }

    fn container(&self, id: &str) -> Result<Arc<Container>> {
        let found = self.containers.lock().expect("no holder panics").get(id).cloned();
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("container {id} is not known")))
    }

    fn sandbox_lock(&self, pod_uid: &str) -> Arc<tokio::sync::Mutex<()>> {
        self.sandbox_locks.lock().expect("no holder panics").entry(pod_uid.to_owned()).or_default().clone()
    }

    /// Unless somebody waits for it.
    fn forget_sandbox_lock(&self, pod_uid: &str, lock: &Arc<tokio::sync::Mutex<()>>) {
        const OURS_AND_THE_MAPS: usize = 2;
        let mut locks = self.sandbox_locks.lock().expect("no holder panics");
        if Arc::strong_count(lock) == OURS_AND_THE_MAPS {
            locks.remove(pod_uid);
        }
    }

    /// Removes a cgroup, after the last process of it where some are still on their way out. Asking for them first would
    /// cost more than the removal.
    async fn remove_group(&self, group: &Path) -> io::Result<()> {
        match self.cgroups.remove(group) {
            Err(error) if matches!(error.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::DirectoryNotEmpty) => {
                self.wait_for_processes(group).await;
                self.cgroups.remove(group)
            }
            done => done,
        }
    }

    /// Until no process is left in the group. Each that is there is waited for by its pidfd.
    async fn wait_for_processes(&self, group: &Path) {
        loop {
            let processes = self.cgroups.processes(group);
            let pidfds: Vec<OwnedFd> = processes.iter().filter_map(|&pid| open_pidfd(pid)).collect();
            if pidfds.is_empty() {
                return;
            }
            for pidfd in pidfds {
                let Ok(pidfd) = sys::reactor::register(pidfd, tokio::io::Interest::READABLE) else { return };
                let _ = pidfd.readable().await;
            }
            tokio::task::yield_now().await;
        }
    }
}

fn open_pidfd(pid: u32) -> Option<OwnedFd> {
    // One that is a zombie needs no waiting for, only its parent.
    if sys::process::zombie_status(pid).is_some() {
        return None;
    }
    rustix::process::pidfd_open(rustix::process::Pid::from_raw(pid as i32)?, rustix::process::PidfdFlags::empty()).ok()
}

/// An answer that is not the hoped-for one.
fn refused(answer: Answer) -> Error {
    match answer {
        Answer::Failed(failure) => {
            let kind = match failure.kind {
                FailureKind::Start => ErrorKind::Start,
                FailureKind::Unsupported => ErrorKind::Unsupported,
                FailureKind::Io => ErrorKind::Io,
            };
            Error::new(kind, failure.message)
        }
        Answer::Refused(reason) => Error::new(ErrorKind::Io, format!("the keeper refused: {reason}")),
        other => Error::new(ErrorKind::Io, format!("the keeper answered {other:?}")),
    }
}

#[async_trait]
impl Runtime for Driver {
    async fn ensure_sandbox(&self, spec: &SandboxSpec) -> Result<Sandbox> {
        // A task of its own: whoever asked may go away, half a sandbox may not stay.
        let (inner, spec) = (self.inner.clone(), spec.clone());
        join(self.inner.env.spawn("sandbox", async move {
            let lock = inner.sandbox_lock(&spec.pod_uid);
            let _one = lock.lock().await;
            inner.make_sandbox(&spec).await
        }))
        .await
    }

    async fn remove_sandbox(&self, pod_uid: &str) -> Result<()> {
        let (inner, pod_uid) = (self.inner.clone(), pod_uid.to_owned());
        join(self.inner.env.spawn("sandbox", async move {
            let lock = inner.sandbox_lock(&pod_uid);
            let one = lock.clone().lock_owned().await;
            inner.end_sandbox(&pod_uid).await?;
            // Nothing of it runs or is listed any more; its mounts go after the answer is out.
            inner.env.clone().spawn("sandbox remains", async move {
                inner.sweep_remains(&pod_uid).await;
                drop(one);
                inner.forget_sandbox_lock(&pod_uid, &lock);
                inner.namespaces.replenish();
            });
            Ok(())
        }))
        .await
    }

    async fn sandboxes(&self) -> Result<Vec<Sandbox>> {
        Ok(self.inner.all_sandboxes())
    }

    async fn start(&self, spec: &ContainerSpec) -> Result<ContainerState> {
        let (inner, spec) = (self.inner.clone(), spec.clone());
        join(self.inner.env.spawn("container start", async move { inner.start_container(spec).await })).await
    }

    async fn signal(&self, id: &str, signal: i32) -> Result<()> {
        self.inner.signal(id, signal)
    }

    async fn kill(&self, id: &str) -> Result<()> {
        let container = self.inner.container(id)?;
        match self.inner.cgroups.kill(&container.group) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(format_args!("kill container {id}"), error)),
            _ => Ok(()),
        }
    }

    async fn remove(&self, id: &str) -> Result<()> {
        self.inner.remove_container(id).await
    }

    async fn observe(&self) -> Result<Vec<ContainerState>> {
        // Answers come in order: whatever the keeper had told before this one has arrived.
        self.inner.call(Request::Status, Vec::new()).await?;
        let containers = self.inner.containers.lock().expect("no holder panics");
        Ok(containers.values().filter_map(|container| container.state()).collect())
    }

    async fn exits(&self) -> Result<mpsc::Receiver<Exit>> {
        let (exits, receiver) = mpsc::channel(EXITS);
        self.inner.env.spawn("exits", self.inner.clone().hand_out_exits(exits));
        Ok(receiver)
    }

    async fn exec(&self, id: &str, spec: &ExecSpec) -> Result<Exec> {
        let (inner, id, spec) = (self.inner.clone(), id.to_owned(), spec.clone());
        join(self.inner.env.spawn("exec", async move { inner.start_exec(&id, &spec).await })).await
    }

    async fn attach(&self, id: &str) -> Result<Streams> {
        self.inner.attach(id)
    }

    async fn stats(&self, id: &str) -> Result<Stats> {
        let container = self.inner.container(id)?;
        let usage = self.inner.cgroups.usage(&container.group);
        let usage = usage.map_err(|error| Error::new(kind_of(&error), format!("figures of container {id}: {error}")))?;
        Ok(Stats {
            cpu_nanos: usage.cpu_nanos,
            memory_bytes: usage.memory_bytes,
            working_set_bytes: usage.working_set_bytes,
            rss_bytes: usage.rss_bytes,
            pids: usage.pids,
        })
    }

    async fn reopen_log(&self, id: &str) -> Result<()> {
        let container = self.inner.container(id)?;
        let Some(running) = container.running() else { return Ok(()) };
        running.output.reopen_log().map_err(|error| Error::io(container.spec.stdio.log_path.display(), error))
    }

    async fn update(&self, id: &str, resources: &Resources) -> Result<()> {
        let container = self.inner.container(id)?;
        let limited = self.inner.cgroups.limit(&container.group, &plans::limits(resources));
        limited.map_err(|error| Error::new(kind_of(&error), format!("limits of container {id}: {error}")))
    }
}

fn kind_of(error: &io::Error) -> ErrorKind {
    if error.kind() == io::ErrorKind::NotFound { ErrorKind::NotFound } else { ErrorKind::Io }
}

async fn join<T>(task: tokio::task::JoinHandle<Result<T>>) -> Result<T> {
    task.await.unwrap_or_else(|error| Err(Error::io("task", error)))
}
