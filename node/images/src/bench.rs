//! How long an archive takes to become a mounted root.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use contract::{ImageConfig, Images, Result};
use env::Env;
use tar::{Builder, Header};

use crate::layers::at;
use crate::{Builtin, Store};

const FILES: u32 = 10_000;
const DIRS: u32 = 200;
const FILE_LEN: usize = 10_000;

/// Writes an archive of 10,000 files in 200 directories, 100 MB, half of it text, half noise.
pub fn write_archive(path: &Path) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut tar = Builder::new(BufWriter::with_capacity(1 << 20, File::create(path)?));
        let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
        for number in 0..FILES {
            let content = content(number, &mut noise);
            let mut header = Header::new_ustar();
            header.set_mode(0o644);
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, format!("usr/share/dir-{:03}/file-{number:05}", number % DIRS), &content[..])?;
        }
        tar.into_inner()?.flush()
    };
    write().map_err(at(path))
}

fn content(number: u32, noise: &mut u64) -> Vec<u8> {
    if number.is_multiple_of(2) {
        return format!("line of text number {number}\n").repeat(FILE_LEN / 28 + 1).into_bytes();
    }
    let mut bytes = Vec::with_capacity(FILE_LEN + 8);
    while bytes.len() < FILE_LEN {
        *noise ^= *noise << 13;
        *noise ^= *noise >> 7;
        *noise ^= *noise << 17;
        bytes.extend_from_slice(&noise.to_le_bytes());
    }
    bytes
}

/// How long a store takes to open, in the empty folder `dir`, and how long a container's root takes after that, the image
/// being there.
pub async fn open_and_root(dir: &Path, env: &Env) -> Result<(Duration, Duration)> {
    let start = env.instant();
    let store = Store::open(&dir.join("images"), &dir.join("run"), env, Builtin { exe: "/proc/self/exe".into() })?;
    let opened = start.elapsed();
    let image = store.pull("corten.local/hello").await?;
    let start = env.instant();
    store.resolve("corten.local/hello").await?;
    store.ensure_rootfs(&image.id, "bench").await?;
    let made = start.elapsed();
    store.remove_rootfs("bench").await?;
    store.release_all()?;
    Ok((opened, made))
}

/// The time from an archive to a root made of its layer, in a fresh store below the empty folder `dir`.
pub async fn archive_to_root(archive: &Path, dir: &Path, env: &Env) -> Result<Duration> {
    let store = Store::open(&dir.join("images"), &dir.join("run"), env, Builtin { exe: "/proc/self/exe".into() })?;
    let start = env.instant();
    let image = store.import(archive, "bench", ImageConfig::default()).await?;
    store.ensure_rootfs(&image.id, "bench").await?;
    let elapsed = start.elapsed();
    store.remove_rootfs("bench").await?;
    store.remove("bench").await?;
    store.release_all()?;
    Ok(elapsed)
}
