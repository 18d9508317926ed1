//! The link to the keeper: kept up, and when the keeper is gone, a new one started.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use contract::{Error, ErrorKind, Result};

use super::Inner;
use super::connection::Connection;
use super::containers::names;
use super::plans::pod_group;
use super::state::{Container, EXIT_FILE, SPEC_FILE, open_process};
use crate::protocol::{Answer, Entry, Memory, PROCESS_FILE, ProcessFile, Request, read_whole, write_whole};

/// Between two attempts to start a keeper that does not come up.
const RETRY: Duration = Duration::from_millis(200);

impl Inner {
    /// Serves the connection from now on, and its successors.
    pub(super) async fn keep_link(self: Arc<Self>, first: Connection) -> Result<()> {
        let first = Arc::new(first);
        self.env.spawn("keeper link", self.clone().serve_links(first.clone()));
        self.take_stock(&first).await?;
        self.link.send_replace(Some(first));
        Ok(())
    }

    async fn serve_links(self: Arc<Self>, mut connection: Arc<Connection>) {
        loop {
            let error = tokio::select! {
                error = connection.serve(|ended| self.ended(ended)) => error,
                () = self.env.shutdown().cancelled() => return,
            };
            self.link.send_replace(None);
            if self.env.shutdown().is_cancelled() {
                return;
            }
            tracing::warn!(%error, "the keeper is gone, starting a new one");
            self.execs.lock().expect("no holder panics").clear();
            connection = loop {
                match self.next_keeper().await {
                    Ok(connection) => break Arc::new(connection),
                    Err(error) => tracing::error!(%error, "no keeper yet"),
                }
                self.env.sleep(RETRY).await;
            };
            self.env.spawn("keeper stock", self.clone().resume(connection.clone()));
        }
    }

    async fn resume(self: Arc<Self>, connection: Arc<Connection>) {
        match self.take_stock(&connection).await {
            Ok(()) => drop(self.link.send_replace(Some(connection))),
            Err(error) => tracing::error!(%error, "the new keeper's containers are not known"),
        }
    }

    /// Connects, after starting a keeper where none answers. A lock lets only one live.
    async fn next_keeper(&self) -> io::Result<Connection> {
        if let Ok(connection) = Connection::open(&self.places.socket()) {
            return Ok(connection);
        }
        let memory: Memory = read_whole(&self.places.memory()).ok_or_else(|| io::Error::other("how to start a keeper is not recorded"))?;
        let ran = tokio::task::spawn_blocking(move || sys::daemon::run(&memory.argv, &memory.env)).await.map_err(io::Error::other)??;
        if ran.code != Some(0) {
            tracing::warn!(code = ran.code, reason = ran.stderr, "the new keeper did not start");
        }
        Connection::open(&self.places.socket())
    }

    /// Compares what the keeper has with what is known here and in the run folder.
    async fn take_stock(self: &Arc<Self>, connection: &Connection) -> Result<()> {
        let entries = entries(connection).await?;
        let known: HashSet<String> = entries.iter().map(|entry| entry.id.clone()).collect();
        for entry in entries {
            if self.container(&entry.id).is_ok() {
                entry.ended.into_iter().for_each(|ended| self.ended(ended));
            } else if let Err(error) = self.discover(connection, &entry).await {
                tracing::error!(container = entry.id, %error, "the container cannot be taken up");
            }
        }
        for id in names(&self.places.containers()) {
            if !known.contains(&id) && self.container(&id).is_err() {
                self.sweep(&id);
            }
        }
        Ok(())
    }

    /// A container that ran before this process did.
    async fn discover(self: &Arc<Self>, connection: &Connection, entry: &Entry) -> io::Result<()> {
        let folder = self.places.container(&entry.id);
        // A pause has no spec: its sandbox looks after it.
        let Some(spec) = read_whole::<contract::ContainerSpec>(&folder.join(SPEC_FILE)) else { return Ok(()) };
        let process = ProcessFile { pid: entry.pid, start_ticks: entry.start_ticks, started_at: entry.started_at };
        // The node that started it may have died before it could write this.
        write_whole(&folder.join(PROCESS_FILE), &process)?;
        let group = pod_group(&self.group, &spec.pod_uid).join(&spec.id);
        let tty = spec.stdio.tty;
        let container = Container::new(spec, group, &folder);
        let terminal = if tty {
            connection.call(Request::Terminal { id: entry.id.clone() }, &[]).await.map_err(io::Error::other)?.1.pop()
        } else {
            None
        };
        let pidfd = entry.ended.is_none().then(|| open_process(entry.pid, entry.start_ticks)).flatten();
        self.take_up(&container, process, pidfd, terminal)?;
        self.containers.lock().expect("no holder panics").insert(entry.id.clone(), container.clone());
        let reported: Option<contract::Exit> = read_whole(&folder.join(EXIT_FILE));
        match (&entry.ended, reported) {
            (Some(_), Some(exit)) => {
                container.set_exit(exit.clone());
                if !entry.taken {
                    self.untaken.lock().expect("no holder panics").push_back(exit);
                }
            }
            (Some(ended), None) => self.ended(ended.clone()),
            (None, _) => {}
        }
        Ok(())
    }

    /// A folder whose container was never started, or that neither keeper nor node knows any more.
    fn sweep(&self, id: &str) {
        let folder = self.places.container(id);
        if let Some(spec) = read_whole::<contract::ContainerSpec>(&folder.join(SPEC_FILE)) {
            let group = pod_group(&self.group, &spec.pod_uid).join(id);
            let _ = self.cgroups.kill(&group);
            let _ = self.cgroups.remove(&group);
        }
        let _ = std::fs::remove_dir_all(folder);
    }
}

async fn entries(connection: &Connection) -> Result<Vec<Entry>> {
    let mut all: Vec<Entry> = Vec::new();
    loop {
        let after = all.last().map(|entry| entry.id.clone());
        let answer = connection.call(Request::Observe { after }, &[]).await.map_err(|error| Error::io("keeper", error))?;
        let (Answer::Entries(page), _) = answer else { return Err(Error::new(ErrorKind::Io, "the keeper did not list its containers")) };
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}
