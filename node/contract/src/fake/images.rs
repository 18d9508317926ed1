//! Images by name, without content.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;

use crate::{Error, ErrorKind, Image, ImageConfig, Images, Result, Rootfs};

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct FakeImages(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    images: BTreeMap<String, Image>,
    /// Names that any pod may use without an import.
    accepts_all: bool,
    used: HashMap<String, String>,
    pulls: Vec<String>,
    refused: HashSet<String>,
}

impl FakeImages {
    pub fn new() -> Self {
        Self::default()
    }

    /// Knows every name: for clusters whose pods name what they like.
    pub fn any() -> Self {
        let images = Self::default();
        images.lock().accepts_all = true;
        images
    }

    pub fn add(&self, name: &str, config: ImageConfig) -> Image {
        let name = canonical(name);
        let image = Image { id: format!("sha256:{:0>64}", hex(&name)), names: vec![name.clone()], size: 1 << 20, config, created: 0 };
        self.lock().images.insert(name, image.clone());
        image
    }

    /// A name that stays missing also where every name is known.
    pub fn refuse(&self, name: &str) {
        self.lock().refused.insert(canonical(name));
    }

    pub fn pulls(&self) -> Vec<String> {
        self.lock().pulls.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of the fake's state panics")
    }
}

fn hex(name: &str) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    name.bytes().for_each(|byte| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

/// `busybox` → `docker.io/library/busybox:latest`.
fn canonical(name: &str) -> String {
    let first = name.split('/').next().unwrap_or_default();
    let has_host = name.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    let full = match (has_host, name.contains('/')) {
        (true, _) => name.to_owned(),
        (false, true) => format!("docker.io/{name}"),
        (false, false) => format!("docker.io/library/{name}"),
    };
    let last = full.rsplit('/').next().unwrap_or_default();
    if last.contains([':', '@']) { full } else { format!("{full}:latest") }
}

#[async_trait]
impl Images for FakeImages {
    async fn list(&self) -> Result<Vec<Image>> {
        Ok(self.lock().images.values().cloned().collect())
    }

    async fn resolve(&self, name: &str) -> Result<Option<Image>> {
        let full = canonical(name);
        let (known, makes_it) = {
            let state = self.lock();
            let by_id = || state.images.values().find(|image| image.id == name || image.id.trim_start_matches("sha256:").starts_with(name));
            let known = state.images.get(&full).or_else(by_id).cloned();
            (known, state.accepts_all && !state.refused.contains(&full))
        };
        match known {
            None if makes_it => Ok(Some(self.add(name, ImageConfig { cmd: vec!["/fake".into()], ..ImageConfig::default() }))),
            known => Ok(known),
        }
    }

    async fn pull(&self, name: &str) -> Result<Image> {
        self.lock().pulls.push(name.to_owned());
        match self.resolve(name).await? {
            Some(image) => Ok(image),
            None => Err(Error::new(ErrorKind::NotFound, format!("image {name:?} is not on this machine: import it with 'corten image import ROOTFS.tar {name}'"))),
        }
    }

    async fn ensure_rootfs(&self, image_id: &str, container_id: &str) -> Result<Rootfs> {
        let mut state = self.lock();
        if !state.images.values().any(|image| image.id == image_id) {
            return Err(Error::new(ErrorKind::NotFound, format!("image {image_id} does not exist")));
        }
        state.used.insert(container_id.into(), image_id.into());
        let dir = PathBuf::from("/fake/rootfs").join(container_id);
        Ok(Rootfs { lowers: vec![PathBuf::from("/fake/layers").join(image_id)], upper: dir.join("upper"), work: dir.join("work") })
    }

    async fn remove_rootfs(&self, container_id: &str) -> Result<()> {
        self.lock().used.remove(container_id);
        Ok(())
    }

    async fn import(&self, _archive: &Path, name: &str, config: ImageConfig) -> Result<Image> {
        Ok(self.add(name, config))
    }

    async fn load(&self, archive: &Path) -> Result<Vec<Image>> {
        Err(Error::new(ErrorKind::Unsupported, format!("{}: the fake reads no archives", archive.display())))
    }

    async fn remove(&self, name: &str) -> Result<()> {
        let Some(image) = self.resolve(name).await? else { return Ok(()) };
        let mut state = self.lock();
        if let Some((container, _)) = state.used.iter().find(|(_, used)| **used == image.id) {
            return Err(Error::new(ErrorKind::Busy, format!("image {name:?} is used by container {container}")));
        }
        state.images.retain(|_, held| held.id != image.id);
        Ok(())
    }
}
