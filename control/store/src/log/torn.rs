//! A disk in memory that crashes on demand: after a given number of operations everything fails, and what was not synced
//! is lost, torn by sectors, or kept, by chance.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use env::Env;

use super::disk::{Disk, DiskFile};

/// What a disk writes as a whole.
const SECTOR_LEN: usize = 512;

#[derive(Clone)]
pub(crate) struct TornDisk(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// A write is held, or was let go.
    gate: Condvar,
}

struct State {
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    pending_names: Vec<NameChange>,
    files: Vec<Content>,
    /// Operations that still succeed; None: all.
    left: Option<u64>,
    operations: u64,
    /// The next write finds no room for its last byte.
    full: bool,
    /// The next write is to stand still.
    hold: bool,
    /// One stands still.
    held: bool,
}

#[derive(Clone)]
enum NameChange {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

#[derive(Clone, Default)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Resize(usize),
}

/// How a machine goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The process is killed: the kernel keeps what was written.
    Kill,
    /// What was not synced is there or not, by chance.
    PowerCut,
}

impl TornDisk {
    pub(crate) fn new() -> Self {
        Self::of(BTreeMap::new(), Vec::new())
    }

    fn of(names: BTreeMap<String, usize>, files: Vec<Content>) -> Self {
        let state = State {
            synced_names: names.clone(),
            names,
            pending_names: Vec::new(),
            files,
            left: None,
            operations: 0,
            full: false,
            hold: false,
            held: false,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), gate: Condvar::new() }))
    }

    /// Everything fails after `operations` more.
    pub(crate) fn crash_after(&self, operations: u64) {
        self.state().left = Some(operations);
    }

    /// The next write is cut short: there is no room for its last byte.
    pub(crate) fn fill_next_write(&self) {
        self.state().full = true;
    }

    /// The next write stands still, before it does anything, until [`TornDisk::let_go`].
    pub(crate) fn hold_next_write(&self) {
        self.state().hold = true;
    }

    /// Returns once a write is held.
    pub(crate) fn wait_until_held(&self) {
        drop(self.0.gate.wait_while(self.state(), |state| !state.held).unwrap());
    }

    pub(crate) fn let_go(&self) {
        self.state().held = false;
        self.0.gate.notify_all();
    }

    fn pass_gate(&self) {
        let mut state = self.state();
        if std::mem::take(&mut state.hold) {
            state.held = true;
            self.0.gate.notify_all();
            drop(self.0.gate.wait_while(state, |state| state.held).unwrap());
        }
    }

    pub(crate) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The disk that the next start finds.
    pub(crate) fn reboot(&self, crash: Crash, chance: &Env) -> Self {
        let state = self.state();
        if crash == Crash::Kill {
            let files = state.files.iter().map(|content| Content::synced(content.now.clone())).collect();
            return Self::of(state.names.clone(), files);
        }
        let mut names = state.synced_names.clone();
        let kept = chance.random_below(state.pending_names.len() as u64 + 1) as usize; // a journal keeps order
        state.pending_names[..kept].iter().for_each(|change| change.apply(&mut names));
        let files = state.files.iter().map(|content| content.after_power_cut(chance)).collect();
        Self::of(names, files)
    }

    /// Flips a byte on the medium.
    pub(crate) fn damage(&self, name: &str, offset: usize) {
        let mut state = self.state();
        let index = state.names[name];
        let content = &mut state.files[index];
        content.now[offset] ^= 0x40;
        content.synced = content.now.clone();
    }

    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        state.files[state.names[name]].now.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    /// Counts one operation; fails once the crash has come.
    fn operate(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        state.operations += 1;
        match &mut state.left {
            Some(0) => Err(io::Error::other("the disk is gone")),
            Some(left) => {
                *left -= 1;
                Ok(state)
            }
            None => Ok(state),
        }
    }

    fn change_name(&self, change: NameChange) -> io::Result<()> {
        let mut state = self.operate()?;
        change.apply(&mut state.names);
        state.pending_names.push(change);
        Ok(())
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.state().names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create(name, file) => drop(names.insert(name.clone(), *file)),
            Self::Rename(from, to) => {
                let file = names.remove(from).expect("a file is renamed that exists");
                names.insert(to.clone(), file);
            }
            Self::Remove(name) => drop(names.remove(name)),
        }
    }
}

impl Content {
    fn synced(bytes: Vec<u8>) -> Self {
        Self { now: bytes.clone(), synced: bytes, pending: Vec::new() }
    }

    fn after_power_cut(&self, chance: &Env) -> Self {
        let mut bytes = self.synced.clone();
        for change in &self.pending {
            match change {
                Change::Resize(len) if chance.random_below(2) == 0 => bytes.resize(*len, 0),
                Change::Resize(_) => {}
                Change::Write(offset, written) => write_some_sectors(&mut bytes, *offset, written, chance),
            }
        }
        Self::synced(bytes)
    }
}

fn write_some_sectors(bytes: &mut Vec<u8>, offset: usize, written: &[u8], chance: &Env) {
    let mut at = 0;
    while at < written.len() {
        let end = ((offset + at) / SECTOR_LEN * SECTOR_LEN + SECTOR_LEN - offset).min(written.len());
        if chance.random_below(3) != 0 {
            write(bytes, offset + at, &written[at..end]);
        }
        at = end;
    }
}

fn write(bytes: &mut Vec<u8>, offset: usize, written: &[u8]) {
    bytes.resize(bytes.len().max(offset + written.len()), 0);
    bytes[offset..offset + written.len()].copy_from_slice(written);
}

impl Disk for TornDisk {
    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/torn").join(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(TornFile { disk: self.clone(), file: self.find(name)? }))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = {
            let mut state = self.state();
            state.files.push(Content::default());
            state.files.len() - 1
        };
        self.change_name(NameChange::Create(name.to_owned(), file))?;
        Ok(Box::new(TornFile { disk: self.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.find(from)?;
        self.change_name(NameChange::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.find(name)?;
        self.change_name(NameChange::Remove(name.to_owned()))
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.operate()?;
        state.synced_names = state.names.clone();
        state.pending_names.clear();
        Ok(())
    }
}

struct TornFile {
    disk: TornDisk,
    file: usize,
}

impl TornFile {
    fn change(&self, change: Change) -> io::Result<()> {
        // What the failing operation itself did is as uncertain as what was not synced before it.
        let outcome = self.disk.operate().map(drop);
        let mut state = self.disk.state();
        let content = &mut state.files[self.file];
        if outcome.is_ok() {
            match &change {
                Change::Write(offset, written) => write(&mut content.now, *offset, written),
                Change::Resize(len) => content.now.resize(*len, 0),
            }
        }
        content.pending.push(change);
        outcome
    }
}

impl DiskFile for TornFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.file].now.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.state();
        let rest = state.files[self.file].now.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        let state = self.disk.state();
        let rest = state.files[self.file].now.get(offset as usize..).unwrap_or_default();
        Ok(rest.iter().position(|byte| *byte != 0).map(|at| offset + at as u64))
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.pass_gate();
        if std::mem::take(&mut self.disk.state().full) {
            self.change(Change::Write(offset as usize, bytes[..bytes.len() - 1].to_vec()))?;
            return Err(rustix::io::Errno::NOSPC.into());
        }
        self.change(Change::Write(offset as usize, bytes.to_vec()))
    }

    fn allocate(&mut self, len: u64) -> io::Result<()> {
        self.change(Change::Resize(len.max(self.len()?) as usize))
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.change(Change::Resize(len as usize))
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.operate()?;
        let content = &mut state.files[self.file];
        content.synced = content.now.clone();
        content.pending.clear();
        Ok(())
    }
}
