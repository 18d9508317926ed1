//! What the store holds, in one small file that is replaced atomically: images by their id, names to ids.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use contract::{Error, ErrorKind, Image, ImageConfig, Result};
use serde::{Deserialize, Serialize};

use crate::ingest::Hex;
use crate::layers::at;

const FORMAT: u32 = 1;

/// One image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) config: ImageConfig,
    /// Unix seconds.
    pub(crate) created: i64,
    /// Bottom first.
    pub(crate) layers: Vec<Hex>,
    /// Bytes of all layers.
    pub(crate) size: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Index {
    format: u32,
    pub(crate) images: BTreeMap<Hex, Stored>,
    /// Canonical names.
    pub(crate) names: BTreeMap<String, Hex>,
    #[serde(skip)]
    path: PathBuf,
}

impl Index {
    /// Empty if the file is not there yet.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { format: FORMAT, images: BTreeMap::new(), names: BTreeMap::new(), path: path.to_owned() });
            }
            Err(error) => return Err(at(path)(error)),
        };
        check_format(path, &bytes)?;
        let mut index: Self = serde_json::from_slice(&bytes).map_err(|error| Error::io(path.display(), error))?;
        index.path = path.to_owned();
        Ok(index)
    }

    /// Replaces the file; on disk when it returns.
    pub(crate) fn save(&self) -> Result<()> {
        let bytes = serde_json::to_vec(self).expect("an index is always valid JSON");
        let partial = self.path.with_extension("tmp");
        let write = || {
            let mut file = File::create(&partial)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&partial, &self.path)?;
            File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(at(&self.path))
    }

    /// Adds an image or gives it further names; a name that another image had moves here.
    pub(crate) fn put(&mut self, id: &Hex, stored: Stored, names: &[String]) {
        self.images.insert(id.clone(), stored);
        for name in names {
            self.names.insert(name.clone(), id.clone());
        }
    }

    pub(crate) fn image(&self, id: &Hex) -> Option<Image> {
        let stored = self.images.get(id)?;
        let names = self.names.iter().filter(|(_, named)| *named == id).map(|(name, _)| name.clone()).collect();
        Some(Image { id: id.digest(), names, size: stored.size, config: stored.config.clone(), created: stored.created })
    }

    /// Ids that start so.
    pub(crate) fn ids_with_prefix(&self, prefix: &str) -> Vec<&Hex> {
        self.images.keys().filter(|id| id.as_str().starts_with(prefix)).collect()
    }

    /// Layers that some image uses.
    pub(crate) fn layers(&self) -> BTreeSet<&Hex> {
        self.images.values().flat_map(|stored| &stored.layers).collect()
    }

    /// Forgets images of which a layer is gone.
    pub(crate) fn drop_incomplete(&mut self, has: impl Fn(&Hex) -> bool) -> bool {
        let before = self.images.len();
        self.images.retain(|id, stored| {
            let whole = stored.layers.iter().all(&has);
            if !whole {
                tracing::warn!(image = id.as_str(), "forgetting an image of which a layer is gone: import it again");
            }
            whole
        });
        self.names.retain(|_, id| self.images.contains_key(id));
        self.images.len() != before
    }
}

fn check_format(path: &Path, bytes: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let head: Head = serde_json::from_slice(bytes).map_err(|error| Error::io(path.display(), error))?;
    if head.format > FORMAT {
        let message =
            format!("{} has format {}, this build knows up to {FORMAT}; start the version that wrote it", path.display(), head.format);
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    Ok(())
}
