//! Layers on disk and in the kernel.
//!
//! ```text
//! <dir>/layers/<digest>/layer.tar     the plain archive
//!                       index.erofs   names and attributes, where this machine mounts indexes
//!                       root/         the unpacked layer, where it does not
//!                       synced        all of the above is on disk
//! <run>/layers/<digest>               the mounted layer
//! ```
//!
//! A layer comes whole by one rename. It may be used before it is on disk: a layer without `synced` that is found at the
//! first start after a boot is checked against its digest, and removed if a power cut got it.

use std::collections::HashSet;
use std::fs::{DirBuilder, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use contract::{Error, Result};
use sys::beneath;

use crate::ingest::{Hex, Ingested, ingest};
use crate::mounts::{Method, mount_index, mounted_below, probe, release};
use crate::tarball::{Entries, Stream};
use crate::tree::Tree;
use crate::{erofs, unpack};

const ARCHIVE: &str = "layer.tar";
const INDEX: &str = "index.erofs";
const UNPACKED: &str = "root";
const SYNCED: &str = "synced";

/// How layers become directories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// Mounted indexes where a probe shows that they work, else unpacked directories.
    #[default]
    Auto,
    Unpacked,
}

/// All layers of a store.
pub(crate) struct Layers {
    dir: PathBuf,
    mounts: PathBuf,
    scratch: PathBuf,
    /// None: unpack.
    method: Option<Method>,
    /// Digests mounted now. A std lock: held over a mount of microseconds.
    mounted: Mutex<HashSet<String>>,
}

/// A layer just brought in.
pub(crate) struct Added {
    pub(crate) digest: Hex,
    pub(crate) bytes: u64,
}

impl Layers {
    /// `scratch` is an empty folder on the same file system as `dir`.
    pub(crate) fn open(dir: &Path, run_dir: &Path, scratch: &Path, layout: Layout) -> Result<Self> {
        let (dir, mounts) = (dir.join("layers"), run_dir.join("layers"));
        for folder in [&dir, &mounts] {
            private_dir(folder).map_err(at(folder))?;
        }
        let method = match layout {
            Layout::Unpacked => None,
            Layout::Auto => probe(&scratch.join("probe"), &mounts.join("probe")),
        };
        tracing::info!(
            ?method,
            "layers are {}",
            if method.is_some() { "mounted" } else { "unpacked: file-backed EROFS does not work here" }
        );
        let mounted = mounted_below(&mounts).map_err(at(&mounts))?;
        let layers = Self { dir, mounts, scratch: scratch.to_owned(), method, mounted: Mutex::new(mounted) };
        if layers.is_new_boot()? {
            layers.check_unsynced()?;
        }
        Ok(layers)
    }

    pub(crate) fn are_mounted(&self) -> bool {
        self.method.is_some()
    }

    pub(crate) fn has(&self, digest: &Hex) -> bool {
        self.path(digest).is_dir()
    }

    /// Brings in an archive. `expected`: what the image's configuration says it is.
    pub(crate) fn add(&self, source: impl Read + Send, expected: Option<&Hex>) -> Result<Added> {
        let incoming = tempfile_in(&self.scratch)?;
        let archive_path = incoming.join(ARCHIVE);
        let mut archive = File::options().read(true).write(true).create_new(true).open(&archive_path).map_err(at(&archive_path))?;
        let outcome = ingest(source, &mut archive).and_then(|ingested| self.adopt(&incoming, &archive, ingested, expected));
        remove_tree(&incoming).map_err(at(&incoming))?; // it has moved away unless it failed or was there already
        outcome
    }

    fn adopt(&self, incoming: &Path, archive: &File, ingested: Ingested, expected: Option<&Hex>) -> Result<Added> {
        let Ingested { digest, len, tree } = ingested;
        if let Some(expected) = expected.filter(|expected| **expected != digest) {
            return Err(crate::tarball::invalid(format!(
                "a layer is {}, its image says {}: the archive is damaged",
                digest.digest(),
                expected.digest()
            )));
        }
        if !self.has(&digest) {
            self.build(incoming, &tree, archive, len)?;
            self.place(incoming, &digest)?;
        }
        Ok(Added { digest, bytes: len })
    }

    /// Takes a layer made in `incoming`.
    pub(crate) fn place(&self, incoming: &Path, digest: &Hex) -> Result<()> {
        let path = self.path(digest);
        match std::fs::rename(incoming, &path) {
            // Another import of the same layer was faster.
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => Ok(()),
            outcome => outcome.map_err(at(&path)),
        }
    }

    /// The index or the directory, whichever this machine uses.
    fn build(&self, layer: &Path, tree: &Tree, archive: &File, len: u64) -> Result<()> {
        if self.method.is_some() {
            let path = layer.join(INDEX);
            let index = erofs::index(tree, archive, len).map_err(at(&path))?;
            let partial = layer.join("index.tmp");
            std::fs::write(&partial, index).and_then(|()| std::fs::rename(&partial, &path)).map_err(at(&path))?;
            return Ok(());
        }
        let root = layer.join(UNPACKED);
        let partial = layer.join("root.tmp");
        remove_tree(&partial).map_err(at(&partial))?;
        std::fs::create_dir(&partial).map_err(at(&partial))?;
        unpack::unpack(tree, archive, &partial).map_err(at(&partial))?;
        std::fs::rename(&partial, &root).map_err(at(&root))
    }

    /// The layer as a directory.
    pub(crate) fn ensure(&self, digest: &Hex) -> Result<PathBuf> {
        let layer = self.path(digest);
        let unpacked = layer.join(UNPACKED);
        if unpacked.is_dir() {
            return Ok(unpacked);
        }
        let Some(method) = self.method else {
            self.rebuild(&layer)?;
            return Ok(unpacked);
        };
        let target = self.mounts.join(digest.as_str());
        let mut mounted = self.mounted.lock().expect("no holder of the set panics");
        if mounted.contains(digest.as_str()) {
            return Ok(target);
        }
        if !layer.join(INDEX).is_file() {
            self.rebuild(&layer)?;
        }
        private_dir(&target).map_err(at(&target))?;
        mount_index(&layer.join(INDEX), &layer.join(ARCHIVE), &target, method).map_err(at(&target))?;
        mounted.insert(digest.as_str().to_owned());
        Ok(target)
    }

    /// After a change of kernel or layout, or the loss of an index: from the archive.
    fn rebuild(&self, layer: &Path) -> Result<()> {
        let path = layer.join(ARCHIVE);
        let archive = File::open(&path).map_err(at(&path))?;
        let len = archive.metadata().map_err(at(&path))?.len();
        let tree = Tree::read(&mut Entries::new(Positioned::whole(&archive, len)))?;
        self.build(layer, &tree, &archive, len)
    }

    pub(crate) fn remove(&self, digest: &Hex) -> Result<()> {
        self.unmount(digest.as_str())?;
        let path = self.path(digest);
        let doomed = tempfile_in(&self.scratch)?;
        match std::fs::rename(&path, doomed.join("layer")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(&path)(error)),
            _ => {}
        }
        remove_tree(&doomed).map_err(at(&doomed))
    }

    fn unmount(&self, name: &str) -> Result<()> {
        let target = self.mounts.join(name);
        let mut mounted = self.mounted.lock().expect("no holder of the set panics");
        release(&target).map_err(at(&target))?;
        mounted.remove(name);
        Ok(())
    }

    /// Unmounts every layer; for the removal of a cluster.
    pub(crate) fn release_all(&self) -> Result<()> {
        let names: Vec<String> = self.mounted.lock().expect("no holder of the set panics").iter().cloned().collect();
        names.iter().try_for_each(|name| self.unmount(name))
    }

    /// Makes a layer durable and says so in it.
    pub(crate) fn sync(&self, digest: &Hex) -> Result<()> {
        let layer = self.path(digest);
        if layer.join(SYNCED).exists() {
            return Ok(());
        }
        let folder = File::open(&layer).map_err(at(&layer))?;
        rustix::fs::syncfs(&folder).map_err(|error| Error::io(layer.display(), error))?;
        let marker = layer.join(SYNCED);
        File::create(&marker).and_then(|_| folder.sync_all()).map_err(at(&marker))
    }

    /// Digests of all layers here.
    pub(crate) fn all(&self) -> Result<Vec<Hex>> {
        let entries = std::fs::read_dir(&self.dir).map_err(at(&self.dir))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter_map(|name| Hex::parse(&format!("sha256:{name}")).ok()).collect())
    }

    /// Only the end of a boot loses what was written; the end of this process does not.
    fn is_new_boot(&self) -> Result<bool> {
        let (known, now) = (self.dir.join("boot"), Path::new("/proc/sys/kernel/random/boot_id"));
        let boot = std::fs::read(now).map_err(at(now))?;
        if std::fs::read(&known).is_ok_and(|before| before == boot) {
            return Ok(false);
        }
        std::fs::write(&known, boot).map_err(at(&known))?;
        Ok(true)
    }

    fn check_unsynced(&self) -> Result<()> {
        for digest in self.all()? {
            let layer = self.path(&digest);
            if layer.join(SYNCED).exists() || self.is_whole(&digest, &layer) {
                continue;
            }
            tracing::warn!(layer = digest.as_str(), "removing a layer that was not on disk yet when the machine stopped");
            self.remove(&digest)?;
        }
        Ok(())
    }

    /// Keeps only the archive of a layer that may be incomplete, if that is what its digest says.
    fn is_whole(&self, digest: &Hex, layer: &Path) -> bool {
        let Ok(archive) = File::open(layer.join(ARCHIVE)) else { return false };
        let Ok(mut discard) = File::options().write(true).open("/dev/null") else { return false };
        let whole = ingest(archive, &mut discard).is_ok_and(|ingested| ingested.digest == *digest);
        whole && (self.mounted.lock().expect("no holder of the set panics").contains(digest.as_str()) || forget_derived(layer).is_ok())
    }

    fn path(&self, digest: &Hex) -> PathBuf {
        self.dir.join(digest.as_str())
    }
}

/// Index and directory are made again from the archive when they are needed.
fn forget_derived(layer: &Path) -> io::Result<()> {
    remove_tree(&layer.join(UNPACKED))?;
    match std::fs::remove_file(layer.join(INDEX)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a folder and all in it, however deep, without following links or emptying what is mounted there. Fine if it is
/// not there.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(io::ErrorKind::InvalidInput.into()) };
    match beneath::open_top(parent) {
        Ok(parent) => beneath::remove(parent.as_fd(), name),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// A folder that only root enters: layers hold set-id programs that the host's users have no business with.
pub(crate) fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A new empty folder of a name of its own.
pub(crate) fn tempfile_in(scratch: &Path) -> Result<PathBuf> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let path = scratch.join(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
    private_dir(&path).map_err(at(&path))?;
    Ok(path)
}

/// Puts the path in front of an I/O error.
pub(crate) fn at(path: &Path) -> impl Fn(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |error| Error::io(path.display(), error)
}

/// A file, or a part of one, as a stream of tar.
pub(crate) struct Positioned<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl<'a> Positioned<'a> {
    pub(crate) fn whole(file: &'a File, len: u64) -> Self {
        Self::part(file, 0, len)
    }

    pub(crate) fn part(file: &'a File, at: u64, len: u64) -> Self {
        Self { file, at, end: at + len }
    }
}

impl Stream for Positioned<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match Read::read(self, &mut buffer[read..])? {
                0 => break,
                more => read += more,
            }
        }
        Ok(read)
    }

    fn skip(&mut self, len: u64) -> io::Result<bool> {
        let fits = len <= self.end - self.at;
        self.at += len.min(self.end - self.at);
        Ok(fits)
    }
}

impl Read for Positioned<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min((self.end - self.at) as usize);
        let read = std::os::unix::fs::FileExt::read_at(self.file, &mut buffer[..wanted], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
