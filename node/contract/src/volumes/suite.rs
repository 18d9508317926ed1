//! The suite that every driver of volumes passes; each function panics at the first broken promise.
//!
//! [`run`] holds any driver to its calls, [`run_on_disk`] also to what containers find in the folders.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use super::{Volume, VolumeContent, VolumeFile, VolumeMedium, VolumeSpec, Volumes};
use crate::ErrorKind;

/// Calls and what is observed. The driver is fresh.
pub async fn run(volumes: &dyn Volumes) {
    assert_eq!(volumes.observe().await.unwrap(), []);
    volumes.remove_pod("nobody").await.unwrap();
    let specs =
        [empty_dir("pod-1", "scratch", VolumeMedium::Disk), files("pod-1", "config", &[("key", "value")]), files("pod-2", "config", &[])];
    let mut made = Vec::new();
    for spec in &specs {
        made.push(volumes.ensure(spec).await.unwrap());
        assert_eq!(volumes.ensure(spec).await.unwrap(), *made.last().unwrap(), "made twice is made once");
    }
    assert_eq!(observed(volumes).await, sorted(made.clone()));
    volumes.remove_pod("pod-1").await.unwrap();
    volumes.remove_pod("pod-1").await.unwrap();
    assert_eq!(observed(volumes).await, made[2..]);
    volumes.remove_pod("pod-2").await.unwrap();
    for bad in ["", "..", "a/b"] {
        for spec in [empty_dir(bad, "v", VolumeMedium::Disk), empty_dir("pod", bad, VolumeMedium::Disk)] {
            assert_eq!(volumes.ensure(&spec).await.unwrap_err().kind, ErrorKind::Invalid, "{bad:?} names no folder");
        }
    }
    assert_eq!(volumes.observe().await.unwrap(), []);
}

/// What lies in the folders. `scratch` is an empty folder.
pub async fn run_on_disk(volumes: &dyn Volumes, scratch: &Path) {
    run(volumes).await;
    empty_dirs_are_for_everyone(volumes).await;
    files_change_all_at_once(volumes).await;
    nothing_is_written_twice(volumes).await;
    paths_stay_inside(volumes).await;
    host_paths_are_checked(volumes, scratch).await;
    removal_stays_inside(volumes, scratch).await;
}

async fn empty_dirs_are_for_everyone(volumes: &dyn Volumes) {
    for medium in [VolumeMedium::Disk, VolumeMedium::Memory] {
        let volume = volumes.ensure(&empty_dir("pod", "scratch", medium)).await.unwrap();
        assert_eq!(mode(&volume.path), 0o777);
        fs::write(volume.path.join("kept"), "1").unwrap();
        volumes.ensure(&empty_dir("pod", "scratch", medium)).await.unwrap();
        assert!(volume.path.join("kept").exists(), "what containers wrote stays");
        volumes.remove_pod("pod").await.unwrap();
        assert!(!volume.path.exists());
    }
}

async fn files_change_all_at_once(volumes: &dyn Volumes) {
    for medium in [VolumeMedium::Disk, VolumeMedium::Memory] {
        let spec = |pairs| with_medium(files("pod", "config", pairs), medium);
        let volume = volumes.ensure(&spec(&[("a", "1"), ("dir/b", "2"), ("gone", "3")])).await.unwrap();
        assert_eq!(texts(&volume.path), ["a=1", "dir/b=2", "gone=3"]);
        let before = fs::File::open(volume.path.join("..data/a")).unwrap();
        let version = fs::read_link(volume.path.join("..data")).unwrap();
        assert_eq!(fs::read_link(volume.path.join("dir")).unwrap(), Path::new("..data/dir"));

        volumes.ensure(&spec(&[("a", "one"), ("dir/c", "4")])).await.unwrap();
        assert_eq!(texts(&volume.path), ["a=one", "dir/c=4"]);
        assert_ne!(fs::read_link(volume.path.join("..data")).unwrap(), version);
        assert_eq!(std::io::read_to_string(before).unwrap(), "1", "a reader of the old version keeps it");
        let versions = fs::read_dir(&volume.path)
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("..2"))
            .count();
        assert_eq!(versions, 1, "the old version is gone");
        volumes.remove_pod("pod").await.unwrap();
    }
}

async fn nothing_is_written_twice(volumes: &dyn Volumes) {
    let spec = files("pod", "config", &[("a", "1")]);
    let volume = volumes.ensure(&spec).await.unwrap();
    let version = || fs::read_link(volume.path.join("..data")).unwrap();
    let first = version();
    volumes.ensure(&spec).await.unwrap();
    assert_eq!(version(), first, "what is right already is not touched");
    let mut other_mode = spec.clone();
    if let VolumeContent::Files { files, .. } = &mut other_mode.content {
        files[0].mode = 0o600;
    }
    volumes.ensure(&other_mode).await.unwrap();
    assert_ne!(version(), first);
    assert_eq!(mode(&volume.path.join("a")), 0o600);
    let grouped = VolumeSpec { fs_group: Some(4321), ..other_mode };
    volumes.ensure(&grouped).await.unwrap();
    let about = fs::metadata(volume.path.join("a")).unwrap();
    assert_eq!((about.gid(), about.mode() & 0o7777), (4321, 0o640), "the group reads");
    assert_eq!(fs::metadata(&volume.path).unwrap().gid(), 4321);
    volumes.remove_pod("pod").await.unwrap();
}

async fn paths_stay_inside(volumes: &dyn Volumes) {
    for path in ["/etc/passwd", "../up", "a/../../up", "..data", "..x/y", ""] {
        let error = volumes.ensure(&files("pod", "config", &[(path, "1")])).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{path:?}");
    }
    assert_eq!(volumes.ensure(&files("pod", "config", &[("a", "1"), ("a", "2")])).await.unwrap_err().kind, ErrorKind::Invalid);
    volumes.remove_pod("pod").await.unwrap();
}

async fn host_paths_are_checked(volumes: &dyn Volumes, scratch: &Path) {
    let (dir, file, missing) = (scratch.join("dir"), scratch.join("file"), scratch.join("missing"));
    fs::create_dir(&dir).unwrap();
    fs::write(&file, "x").unwrap();
    let spec = |path: &Path, kind: &str| VolumeSpec {
        pod_uid: "pod".into(),
        name: "host".into(),
        content: VolumeContent::HostPath { path: path.into(), kind: kind.into() },
        fs_group: None,
    };
    for (path, kind) in
        [(&dir, ""), (&dir, "Directory"), (&dir, "DirectoryOrCreate"), (&file, ""), (&file, "File"), (&file, "FileOrCreate")]
    {
        assert_eq!(volumes.ensure(&spec(path, kind)).await.unwrap().path, *path, "{kind}");
    }
    let refused = [
        (&dir, "File"),
        (&dir, "FileOrCreate"),
        (&file, "Directory"),
        (&file, "DirectoryOrCreate"),
        (&file, "Socket"),
        (&dir, "CharDevice"),
        (&file, "BlockDevice"),
        (&file, "Wormhole"),
    ];
    for (path, kind) in refused {
        assert_eq!(volumes.ensure(&spec(path, kind)).await.unwrap_err().kind, ErrorKind::Invalid, "{kind}");
    }
    for kind in ["Directory", "File", "Socket", "CharDevice", "BlockDevice"] {
        assert_eq!(volumes.ensure(&spec(&missing, kind)).await.unwrap_err().kind, ErrorKind::NotFound, "{kind}");
    }
    volumes.ensure(&spec(&scratch.join("new/dir"), "DirectoryOrCreate")).await.unwrap();
    volumes.ensure(&spec(&scratch.join("new/file"), "FileOrCreate")).await.unwrap();
    assert_eq!(volumes.ensure(&spec(Path::new("relative"), "")).await.unwrap_err().kind, ErrorKind::Invalid);
    volumes.remove_pod("pod").await.unwrap();
    assert!(file.exists() && scratch.join("new/dir").exists(), "what is the host's stays");
}

async fn removal_stays_inside(volumes: &dyn Volumes, scratch: &Path) {
    let precious = scratch.join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("data"), "x").unwrap();
    let volume = volumes.ensure(&empty_dir("pod", "scratch", VolumeMedium::Disk)).await.unwrap();
    symlink(&precious, volume.path.join("link")).unwrap();
    symlink("../../../../..", volume.path.join("up")).unwrap();
    fs::create_dir_all(volume.path.join("a/b/c")).unwrap();
    fs::write(volume.path.join("a/b/c/file"), "x").unwrap();
    volumes.remove_pod("pod").await.unwrap();
    assert!(!volume.path.exists());
    assert_eq!(fs::read_to_string(precious.join("data")).unwrap(), "x", "links are removed, not followed");
}

fn empty_dir(pod_uid: &str, name: &str, medium: VolumeMedium) -> VolumeSpec {
    let size_limit_bytes = (medium == VolumeMedium::Memory).then_some(1 << 20);
    VolumeSpec { pod_uid: pod_uid.into(), name: name.into(), content: VolumeContent::EmptyDir { medium, size_limit_bytes }, fs_group: None }
}

fn files(pod_uid: &str, name: &str, pairs: &[(&str, &str)]) -> VolumeSpec {
    let file =
        |(path, text): &(&str, &str)| VolumeFile { path: PathBuf::from(path), content: text.as_bytes().to_vec().into(), mode: 0o644 };
    let content = VolumeContent::Files { files: pairs.iter().map(file).collect(), medium: VolumeMedium::Disk };
    VolumeSpec { pod_uid: pod_uid.into(), name: name.into(), content, fs_group: None }
}

fn with_medium(mut spec: VolumeSpec, wanted: VolumeMedium) -> VolumeSpec {
    if let VolumeContent::Files { medium, .. } = &mut spec.content {
        *medium = wanted;
    }
    spec
}

async fn observed(volumes: &dyn Volumes) -> Vec<Volume> {
    sorted(volumes.observe().await.unwrap())
}

fn sorted(mut volumes: Vec<Volume>) -> Vec<Volume> {
    volumes.sort_by(|a, b| (&a.pod_uid, &a.name).cmp(&(&b.pod_uid, &b.name)));
    volumes
}

/// `path=text` of every file that a container sees through the links.
fn texts(volume: &Path) -> Vec<String> {
    let mut found = Vec::new();
    collect(volume, volume, &mut found);
    found.sort();
    found
}

fn collect(volume: &Path, folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(volume).unwrap().to_string_lossy().into_owned();
        if name.starts_with("..") {
            continue;
        }
        if path.is_dir() {
            collect(volume, &path, found);
        } else {
            found.push(format!("{name}={}", fs::read_to_string(&path).unwrap()));
        }
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}
