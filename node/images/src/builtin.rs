//! The image that is always there: this very program, as a small web server.
//!
//! Its root is a directory with the running binary linked into it, so it costs no room and its pages are shared with the
//! system's own processes. It is named by the binary's identity, not by its content: reading 40 MB at every start would be
//! the price, and this layer never leaves the node.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use contract::{ImageConfig, Result};
use rustix::fs::{AtFlags, CWD, linkat};

use crate::ingest::Hex;
use crate::layers::at;

/// Its canonical name.
pub(crate) const NAME: &str = "corten.local/hello:latest";

const PASSWD: &str = "root:x:0:0:root:/:/corten\nnobody:x:65534:65534:nobody:/:/corten\n";
const GROUP: &str = "root:x:0:\nnobody:x:65534:\n";

/// What the built-in image is made of.
#[derive(Clone, Debug)]
pub struct Builtin {
    /// The running binary: `/proc/self/exe`, or where that points.
    pub exe: PathBuf,
}

/// The layer's name and size.
pub(crate) fn identity(builtin: &Builtin) -> Result<(Hex, u64)> {
    let about = std::fs::metadata(&builtin.exe).map_err(at(&builtin.exe))?;
    let identity = format!("built-in {} {} {} {}.{:09}", about.dev(), about.ino(), about.len(), about.mtime(), about.mtime_nsec());
    Ok((Hex::of(identity.as_bytes()), about.len()))
}

/// Makes the layer in the empty folder `incoming`.
pub(crate) fn make_layer(builtin: &Builtin, incoming: &Path) -> Result<()> {
    fill(&builtin.exe, &incoming.join("root")).map_err(at(incoming))
}

fn fill(exe: &Path, root: &Path) -> io::Result<()> {
    let folder = |name: &str, mode: u32| std::fs::DirBuilder::new().mode(mode).create(root.join(name));
    std::fs::DirBuilder::new().mode(0o755).create(root)?;
    for name in ["dev", "etc", "proc", "run", "sys"] {
        folder(name, 0o755)?;
    }
    folder("tmp", 0o777)?;
    std::fs::set_permissions(root.join("tmp"), std::os::unix::fs::PermissionsExt::from_mode(0o1777))?;
    std::fs::write(root.join("etc/passwd"), PASSWD)?;
    std::fs::write(root.join("etc/group"), GROUP)?;
    link_or_copy(exe, &root.join("corten"))
}

/// A link where both lie on one file system, and the binary still has a name.
fn link_or_copy(exe: &Path, target: &Path) -> io::Result<()> {
    if linkat(CWD, exe, CWD, target, AtFlags::SYMLINK_FOLLOW).is_ok() {
        return Ok(());
    }
    let mut exe = File::open(exe)?;
    let mut copy = File::options().write(true).create_new(true).mode(0o755).open(target)?;
    io::copy(&mut exe, &mut copy).map(drop)
}

pub(crate) fn config() -> ImageConfig {
    ImageConfig {
        entrypoint: vec!["/corten".into(), "hello".into()],
        env: vec!["PATH=/".into()],
        working_dir: "/".into(),
        exposed_ports: vec!["8080/tcp".into()],
        ..ImageConfig::default()
    }
}
