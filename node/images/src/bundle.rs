//! Archives that hold whole images: `docker save`, and OCI layouts in a tar or a folder.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use contract::{Error, ErrorKind, Result};
use serde::Deserialize;

use crate::config::{ConfigFile, architecture};
use crate::ingest::{Hex, decompress};
use crate::layers::{Positioned, at};
use crate::name;
use crate::tarball::{Entries, Extent, invalid};
use crate::tree::{Kind, Tree};

/// Manifests and configurations are text; more than this is none.
const DOCUMENT_MAX: u64 = 8 << 20;

/// Indexes within indexes.
const NESTING_MAX: usize = 4;

/// One image of a bundle.
pub(crate) struct Bundled {
    pub(crate) config: ConfigFile,
    /// The configuration's bytes: their digest is the image's id.
    pub(crate) config_bytes: Vec<u8>,
    /// Paths in the bundle, bottom first.
    pub(crate) layers: Vec<String>,
    /// Canonical.
    pub(crate) names: Vec<String>,
}

/// An opened archive or folder.
pub(crate) enum Bundle {
    Archive { path: PathBuf, file: File, tree: Tree },
    Folder(PathBuf),
}

impl Bundle {
    /// `scratch`: where a compressed archive is decompressed to, as a file without a name.
    pub(crate) fn open(path: &Path, scratch: &Path) -> Result<Self> {
        if path.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        let file = plain(File::open(path).map_err(at(path))?, scratch).map_err(at(path))?;
        let len = file.metadata().map_err(at(path))?.len();
        let tree = Tree::read(&mut Entries::new(Positioned::whole(&file, len))).map_err(|error| in_file(path, &error))?;
        Ok(Self::Archive { path: path.to_owned(), file, tree })
    }

    /// All images for this machine.
    pub(crate) fn images(&mut self) -> Result<Vec<Bundled>> {
        if let Some(manifest) = self.document("manifest.json")? {
            return self.docker_images(&manifest);
        }
        if let Some(index) = self.document("index.json")? {
            return self.oci_images(&index);
        }
        let message = format!(
            "{}: neither manifest.json nor index.json is in it; a root file system is brought in by `corten image import`",
            self.path().display()
        );
        Err(Error::new(ErrorKind::Invalid, message))
    }

    fn path(&self) -> &Path {
        let (Self::Archive { path, .. } | Self::Folder(path)) = self;
        path
    }

    /// The bytes of one file of the bundle.
    pub(crate) fn reader(&mut self, name: &str) -> Result<Option<Box<dyn Read + Send + '_>>> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                match File::open(&path) {
                    Ok(file) => Ok(Some(Box::new(file))),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(at(&path)(error)),
                }
            }
            Self::Archive { file, tree, .. } => {
                let Some(found) = tree.find(name.as_bytes(), true)? else { return Ok(None) };
                match &tree.nodes[found].kind {
                    Kind::File { size, extents } => match extents[..] {
                        [] => Ok(Some(Box::new(std::io::empty()))),
                        [Extent { at: 0, stream, len }] if len == *size => Ok(Some(Box::new(Positioned::part(file, stream, len)))),
                        _ => Err(invalid(format!("{name} is stored as a sparse file"))),
                    },
                    _ => Err(invalid(format!("{name} is no file"))),
                }
            }
        }
    }

    fn document(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(reader) = self.reader(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        reader.take(DOCUMENT_MAX + 1).read_to_end(&mut bytes).map_err(|error| Error::io(name, error))?;
        if bytes.len() as u64 > DOCUMENT_MAX {
            return Err(invalid(format!("{name} is larger than {DOCUMENT_MAX} bytes")));
        }
        Ok(Some(bytes))
    }

    fn required(&mut self, name: &str) -> Result<Vec<u8>> {
        self.document(name)?.ok_or_else(|| invalid(format!("{}: {name} is missing", self.path().display())))
    }

    fn docker_images(&mut self, manifest: &[u8]) -> Result<Vec<Bundled>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Item {
            config: String,
            #[serde(default)]
            repo_tags: Option<Vec<String>>,
            layers: Vec<String>,
        }
        let items: Vec<Item> = parse("manifest.json", manifest)?;
        let bundled = |item: Item| {
            let config_bytes = self.required(&safe(&item.config)?)?;
            let names = item.repo_tags.unwrap_or_default().iter().map(|name| name::canonical(name)).collect::<Result<_>>()?;
            let layers = item.layers.iter().map(|layer| safe(layer)).collect::<Result<_>>()?;
            whole(config_bytes, layers, names)
        };
        items.into_iter().map(bundled).collect()
    }

    fn oci_images(&mut self, index: &[u8]) -> Result<Vec<Bundled>> {
        let index: OciIndex = parse("index.json", index)?;
        let mut images = Vec::new();
        for descriptor in index.manifests {
            images.extend(self.oci_image(&descriptor, NESTING_MAX)?);
        }
        if images.is_empty() {
            return Err(invalid(format!("{}: no image in it is for linux/{}", self.path().display(), architecture())));
        }
        Ok(images)
    }

    /// None for another machine's.
    fn oci_image(&mut self, descriptor: &Descriptor, nesting: usize) -> Result<Option<Bundled>> {
        if descriptor.platform.as_ref().is_some_and(|platform| !platform.is_ours()) {
            return Ok(None);
        }
        let document = self.required(&blob(&descriptor.digest)?)?;
        if descriptor.media_type.ends_with("index.v1+json") || descriptor.media_type.ends_with("manifest.list.v2+json") {
            let index: OciIndex = parse(&descriptor.digest, &document)?;
            for inner in index.manifests.iter().filter(|_| nesting > 0) {
                let found = self.oci_image(inner, nesting - 1)?;
                if let Some(mut image) = found {
                    image.names.extend(descriptor.names()?);
                    return Ok(Some(image));
                }
            }
            return Ok(None);
        }
        let manifest: OciManifest = parse(&descriptor.digest, &document)?;
        let config_bytes = self.required(&blob(&manifest.config.digest)?)?;
        let layers = manifest.layers.iter().map(|layer| blob(&layer.digest)).collect::<Result<_>>()?;
        whole(config_bytes, layers, descriptor.names()?).map(Some)
    }
}

fn whole(config_bytes: Vec<u8>, layers: Vec<String>, names: Vec<String>) -> Result<Bundled> {
    let config = ConfigFile::parse(&config_bytes)?;
    config.check_platform()?;
    let expected = config.layers()?.len();
    if expected != layers.len() {
        return Err(invalid(format!("the manifest has {} layers, the configuration {expected}", layers.len())));
    }
    Ok(Bundled { config, config_bytes, layers, names })
}

#[derive(Deserialize)]
struct OciIndex {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct OciManifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

impl Platform {
    fn is_ours(&self) -> bool {
        self.os == "linux" && self.architecture == architecture()
    }
}

impl Descriptor {
    /// containerd writes the whole name, others a tag or a name of their choice; a bare tag names nothing.
    fn names(&self) -> Result<Vec<String>> {
        if let Some(name) = self.annotations.get("io.containerd.image.name") {
            return Ok(vec![name::canonical(name)?]);
        }
        let reference = self.annotations.get("org.opencontainers.image.ref.name").filter(|reference| reference.contains(['/', ':']));
        reference.map(|reference| name::canonical(reference)).into_iter().collect()
    }
}

fn blob(digest: &str) -> Result<String> {
    Ok(format!("blobs/sha256/{}", Hex::parse(digest)?.as_str()))
}

/// A path out of a manifest: within the bundle.
fn safe(path: &str) -> Result<String> {
    let inside = !path.starts_with('/') && path.split('/').all(|part| part != "..");
    if inside { Ok(path.to_owned()) } else { Err(invalid(format!("{path} leaves the archive"))) }
}

fn parse<'a, T: Deserialize<'a>>(name: &str, bytes: &'a [u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| invalid(format!("{name} does not read: {error}")))
}

fn in_file(path: &Path, error: &Error) -> Error {
    Error::new(error.kind, format!("{}: {}", path.display(), error.message))
}

/// The file itself, or its content decompressed into a file without a name.
fn plain(mut file: File, scratch: &Path) -> std::io::Result<File> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    use std::io::Seek;
    let mut magic = [0; 4];
    let known = file.read(&mut magic)?;
    file.rewind()?;
    if !matches!(&magic[..known], [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd]) {
        return Ok(file);
    }
    let mut out = File::from(openat(CWD, scratch, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)?);
    std::io::copy(&mut decompress(file)?, &mut out)?;
    Ok(out)
}
