//! What a hostPath's type promises, in upstream's words.

use std::fs::{DirBuilder, File, FileType, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use contract::{Error, ErrorKind, Result};

/// Checks `path`, and makes what `kind` says may be made. Links are followed: the path is the cluster owner's word.
pub(crate) fn ensure(path: &Path, kind: &str) -> Result<()> {
    if !path.is_absolute() {
        return Err(Error::new(ErrorKind::Invalid, format!("hostPath {}: must be an absolute path", path.display())));
    }
    let found = match std::fs::metadata(path) {
        Ok(found) => Some(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(Error::io(format!("hostPath {}", path.display()), error)),
    };
    match kind {
        // Container runtimes make the folder of a path without a type, so do we.
        "" => found.map_or_else(|| make_dir(path), |_| Ok(())),
        "DirectoryOrCreate" => found.map_or_else(|| make_dir(path), |found| must_be(path, &found, FileType::is_dir, "directory")),
        "FileOrCreate" => found.map_or_else(|| make_file(path), |found| must_be(path, &found, FileType::is_file, "file")),
        "Directory" => must_be(path, &existing(path, found)?, FileType::is_dir, "directory"),
        "File" => must_be(path, &existing(path, found)?, FileType::is_file, "file"),
        "Socket" => must_be(path, &existing(path, found)?, FileType::is_socket, "socket"),
        "CharDevice" => must_be(path, &existing(path, found)?, FileType::is_char_device, "character device"),
        "BlockDevice" => must_be(path, &existing(path, found)?, FileType::is_block_device, "block device"),
        other => Err(Error::new(ErrorKind::Invalid, format!("hostPath type {other:?} is not known"))),
    }
}

fn existing(path: &Path, found: Option<Metadata>) -> Result<Metadata> {
    found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("hostPath type check failed: {} does not exist", path.display())))
}

fn must_be(path: &Path, found: &Metadata, is: impl Fn(&FileType) -> bool, what: &str) -> Result<()> {
    if is(&found.file_type()) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, format!("hostPath type check failed: {} is not a {what}", path.display())))
}

fn make_dir(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.map_err(|error| Error::io(format!("make hostPath {}", path.display()), error))
}

fn make_file(path: &Path) -> Result<()> {
    let made = File::options().write(true).create(true).truncate(false).mode(0o644).open(path);
    made.map(drop).map_err(|error| Error::io(format!("make hostPath {}", path.display()), error))
}
