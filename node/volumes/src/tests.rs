//! The driver on this kernel. Needs root: volumes are mounted and given to groups.

#![expect(clippy::print_stdout, reason = "a test says what it skipped")]

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use contract::{VolumeContent, VolumeFile, VolumeMedium, VolumeSpec, Volumes, volumes_suite};
use env::Env;

use sys::beneath;

use crate::Driver;

/// A driver in folders of its own; what it mounted goes with it.
struct Fixture {
    dirs: tempfile::TempDir,
    driver: Driver,
}

impl Fixture {
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: mounting volumes needs root");
            return None;
        }
        let dirs = tempfile::tempdir().unwrap();
        let driver = Self::open(dirs.path());
        Some(Self { dirs, driver })
    }

    fn open(dirs: &Path) -> Driver {
        Driver::open(&dirs.join("volumes"), &dirs.join("run"), &Env::real()).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dirs.path().join(name)
    }

    async fn ensure(&self, name: &str, content: VolumeContent) -> PathBuf {
        let spec = VolumeSpec { pod_uid: "pod".into(), name: name.into(), content, fs_group: None };
        self.driver.ensure(&spec).await.unwrap().path
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.driver.release_all().unwrap();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.dirs.path().to_str().unwrap()), "nothing stays mounted");
    }
}

fn text(path: &str, text: &str) -> VolumeFile {
    VolumeFile { path: path.into(), content: text.as_bytes().to_vec().into(), mode: 0o640 }
}

fn in_memory(files: Vec<VolumeFile>) -> VolumeContent {
    VolumeContent::Files { files, medium: VolumeMedium::Memory }
}

const MEMORY: VolumeContent = VolumeContent::EmptyDir { medium: VolumeMedium::Memory, size_limit_bytes: Some(64 << 10) };

fn is_tmpfs(path: &Path) -> bool {
    rustix::fs::statfs(path).unwrap().f_type as u32 == 0x0102_1994
}

#[tokio::test]
async fn passes_the_suite() {
    let Some(fixture) = Fixture::new() else { return };
    let scratch = fixture.path("scratch");
    fs::create_dir(&scratch).unwrap();
    volumes_suite::run_on_disk(&fixture.driver, &scratch).await;
}

#[tokio::test]
async fn memory_is_limited_and_secrets_never_reach_the_disk() {
    let Some(fixture) = Fixture::new() else { return };
    let scratch = fixture.ensure("scratch", MEMORY).await;
    assert!(is_tmpfs(&scratch));
    fs::write(scratch.join("fits"), vec![1; 32 << 10]).unwrap();
    let full = fs::write(scratch.join("more"), vec![1; 64 << 10]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let secret = fixture.ensure("secret", in_memory(vec![text("token", "t")])).await;
    assert!(is_tmpfs(&secret) && is_tmpfs(&secret.join("token")));
}

#[tokio::test]
async fn a_restart_finds_and_keeps_everything() {
    let Some(mut fixture) = Fixture::new() else { return };
    let scratch = fixture.ensure("scratch", MEMORY).await;
    fs::write(scratch.join("kept"), "1").unwrap();
    let secret = fixture.ensure("secret", in_memory(vec![text("token", "t")])).await;
    let before = fixture.driver.observe().await.unwrap();
    fixture.driver = Fixture::open(fixture.dirs.path());
    assert_eq!(fixture.driver.observe().await.unwrap(), before);
    assert_eq!(fixture.ensure("scratch", MEMORY).await, scratch);
    assert!(scratch.join("kept").exists() && secret.join("token").exists());
    fixture.driver.remove_pod("pod").await.unwrap();
    assert!(!scratch.exists() && !secret.exists());
}

#[tokio::test]
async fn what_a_writer_that_died_left_is_cleaned_up() {
    let Some(fixture) = Fixture::new() else { return };
    let files = vec![text("a", "1"), text("b", "2")];
    let volume = fixture.ensure("config", in_memory(files.clone())).await;
    fs::create_dir(volume.join("..2020_01_01_half")).unwrap();
    fs::write(volume.join("..2020_01_01_half/a"), "half").unwrap();
    std::os::unix::fs::symlink("..2020_01_01_half", volume.join("..data_tmp")).unwrap();
    fs::remove_file(volume.join("b")).unwrap();
    fixture.ensure("config", in_memory(files)).await;
    assert_eq!(fs::read_to_string(volume.join("b")).unwrap(), "2");
    assert!(!volume.join("..2020_01_01_half").exists());
    fixture.ensure("config", in_memory(vec![text("a", "3")])).await;
    assert_eq!(fs::read_to_string(volume.join("a")).unwrap(), "3");
    assert!(!volume.join("..data_tmp").exists() && fs::symlink_metadata(volume.join("b")).is_err());
}

/// A reader that lists and reads through `..data` while versions change sees one version whole, or none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_one_version() {
    let Some(fixture) = Fixture::new() else { return };
    let version = |number: u32| in_memory((0..5).map(|key| text(&format!("key-{key}"), &number.to_string())).collect());
    let volume = fixture.ensure("config", version(0)).await;
    let (stop_tx, stop_rx) = std::sync::mpsc::channel::<()>();
    let reader = std::thread::spawn(move || {
        let mut looks = 0;
        while stop_rx.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            let current = volume.join(fs::read_link(volume.join("..data")).unwrap());
            let seen: Vec<String> = (0..5).filter_map(|key| fs::read_to_string(current.join(format!("key-{key}"))).ok()).collect();
            assert!(seen.iter().all(|text| *text == seen[0]), "{seen:?}");
            looks += 1;
        }
        looks
    });
    for number in 1..200 {
        fixture.ensure("config", version(number)).await;
    }
    drop(stop_tx);
    assert!(reader.join().unwrap() > 10);
}

#[tokio::test]
async fn depth_does_not_stop_removal() {
    let Some(fixture) = Fixture::new() else { return };
    let volume = fixture.ensure("deep", VolumeContent::EmptyDir { medium: VolumeMedium::Disk, size_limit_bytes: None }).await;
    let mut folder = beneath::open_top(&volume).unwrap();
    for _ in 0..1200 {
        rustix::fs::mkdirat(&folder, "d", rustix::fs::Mode::RWXU).unwrap();
        let file =
            rustix::fs::openat(&folder, ".removing-1", rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY, rustix::fs::Mode::RUSR)
                .unwrap();
        drop(file);
        folder = beneath::open_dir(folder.as_fd(), "d").unwrap();
    }
    drop(folder);
    fixture.driver.remove_pod("pod").await.unwrap();
    assert!(!volume.exists());
}

#[tokio::test]
async fn a_mount_left_inside_is_not_emptied() {
    let Some(fixture) = Fixture::new() else { return };
    let volume = fixture.ensure("scratch", VolumeContent::EmptyDir { medium: VolumeMedium::Disk, size_limit_bytes: None }).await;
    let (precious, inside) = (fixture.path("precious"), volume.join("a/mnt"));
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("data"), "x").unwrap();
    fs::create_dir_all(&inside).unwrap();
    rustix::mount::mount_bind(&precious, &inside).unwrap();
    let refused = fixture.driver.remove_pod("pod").await;
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap(); // the removal has moved it, not emptied it
    let pod = volume.parent().unwrap().to_str().unwrap();
    let moved = mounts.lines().filter_map(|line| line.split(' ').nth(4)).find(|target| target.starts_with(pod)).unwrap();
    rustix::mount::unmount(moved, rustix::mount::UnmountFlags::DETACH).unwrap();
    assert_eq!(refused.unwrap_err().kind, contract::ErrorKind::Busy);
    assert!(precious.join("data").exists());
    fixture.driver.remove_pod("pod").await.unwrap();
    assert!(precious.join("data").exists() && !volume.exists());
}
