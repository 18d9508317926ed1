//! The store: the trait's calls over names, layers and containers' writable directories.
//!
//! ```text
//! <dir>/index.json                   images and names
//! <dir>/layers/…                     see `layers.rs`
//! <dir>/blobs/<id>                   configurations as they came
//! <dir>/containers/<id>/{image,upper,work}
//! <dir>/tmp/                         what is being made or removed; emptied at the start
//! ```
//!
//! One lock orders changes of names and containers. Archives are read and layers are made outside it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use contract::{Error, ErrorKind, Image, ImageConfig, Images, Result, Rootfs};
use env::Env;
use tokio::sync::Mutex;

use crate::builtin::{self, Builtin};
use crate::bundle::{Bundle, Bundled};
use crate::config::ConfigFile;
use crate::index::{Index, Stored};
use crate::ingest::Hex;
use crate::layers::{Layers, Layout, at, private_dir, remove_tree, tempfile_in};
use crate::name;

/// The node's images.
pub struct Store(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    scratch: PathBuf,
    env: Env,
    layers: Layers,
    builtin: Builtin,
    index: Mutex<Index>,
    /// Read by imports from their first layer until the image is in the index; written by the removal of layers.
    arrivals: RwLock<()>,
}

impl Store {
    /// Opens or makes the store in `dir` and finds what is mounted below `run_dir`. Blocks for a few file operations.
    pub fn open(dir: &Path, run_dir: &Path, env: &Env, builtin: Builtin) -> Result<Arc<Self>> {
        Self::open_with(dir, run_dir, env, builtin, Layout::Auto)
    }

    /// As [`Store::open`], with a say in how layers become directories.
    pub fn open_with(dir: &Path, run_dir: &Path, env: &Env, builtin: Builtin, layout: Layout) -> Result<Arc<Self>> {
        let scratch = dir.join("tmp");
        remove_tree(&scratch).map_err(at(&scratch))?;
        for folder in [dir, &scratch, &dir.join("containers"), &dir.join("blobs")] {
            private_dir(folder).map_err(at(folder))?;
        }
        let layers = Layers::open(dir, run_dir, &scratch, layout)?;
        let mut index = Index::open(&dir.join("index.json"))?;
        if index.drop_incomplete(|layer| layers.has(layer)) {
            index.save()?;
        }
        let inner =
            Inner { dir: dir.to_owned(), scratch, env: env.clone(), layers, builtin, index: Mutex::new(index), arrivals: RwLock::new(()) };
        inner.remove_unused_layers(&inner.index.try_lock().expect("nobody else has it yet"))?;
        Ok(Arc::new(Self(Arc::new(inner))))
    }

    /// Whether layers are mounted indexes here, rather than unpacked directories.
    pub fn mounts_layers(&self) -> bool {
        self.0.layers.are_mounted()
    }

    /// Unmounts every layer, also those in use: for the removal of the whole cluster.
    pub fn release_all(&self) -> Result<()> {
        self.0.layers.release_all()
    }

    #[cfg(test)]
    pub(crate) async fn layers_of(&self, id: &Hex) -> Vec<Hex> {
        self.0.index.lock().await.images[id].layers.clone()
    }

    /// Runs blocking work off the runtime's threads.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(Arc<Inner>) -> Result<T> + Send + 'static) -> Result<T> {
        let inner = self.0.clone();
        tokio::task::spawn_blocking(move || work(inner)).await.map_err(|error| Error::io("image store", error))?
    }
}

#[async_trait]
impl Images for Store {
    async fn list(&self) -> Result<Vec<Image>> {
        let index = self.0.index.lock().await;
        Ok(index.images.keys().filter_map(|id| index.image(id)).collect())
    }

    async fn resolve(&self, name: &str) -> Result<Option<Image>> {
        if name::canonical(name).is_ok_and(|name| name == builtin::NAME) {
            return self.blocking(|inner| inner.ensure_builtin()).await.map(Some);
        }
        let index = self.0.index.lock().await;
        Ok(find(&index, name)?.and_then(|id| index.image(&id)))
    }

    async fn pull(&self, name: &str) -> Result<Image> {
        if let Some(image) = self.resolve(name).await? {
            return Ok(image);
        }
        let name = name::canonical(name)?;
        let how = format!("bring it with `corten image import ROOTFS.tar {name}` or `corten image load ARCHIVE.tar`");
        Err(Error::new(ErrorKind::NotFound, format!("image {name} is not on this node, and this build cannot pull from registries: {how}")))
    }

    async fn ensure_rootfs(&self, image_id: &str, container_id: &str) -> Result<Rootfs> {
        let (image, container) = (Hex::parse(image_id)?, checked_id(container_id)?);
        self.blocking(move |inner| inner.ensure_rootfs(&image, &container)).await
    }

    async fn remove_rootfs(&self, container_id: &str) -> Result<()> {
        let container = checked_id(container_id)?;
        self.blocking(move |inner| inner.remove_rootfs(&container)).await
    }

    async fn import(&self, archive: &Path, name: &str, config: ImageConfig) -> Result<Image> {
        let (archive, name) = (archive.to_owned(), name::canonical(name)?);
        self.blocking(move |inner| inner.import(&archive, name, config)).await
    }

    async fn load(&self, archive: &Path) -> Result<Vec<Image>> {
        let archive = archive.to_owned();
        self.blocking(move |inner| inner.load(&archive)).await
    }

    async fn remove(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.blocking(move |inner| inner.remove(&name)).await
    }
}

impl Inner {
    fn import(self: &Arc<Self>, archive: &Path, name: String, config: ImageConfig) -> Result<Image> {
        let file = std::fs::File::open(archive).map_err(at(archive))?;
        let _arrival = self.arrivals.read().expect("no import panics");
        let added =
            self.layers.add(file, None).map_err(|error| Error::new(error.kind, format!("{}: {}", archive.display(), error.message)))?;
        let config = ConfigFile::new(&config, std::slice::from_ref(&added.digest), self.env.now().as_second());
        self.commit(&config, &config.encode(), &[name], added.bytes)
    }

    fn load(self: &Arc<Self>, archive: &Path) -> Result<Vec<Image>> {
        let mut bundle = Bundle::open(archive, &self.scratch)?;
        let images = bundle.images()?;
        images.into_iter().map(|image| self.load_image(&mut bundle, &image)).collect()
    }

    fn load_image(self: &Arc<Self>, bundle: &mut Bundle, image: &Bundled) -> Result<Image> {
        let _arrival = self.arrivals.read().expect("no import panics");
        let mut size = 0;
        for (path, digest) in image.layers.iter().zip(image.config.layers()?) {
            let source = bundle.reader(path)?.ok_or_else(|| crate::tarball::invalid(format!("{path} is missing in the archive")))?;
            let in_layer = |error: Error| Error::new(error.kind, format!("{path}: {}", error.message));
            size += self.layers.add(source, Some(&digest)).map_err(in_layer)?.bytes;
        }
        self.commit(&image.config, &image.config_bytes, &image.names, size)
    }

    /// Makes an image whose layers are here visible under its names.
    fn commit(self: &Arc<Self>, config: &ConfigFile, config_bytes: &[u8], names: &[String], size: u64) -> Result<Image> {
        let id = Hex::of(config_bytes);
        let layers = config.layers()?;
        let blob = self.dir.join("blobs").join(id.as_str());
        std::fs::write(&blob, config_bytes).map_err(at(&blob))?;
        let image = {
            let mut index = self.index.blocking_lock();
            index.put(&id, Stored { config: config.run_config(), created: config.created(), layers: layers.clone(), size }, names);
            index.save()?;
            index.image(&id).expect("it was just put there")
        };
        self.sync_soon(layers);
        Ok(image)
    }

    /// An image may be used before it is on disk; see `layers.rs` for what a power cut in between does.
    fn sync_soon(self: &Arc<Self>, layers: Vec<Hex>) {
        let inner = self.clone();
        self.env.spawn("image-sync", async move {
            let synced = tokio::task::spawn_blocking(move || layers.iter().try_for_each(|layer| inner.layers.sync(layer))).await;
            if let Ok(Err(error)) = synced {
                tracing::warn!(%error, "a layer could not be synced; it will be checked at the next boot");
            }
        });
    }

    fn ensure_builtin(self: &Arc<Self>) -> Result<Image> {
        let (layer, size) = builtin::identity(&self.builtin)?;
        let config = ConfigFile::new(&builtin::config(), std::slice::from_ref(&layer), 0);
        let config_bytes = config.encode();
        let _arrival = self.arrivals.read().expect("no import panics");
        if self.layers.has(&layer) {
            let index = self.index.blocking_lock();
            let known = index.image(&Hex::of(&config_bytes)).filter(|image| image.names.iter().any(|name| name == builtin::NAME));
            if let Some(image) = known {
                return Ok(image);
            }
        } else {
            let incoming = tempfile_in(&self.scratch)?;
            let made = builtin::make_layer(&self.builtin, &incoming).and_then(|()| self.layers.place(&incoming, &layer));
            remove_tree(&incoming).map_err(at(&incoming))?;
            made?;
        }
        self.commit(&config, &config_bytes, &[builtin::NAME.into()], size)
    }

    fn ensure_rootfs(&self, image: &Hex, container: &str) -> Result<Rootfs> {
        let folder = self.container(container);
        let layers = {
            // The container is written down under the lock: from then on the image cannot be removed.
            let index = self.index.blocking_lock();
            let stored = index.images.get(image).ok_or_else(|| no_image(image))?;
            private_dir(&folder).map_err(at(&folder))?;
            let note = folder.join("image");
            std::fs::write(&note, image.as_str()).map_err(at(&note))?;
            stored.layers.clone()
        };
        let lowers = layers.iter().rev().map(|layer| self.layers.ensure(layer)).collect::<Result<Vec<_>>>()?;
        let (upper, work) = (folder.join("upper"), folder.join("work"));
        for dir in [&upper, &work] {
            private_dir(dir).map_err(at(dir))?;
        }
        if let Some(top) = lowers.first() {
            copy_owner_and_mode(top, &upper).map_err(at(&upper))?;
        }
        Ok(Rootfs { lowers, upper, work })
    }

    /// Out of the way at once, then removed.
    fn remove_rootfs(&self, container: &str) -> Result<()> {
        let doomed = tempfile_in(&self.scratch)?;
        match std::fs::rename(self.container(container), doomed.join("container")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at(&self.container(container))(error)),
            _ => remove_tree(&doomed).map_err(at(&doomed)),
        }
    }

    fn remove(&self, name: &str) -> Result<()> {
        let mut index = self.index.blocking_lock();
        let Some(id) = find(&index, name)? else {
            return Err(Error::new(ErrorKind::NotFound, format!("image {name} is not on this node; `corten image list` shows what is")));
        };
        let image = index.image(&id).expect("it was found");
        let canonical = name::canonical(name).ok().filter(|name| image.names.contains(name));
        if canonical.is_none() && image.names.len() > 1 {
            let message = format!("image {name} has {} names: {}; remove them one by one", image.names.len(), image.names.join(", "));
            return Err(Error::new(ErrorKind::Busy, message));
        }
        if image.names.len() <= 1 {
            if let Some(container) = self.user_of(&id)? {
                return Err(Error::new(ErrorKind::Busy, format!("image {name} is used by container {container}; remove that first")));
            }
            index.images.remove(&id);
        }
        let doomed = canonical.or_else(|| image.names.first().cloned());
        if let Some(doomed) = doomed {
            index.names.remove(&doomed);
        }
        index.save()?;
        if !index.images.contains_key(&id) {
            let blob = self.dir.join("blobs").join(id.as_str());
            std::fs::remove_file(&blob).map_err(at(&blob))?;
        }
        self.remove_unused_layers(&index)
    }

    /// Unless an image is just coming in, whose layers nobody uses yet: then the next removal or start does it.
    fn remove_unused_layers(&self, index: &Index) -> Result<()> {
        let Ok(_nothing_arrives) = self.arrivals.try_write() else { return Ok(()) };
        let used = index.layers();
        let unused = self.layers.all()?.into_iter().filter(|layer| !used.contains(layer));
        unused.into_iter().try_for_each(|layer| self.layers.remove(&layer))
    }

    /// A container that has its root from the image.
    fn user_of(&self, image: &Hex) -> Result<Option<String>> {
        let containers = self.dir.join("containers");
        for entry in std::fs::read_dir(&containers).map_err(at(&containers))? {
            let entry = entry.map_err(at(&containers))?;
            if std::fs::read(entry.path().join("image")).is_ok_and(|used| used == image.as_str().as_bytes()) {
                return Ok(Some(entry.file_name().to_string_lossy().into_owned()));
            }
        }
        Ok(None)
    }

    fn container(&self, id: &str) -> PathBuf {
        self.dir.join("containers").join(id)
    }
}

/// By canonical name, else by id or the start of one.
fn find(index: &Index, name: &str) -> Result<Option<Hex>> {
    let canonical = name::canonical(name);
    if let Some(id) = canonical.as_ref().ok().and_then(|name| index.names.get(name)) {
        return Ok(Some(id.clone()));
    }
    let by_digest = canonical.as_ref().ok().and_then(|name| name.rsplit_once('@')).map(|(_, digest)| digest);
    let Some(prefix) = name::id_prefix(by_digest.unwrap_or(name)) else { return canonical.map(|_| None) };
    match index.ids_with_prefix(prefix)[..] {
        [] => Ok(None),
        [id] => Ok(Some(id.clone())),
        _ => Err(Error::new(ErrorKind::Invalid, format!("{name} is the start of several image ids; give more of it"))),
    }
}

fn no_image(image: &Hex) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("image {} is not on this node; bring it again with `corten image import` or `corten image load`", image.digest()),
    )
}

/// A container id becomes a folder's name.
fn checked_id(id: &str) -> Result<String> {
    let good = !id.is_empty()
        && id.len() <= 255
        && !id.starts_with('.')
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if good { Ok(id.to_owned()) } else { Err(crate::tarball::invalid(format!("{id:?} is no container id"))) }
}

/// The merged root shows the upper directory's own attributes.
fn copy_owner_and_mode(from: &Path, to: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let about = std::fs::metadata(from)?;
    std::os::unix::fs::chown(to, Some(about.uid()), Some(about.gid()))?;
    std::fs::set_permissions(to, about.permissions())
}
