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
    /// By id, their names left out.
    images: BTreeMap<String, Image>,
    /// Canonical names to ids.
    names: BTreeMap<String, String>,
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
        let id = format!("sha256:{:0>64}", hex(&format!("{name} {config:?}")));
        let mut state = self.lock();
        state.images.insert(id.clone(), Image { id: id.clone(), names: Vec::new(), size: 1 << 20, config, created: 1_767_225_600 });
        state.names.insert(name, id.clone());
        state.image(&id).expect("it was just put there")
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

impl State {
    fn image(&self, id: &str) -> Option<Image> {
        let mut image = self.images.get(id)?.clone();
        image.names = self.names.iter().filter(|(_, named)| *named == id).map(|(name, _)| name.clone()).collect();
        Some(image)
    }

    /// By canonical name, else by id or the start of one.
    fn find(&self, name: &str) -> Option<Image> {
        let by_id = || self.images.keys().find(|id| id.starts_with(name) || id["sha256:".len()..].starts_with(name));
        let id = self.names.get(&canonical(name)).or_else(by_id)?;
        self.image(id)
    }
}

fn check_name(name: &str) -> Result<()> {
    let good = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_graphic())
        && !name.split([':', '@']).next().is_some_and(|path| path.bytes().any(|byte| byte.is_ascii_uppercase()));
    if good { Ok(()) } else { Err(Error::new(ErrorKind::Invalid, format!("couldn't parse image name {name:?}: invalid reference format"))) }
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
        let state = self.lock();
        Ok(state.images.keys().filter_map(|id| state.image(id)).collect())
    }

    async fn resolve(&self, name: &str) -> Result<Option<Image>> {
        check_name(name)?;
        let (known, makes_it) = {
            let state = self.lock();
            (state.find(name), state.accepts_all && !state.refused.contains(&canonical(name)))
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
            None => Err(Error::new(
                ErrorKind::NotFound,
                format!("image {name:?} is not on this machine: import it with 'corten image import ROOTFS.tar {name}'"),
            )),
        }
    }

    async fn ensure_rootfs(&self, image_id: &str, container_id: &str) -> Result<Rootfs> {
        if container_id.is_empty() || container_id.starts_with('.') || container_id.contains('/') {
            return Err(Error::new(ErrorKind::Invalid, format!("{container_id:?} is no container id")));
        }
        let mut state = self.lock();
        if !state.images.contains_key(image_id) {
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

    async fn import(&self, archive: &Path, name: &str, config: ImageConfig) -> Result<Image> {
        check_name(name)?;
        std::fs::metadata(archive).map_err(|error| Error::io(archive.display(), error))?;
        Ok(self.add(name, config))
    }

    async fn load(&self, archive: &Path) -> Result<Vec<Image>> {
        Err(Error::new(ErrorKind::Unsupported, format!("{}: the fake reads no archives", archive.display())))
    }

    async fn remove(&self, name: &str) -> Result<()> {
        let mut state = self.lock();
        let Some(image) = state.find(name) else {
            return Err(Error::new(ErrorKind::NotFound, format!("image {name} is not on this node")));
        };
        if image.names.len() <= 1 {
            if let Some((container, _)) = state.used.iter().find(|(_, used)| **used == image.id) {
                return Err(Error::new(ErrorKind::Busy, format!("image {name:?} is used by container {container}")));
            }
            state.images.remove(&image.id);
        }
        let doomed = image.names.iter().find(|held| **held == canonical(name)).or(image.names.first());
        if let Some(doomed) = doomed {
            state.names.remove(doomed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn passes_the_suite() {
        let scratch = tempfile::tempdir().unwrap();
        crate::images_suite::run(&FakeImages::new(), scratch.path()).await;
    }
}
