//! Snapshots: the live keys at the compacted revision, so that the segments before it can go.
//!
//! One at a time, in the background, a page of keys per look at the map. Compaction waits for a snapshot in progress,
//! since it would take away what the snapshot shows; writers never wait.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::disk::{Disk, DiskFile};
use super::format::{HEADER_LEN, SNAPSHOT, encode_end, encode_entries, header};
use super::recover::{Sealed, UNFINISHED, snapshot_name};
use crate::contract::{Revision, StoreError};
use crate::hub::Hub;

/// Keys per look at the map.
const PAGE_LEN: usize = 512;

/// Written between syncs: few enough bytes that the log's own sync never waits long behind them.
const BYTES_PER_SYNC: usize = 4 << 20;

pub(crate) struct Snapshots {
    pub(crate) hub: Arc<Hub>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) sealed: Arc<Mutex<Vec<Sealed>>>,
    pub(crate) after_bytes: u64,
    /// Of the newest one: the next must be worth as much.
    pub(crate) newest_bytes: AtomicU64,
    /// Held over a compaction and over a snapshot.
    pub(crate) gate: tokio::sync::Mutex<()>,
}

impl Snapshots {
    /// Forgets history before `to`, then takes a snapshot if enough of the log would go with it.
    pub(crate) async fn compact(self: &Arc<Self>, to: Revision) -> Result<(), StoreError> {
        let gate = self.gate.lock().await;
        self.hub.compact(to).await?;
        if !self.is_due() {
            return Ok(());
        }
        let this = self.clone();
        let taken = tokio::task::spawn_blocking(move || this.take()).await;
        drop(gate);
        match taken {
            Ok(Ok(())) => {}
            // The log is whole without it: a failure costs room, not data.
            Ok(Err(error)) => tracing::warn!(%error, "no snapshot was taken, trying again at the next compaction"),
            Err(error) => tracing::warn!(%error, "the snapshot was cut short"),
        }
        Ok(())
    }

    fn is_due(&self) -> bool {
        let oldest = self.hub.read().oldest();
        let sealed = self.sealed.lock().expect("no holder of the list panics");
        let removable: u64 = sealed.iter().filter(|segment| segment.last <= oldest).map(|segment| segment.bytes).sum();
        removable > self.after_bytes.max(self.newest_bytes.load(Ordering::Relaxed))
    }

    /// Writes the snapshot under another name, gives it its own once it is durable, and removes what it replaces.
    fn take(&self) -> io::Result<()> {
        let at = self.hub.read().oldest();
        let mut file = self.disk.create(UNFINISHED)?;
        let written = self.write(&mut *file, at).and_then(|bytes| {
            file.sync()?;
            self.disk.rename(UNFINISHED, &snapshot_name(at))?;
            self.disk.sync_dir()?;
            Ok(bytes)
        });
        match written {
            Ok(bytes) => self.newest_bytes.store(bytes, Ordering::Relaxed),
            Err(error) => {
                let _ = self.disk.remove(UNFINISHED); // the first error is the one to tell
                return Err(error);
            }
        }
        self.remove_replaced(at)
    }

    fn write(&self, file: &mut dyn DiskFile, at: Revision) -> io::Result<u64> {
        let mut out = Vec::with_capacity(BYTES_PER_SYNC + BYTES_PER_SYNC / 4);
        out.extend_from_slice(&header(SNAPSHOT, at));
        let (mut offset, mut count, mut last) = (0, 0, None);
        loop {
            let page = self.hub.read().page(last.as_ref(), at, PAGE_LEN);
            let Some((newest, _)) = page.last() else { break };
            last = Some(newest.key.clone());
            count += page.len() as u64;
            encode_entries(&mut out, &page);
            if out.len() >= BYTES_PER_SYNC {
                file.write_at(offset, &out)?;
                file.sync()?;
                offset += out.len() as u64;
                out.clear();
            }
            if self.hub.stopped().is_some() {
                return Err(io::Error::other("the store stops"));
            }
        }
        encode_end(&mut out, count);
        file.write_at(offset, &out)?;
        Ok(offset + out.len() as u64)
    }

    /// Removes segments and snapshots that lie wholly behind the snapshot at `at`.
    pub(crate) fn remove_replaced(&self, at: Revision) -> io::Result<()> {
        for name in self.disk.list()? {
            if name.ends_with(".snap") && name < snapshot_name(at) {
                self.disk.remove(&name)?;
            }
        }
        loop {
            let mut sealed = self.sealed.lock().expect("no holder of the list panics");
            let Some(first) = sealed.first().filter(|segment| segment.last <= at) else { return Ok(()) };
            self.disk.remove(&first.name)?;
            sealed.remove(0);
        }
    }
}

const _: () = assert!(HEADER_LEN.is_multiple_of(8), "frames stand at multiples of 8");
