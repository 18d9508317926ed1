//! What cases share: isolation, an instance with a keeper, root file systems, and the check that nothing is left.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use contract::Rootfs;
use env::Env;
use keeper::{ChildSpec, Control, Driver, KeeperConfig};
use rustix::mount::{MountPropagationFlags, mount_change};
use serde::{Deserialize, Serialize};
use stdx::instance::Instance;

use crate::Skip;

/// Gives this process its own mount (and network) namespace. Call before any thread exists.
pub fn isolate(own_network: bool) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err(Skip("needs root".into()).into());
    }
    sys::ns::unshare(sys::ns::MOUNT | if own_network { sys::ns::NET } else { 0 })?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    Ok(())
}

/// A runtime with several threads, as the node has.
pub fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(work)
}

/// What a keeper process of the test binary is told, as one argument.
#[derive(Serialize, Deserialize)]
struct KeeperArguments {
    instance: String,
    root: PathBuf,
    children: Vec<(String, Vec<String>, Option<(u32, u32)>, bool)>,
    own_mounts: bool,
}

/// The process behind `kernel keeper …`.
pub fn run_keeper(config: &str) -> ExitCode {
    let Ok(arguments) = serde_json::from_str::<KeeperArguments>(config) else { return ExitCode::FAILURE };
    let Ok(instance) = Instance::new(&arguments.instance, Some(&arguments.root)) else { return ExitCode::FAILURE };
    let children = arguments.children.into_iter().map(|(name, argv, user, drop_capabilities)| ChildSpec {
        log: instance.log_dir().join(format!("{name}.log")),
        name,
        argv,
        user,
        drop_capabilities,
        env: vec![("PATH".into(), "/bin".into())],
    });
    let code = keeper::run(KeeperConfig {
        children: children.collect(),
        argv: std::env::args().collect(),
        env: Vec::new(),
        detach: true,
        own_mounts: arguments.own_mounts,
        instance,
    });
    ExitCode::from(code as u8)
}

/// A supervised process: appends its pid to a file, then does as told (`sleep`, `fail`).
pub fn run_child(words: &[&str]) -> ExitCode {
    let [how, file] = words else { return ExitCode::FAILURE };
    let line = format!("{} {}\n", std::process::id(), rustix::process::getuid().as_raw());
    let appended = fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)
        .and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes()));
    if appended.is_err() || *how == "fail" {
        return ExitCode::FAILURE;
    }
    std::thread::park();
    ExitCode::SUCCESS
}

/// One instance with a keeper, removed with everything of it when [`World::end`] is called.
pub struct World {
    pub instance: Instance,
    pub env: Env,
    pub folder: tempfile::TempDir,
    keeper: Vec<String>,
}

impl World {
    pub fn new() -> Result<Self> {
        Self::with(|_| Vec::new(), false)
    }

    /// `children` are supervised by the keeper: name, command line, user, no capabilities.
    pub fn with(children: impl FnOnce(&Path) -> Vec<(String, Vec<String>, Option<(u32, u32)>, bool)>, own_mounts: bool) -> Result<Self> {
        if !Path::new("/bin/busybox").exists() {
            return Err(Skip("needs /bin/busybox (Debian package busybox-static)".into()).into());
        }
        let folder = tempfile::tempdir()?;
        let name = format!("kt{}", std::process::id());
        let root = folder.path().join("state");
        let arguments = KeeperArguments { instance: name.clone(), root: root.clone(), children: children(folder.path()), own_mounts };
        let exe = std::env::current_exe()?.to_string_lossy().into_owned();
        let keeper = vec![exe, "keeper".into(), serde_json::to_string(&arguments)?];
        let world = Self { instance: Instance::new(&name, Some(&root)).map_err(anyhow::Error::msg)?, env: Env::real(), folder, keeper };
        world.start_keeper()?;
        Ok(world)
    }

    pub fn start_keeper(&self) -> Result<()> {
        Ok(keeper::spawn_detached(&self.keeper, &[])?)
    }

    pub fn control(&self) -> Result<Control> {
        Ok(Control::connect(&self.instance.run_dir())?)
    }

    pub async fn driver(&self) -> Result<Arc<Driver>> {
        Ok(Driver::connect(&self.instance, &self.env).await?)
    }

    /// Another node process's driver: an own set of tasks, which `stop` ends.
    pub async fn other_driver(&self) -> Result<(Arc<Driver>, Env)> {
        let env = Env::real();
        Ok((Driver::connect(&self.instance, &env).await?, env))
    }

    /// Shuts the keeper down and checks that nothing is left.
    pub async fn end(&self) -> Result<()> {
        self.env.stop(Duration::from_secs(2)).await;
        self.end_keeper()
    }

    pub fn end_keeper(&self) -> Result<()> {
        self.control()?.shutdown(Duration::from_secs(2))?;
        assert_nothing_left(&self.instance)
    }

    /// A root file system of one layer: busybox with all its names, and a few files of /etc.
    pub fn rootfs(&self, name: &str) -> Result<Rootfs> {
        let lower = self.folder.path().join("busybox");
        if !lower.exists() {
            busybox(&lower)?;
        }
        self.rootfs_of(name, &lower)
    }

    pub fn rootfs_of(&self, name: &str, lower: &Path) -> Result<Rootfs> {
        let (upper, work) = (self.folder.path().join(name).join("upper"), self.folder.path().join(name).join("work"));
        fs::create_dir_all(&upper)?;
        fs::create_dir_all(&work)?;
        Ok(Rootfs { lowers: vec![lower.to_owned()], upper, work })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // After a failure: the keeper and what it holds must not outlive the case.
        if let Ok(mut control) = self.control() {
            let _ = control.shutdown(Duration::from_millis(100));
        }
    }
}

/// A busybox root at `root`.
pub fn busybox(root: &Path) -> Result<()> {
    const NAMES: &str = "sh cat echo ls true false sleep id env pwd hostname mount stat head tail grep wc dd mknod touch kill ps test mkdir \
        chmod stty nc ip sed cut tr seq yes readlink rm nproc free ln umount chroot printf tee dmesg";
    fs::create_dir_all(root.join("bin"))?;
    for folder in ["etc", "proc", "sys", "dev", "tmp", "root", "home/web"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    fs::copy("/bin/busybox", root.join("bin/busybox"))?;
    for name in NAMES.split_whitespace() {
        symlink("busybox", root.join("bin").join(name))?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/home/web:/bin/sh\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\nwww:x:34:\nlogs:x:50:web\n")?;
    fs::write(root.join("not-executable"), "text")?;
    fs::write(root.join("no-interpreter"), "#!/no/such/program\n")?;
    fs::set_permissions(root.join("no-interpreter"), fs::Permissions::from_mode(0o755))?;
    fs::write(root.join("garbage"), "\0garbage")?;
    fs::set_permissions(root.join("garbage"), fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// No mount, namespace pin, cgroup, process, named pipe or folder of the instance may be left.
pub fn assert_nothing_left(instance: &Instance) -> Result<()> {
    let run_dir = instance.run_dir();
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let left: Vec<&str> =
        mounts.lines().filter(|line| line.split(' ').nth(1).is_some_and(|place| Path::new(place).starts_with(&run_dir))).collect();
    ensure!(left.is_empty(), "mounts left:\n{}", left.join("\n"));
    ensure!(
        !run_dir.exists(),
        "left in {}: {:?}",
        run_dir.display(),
        fs::read_dir(&run_dir)?.map(|entry| entry.map(|entry| entry.path())).collect::<Vec<_>>()
    );
    for hierarchy in
        fs::read_dir("/sys/fs/cgroup")?.filter_map(Result::ok).map(|entry| entry.path()).chain([PathBuf::from("/sys/fs/cgroup")])
    {
        let group = hierarchy.join(instance.cgroup());
        ensure!(!group.exists(), "cgroup {} is left", group.display());
    }
    let name = format!("\"instance\":\"{}\"", instance.name);
    for process in fs::read_dir("/proc")?.filter_map(Result::ok) {
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let state = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        let zombie = state.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'));
        // The keeper that has just answered may be on its last instructions; it holds nothing any more.
        if String::from_utf8_lossy(&command).contains(&name) && !zombie {
            wait_for_end(&process.path())?;
        }
    }
    Ok(())
}

fn wait_for_end(process: &Path) -> Result<()> {
    let pid =
        process.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()).and_then(rustix::process::Pid::from_raw);
    let Ok(pidfd) = rustix::process::pidfd_open(pid.context("a process number")?, rustix::process::PidfdFlags::empty()) else {
        return Ok(());
    };
    let mut wait = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    let limit = rustix::event::Timespec { tv_sec: 2, tv_nsec: 0 };
    if rustix::event::poll(&mut wait, Some(&limit))? == 0 {
        bail!("process {} is left", process.display());
    }
    Ok(())
}
