//! The suite that every driver of images passes: `suite::run(&driver, folder).await` panics at the first broken promise.
//!
//! The driver is fresh; `scratch` is an empty folder for the archives that the suite writes.

use std::path::{Path, PathBuf};

use super::{Image, ImageConfig, Images};
use crate::ErrorKind;

/// Runs all cases on one driver.
pub async fn run(images: &dyn Images, scratch: &Path) {
    let archive = write_archive(scratch);
    finds_nothing_at_first(images).await;
    let image = imports(images, &archive).await;
    resolves_every_spelling(images, &image).await;
    makes_a_root_again_and_again(images, &image).await;
    moves_a_name(images, &archive, &image).await;
    keeps_an_image_in_use(images).await;
    refuses_what_is_no_archive(images, scratch).await;
}

async fn finds_nothing_at_first(images: &dyn Images) {
    assert_eq!(images.resolve("registry.example.com/none:1").await.unwrap(), None);
    let missing = images.pull("registry.example.com/none:1").await.unwrap_err();
    assert_eq!(missing.kind, ErrorKind::NotFound);
    assert!(missing.message.contains("registry.example.com/none:1"), "{missing}");
    assert_eq!(images.remove("registry.example.com/none:1").await.unwrap_err().kind, ErrorKind::NotFound);
    images.remove_rootfs("never-made").await.unwrap();
    let gone = images.ensure_rootfs(&format!("sha256:{}", "0".repeat(64)), "c").await.unwrap_err();
    assert_eq!(gone.kind, ErrorKind::NotFound);
}

async fn imports(images: &dyn Images, archive: &Path) -> Image {
    let config = ImageConfig { cmd: vec!["/bin/true".into()], env: vec!["A=b".into()], ..ImageConfig::default() };
    let image = images.import(archive, "suite/app", config.clone()).await.unwrap();
    assert!(image.id.starts_with("sha256:") && image.id.len() == 71, "{}", image.id);
    assert_eq!((image.names.clone(), image.config.clone()), (vec!["docker.io/suite/app:latest".to_owned()], config));
    assert!(image.size > 0 && image.created > 0);
    assert!(images.list().await.unwrap().contains(&image));
    image
}

async fn resolves_every_spelling(images: &dyn Images, image: &Image) {
    let id = image.id.strip_prefix("sha256:").unwrap();
    for name in ["suite/app", "suite/app:latest", "docker.io/suite/app", &image.id, id, &id[..12]] {
        let found = images.resolve(name).await.unwrap();
        assert_eq!(found.as_ref(), Some(image), "as {name}");
    }
    assert_eq!(images.pull("suite/app").await.unwrap(), *image, "what is there need not be fetched");
    assert_eq!(images.resolve("suite/app:2").await.unwrap(), None);
    assert_eq!(images.resolve("Not A Name").await.unwrap_err().kind, ErrorKind::Invalid);
}

async fn makes_a_root_again_and_again(images: &dyn Images, image: &Image) {
    let first = images.ensure_rootfs(&image.id, "c1").await.unwrap();
    assert_eq!(images.ensure_rootfs(&image.id, "c1").await.unwrap(), first, "made twice is made once");
    let second = images.ensure_rootfs(&image.id, "c2").await.unwrap();
    assert_eq!(second.lowers, first.lowers, "layers are shared");
    assert!(first.upper != second.upper && first.work != second.work && first.upper != first.work, "writable folders are not");
    assert!(!first.lowers.is_empty());
    for container in ["c1", "c1", "c2"] {
        images.remove_rootfs(container).await.unwrap();
    }
    for name in ["", "../c", "a/b", "."] {
        assert_eq!(images.ensure_rootfs(&image.id, name).await.unwrap_err().kind, ErrorKind::Invalid, "{name:?} is no container id");
    }
}

async fn moves_a_name(images: &dyn Images, archive: &Path, image: &Image) {
    let config = ImageConfig { cmd: vec!["/bin/false".into()], ..ImageConfig::default() };
    let newer = images.import(archive, "suite/app", config).await.unwrap();
    assert_ne!(newer.id, image.id);
    assert_eq!(images.resolve("suite/app").await.unwrap(), Some(newer));
    let older = images.resolve(&image.id).await.unwrap().expect("an image without a name stays until it is removed");
    assert_eq!(older.names, [] as [&str; 0]);
    images.remove(&image.id).await.unwrap();
    assert_eq!(images.resolve(&image.id).await.unwrap(), None);
}

async fn keeps_an_image_in_use(images: &dyn Images) {
    let image = images.resolve("suite/app").await.unwrap().unwrap();
    images.ensure_rootfs(&image.id, "c3").await.unwrap();
    let busy = images.remove("suite/app").await.unwrap_err();
    assert_eq!(busy.kind, ErrorKind::Busy);
    assert!(images.resolve("suite/app").await.unwrap().is_some());
    images.remove_rootfs("c3").await.unwrap();
    images.remove("suite/app").await.unwrap();
    assert_eq!(images.resolve("suite/app").await.unwrap(), None);
}

async fn refuses_what_is_no_archive(images: &dyn Images, scratch: &Path) {
    let missing = images.import(&scratch.join("none.tar"), "suite/x", ImageConfig::default()).await;
    assert!(missing.is_err_and(|error| error.message.contains("none.tar")), "the error names the file");
    let before = images.list().await.unwrap();
    let bad = images.import(&scratch.join("none.tar"), "Bad Name", ImageConfig::default()).await.unwrap_err();
    assert_eq!(bad.kind, ErrorKind::Invalid);
    assert_eq!(images.list().await.unwrap(), before);
}

/// One file, in ustar.
fn write_archive(scratch: &Path) -> PathBuf {
    let mut header = [0u8; 512];
    header[..7].copy_from_slice(b"bin/app");
    header[100..107].copy_from_slice(b"0000755");
    header[108..115].copy_from_slice(b"0000000");
    header[116..123].copy_from_slice(b"0000000");
    header[124..135].copy_from_slice(b"00000000003");
    header[136..147].copy_from_slice(b"00000000000");
    header[148..156].copy_from_slice(b"        ");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut archive = header.to_vec();
    archive.extend_from_slice(b"app");
    archive.resize(4 * 512, 0);
    let path = scratch.join("suite.tar");
    std::fs::write(&path, archive).expect("the suite may write in its folder");
    path
}
