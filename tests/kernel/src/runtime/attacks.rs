//! Published escapes, tried on us.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Context, Result, ensure};
use contract::{ContainerSpec, ErrorKind, Mount, Runtime, User};

use super::{Pod, collect, command, spec};
use crate::world::{World, block_on, busybox};

/// CVE-2024-21626: a working directory through a descriptor that leaked from the host.
pub(crate) fn leaked_descriptor() -> Result<()> {
    let world = World::new()?;
    block_on(async {
        let mut pod = Pod::new(&world).await?;
        for number in 3..12 {
            let id = format!("a{number}");
            let container = ContainerSpec {
                cwd: format!("/proc/self/fd/{number}"),
                ..spec(&world, &id, &["sh", "-c", "cat ../../../../etc/hostname 2>/dev/null; ls -a . 2>/dev/null | head -3"])?
            };
            if pod.driver.start(&container).await.is_ok() {
                pod.next_exit().await?;
                let seen = super::log_of(&container)?;
                ensure!(!seen.contains("bin") && !seen.contains(fs::read_to_string("/etc/hostname")?.trim()), "{seen}");
            }
        }
        pod.driver.start(&spec(&world, "b", &["sleep", "1000"])?).await?;
        let hold = "for fd in /proc/self/fd/*; do case $(readlink $fd) in pipe*|/dev/null|/proc/*|'') ;; *) echo leak $fd $(readlink $fd);; esac; done";
        let seen = collect(pod.driver.exec("b", &command(&["sh", "-c", hold])).await?).await?.1;
        ensure!(seen.is_empty(), "{seen}");
        world.end().await
    })
}

/// CVE-2026-41579, CVE-2021-30465, CVE-2025-52565: links where mounts and devices go.
pub(crate) fn hostile_links() -> Result<()> {
    let world = World::new()?;
    let outside = world.folder.path().join("outside");
    fs::create_dir(&outside)?;
    block_on(async {
        let mut pod = Pod::new(&world).await?;
        for folder in ["dev", "proc", "sys"] {
            let lower = world.folder.path().join(format!("hostile-{folder}"));
            busybox(&lower)?;
            fs::remove_dir(lower.join(folder))?;
            symlink(&outside, lower.join(folder))?;
            let rootfs = world.rootfs_of(&format!("h{folder}"), &lower)?;
            let error = pod.driver.start(&ContainerSpec { rootfs, ..spec(&world, folder, &["true"])? }).await.err().context("an error")?;
            ensure!(error.kind == ErrorKind::Start && error.message.contains("must be a directory"), "{error:?}");
        }
        let lower = world.folder.path().join("hostile-mount");
        busybox(&lower)?;
        symlink(&outside, lower.join("data"))?;
        symlink("/../../../../../../etc", lower.join("up"))?;
        let source = world.folder.path().join("volume");
        fs::create_dir(&source)?;
        fs::write(source.join("mark"), "")?;
        let mount = |destination: &str| Mount { source: source.clone(), destination: destination.into(), ..Mount::default() };
        let script = "cat /up/passwd | head -1 && find / -name mark -maxdepth 12 2>/dev/null | head -1; ls -d /up/new";
        let container = ContainerSpec {
            rootfs: world.rootfs_of("hm", &lower)?,
            mounts: vec![mount("/data/deep"), mount("/up/new")],
            cwd: "/up".into(),
            ..spec(&world, "m", &["sh", "-c", script])?
        };
        let seen = pod.script_with(container).await?;
        ensure!(seen.starts_with("root:x:0"), "the container's own /etc: {seen}");
        ensure!(fs::read_dir(&outside)?.next().is_none() && !std::path::Path::new("/etc/new").exists());
        let proc = ContainerSpec { mounts: vec![mount("/proc/self")], ..spec(&world, "p", &["true"])? };
        let error = pod.driver.start(&proc).await.err().context("an error")?;
        ensure!(error.message.contains("inside /proc"), "{error}");
        world.end().await
    })
}

/// CVE-2017-1002101, CVE-2021-25741.
pub(crate) fn sub_path() -> Result<()> {
    let world = World::new()?;
    block_on(async {
        let pod = Pod::new(&world).await?;
        let volume = world.folder.path().join("volume");
        fs::create_dir(&volume)?;
        symlink("/etc", volume.join("absolute"))?;
        symlink("../../..", volume.join("relative"))?;
        for (at, bad) in ["absolute", "relative", "..", "absolute/passwd", "x/../../y"].into_iter().enumerate() {
            let mount = Mount {
                source: volume.clone(),
                destination: "/v".into(),
                sub_path: Some(bad.into()),
                create_sub_path: true,
                ..Mount::default()
            };
            let error = pod.driver.start(&ContainerSpec { mounts: vec![mount], ..spec(&world, &format!("s{at}"), &["true"])? }).await;
            let error = error.err().with_context(|| format!("{bad} was mounted"))?;
            ensure!(error.message.contains("sub path"), "{error}");
        }
        world.end().await
    })
}

/// CVE-2019-5736: what a container sees as `/proc/<pid>/exe` of ours cannot be written.
pub(crate) fn binary() -> Result<()> {
    let world = World::with(|_| Vec::new(), true)?;
    let keeper = world.control()?.status()?.pid;
    let exe = format!("/proc/{keeper}/exe");
    // Its mount says no, for good; "busy because it runs" would end with the process.
    ensure!(rustix::fs::statvfs(&exe)?.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY), "{exe} can be written");
    ensure!(fs::OpenOptions::new().append(true).open(&exe).is_err());
    ensure!(fs::read_link(format!("/proc/{keeper}/ns/mnt"))? != fs::read_link("/proc/self/ns/mnt")?);
    ensure!(!fs::read_to_string("/proc/self/mounts")?.contains(&*world.instance.run_dir().to_string_lossy()), "nothing shows on the host");
    world.end_keeper()
}

pub(crate) fn devices() -> Result<()> {
    let world = World::new()?;
    block_on(async {
        let mut pod = Pod::new(&world).await?;
        // The kernel's memory and a disk, made with CAP_MKNOD, which upstream grants.
        let script = "mknod /tmp/mem c 1 1 && ! head -c 1 /tmp/mem 2>/dev/null && mknod /tmp/disk b 254 0 && ! head -c 1 /tmp/disk 2>/dev/null \
            && mknod /tmp/null c 1 3 && echo fine > /tmp/null";
        pod.script(&world, "a", script).await?;
        pod.script(&world, "d", "mknod /tmp/loop c 10 237; ! (: < /tmp/loop) 2>/dev/null").await?;
        let given = ContainerSpec {
            devices: vec!["/dev/loop-control".into()],
            ..spec(&world, "b", &["sh", "-c", ": < /dev/loop-control && mknod /tmp/mem c 1 1 && ! head -c 1 /tmp/mem 2>/dev/null"])?
        };
        pod.script_with(given).await?;
        pod.driver.start(&spec(&world, "c", &["sleep", "1000"])?).await?;
        let (code, ..) =
            collect(pod.driver.exec("c", &command(&["sh", "-c", "mknod /tmp/mem c 1 1 && ! head -c 1 /tmp/mem 2>/dev/null"])).await?)
                .await?;
        ensure!(code == 0, "an exec is confined as its container is");
        world.end().await
    })
}

/// CVE-2022-29162: never inheritable, on start and on exec, for root and others.
pub(crate) fn capabilities() -> Result<()> {
    let world = World::new()?;
    block_on(async {
        let mut pod = Pod::new(&world).await?;
        let show = ["grep", "Cap", "/proc/self/status"];
        for (at, (uid, names, expected)) in [
            (0, vec![], ["0000000000000000"; 5]),
            (
                0,
                vec!["CHOWN".to_owned()],
                ["0000000000000000", "0000000000000001", "0000000000000001", "0000000000000001", "0000000000000000"],
            ),
            (
                7,
                vec!["CHOWN".to_owned()],
                ["0000000000000000", "0000000000000000", "0000000000000000", "0000000000000001", "0000000000000000"],
            ),
        ]
        .into_iter()
        .enumerate()
        {
            let container = |id: &str, argv: &[&str]| -> Result<ContainerSpec> {
                Ok(ContainerSpec { user: User { uid, ..User::default() }, capabilities: names.clone(), ..spec(&world, id, argv)? })
            };
            let values = |text: &str| text.lines().map(|line| line.rsplit('\t').next().unwrap_or("").to_owned()).collect::<Vec<_>>();
            let started = pod.script_with(container(&format!("a{at}"), &show)?).await?;
            ensure!(values(&started) == expected, "{uid}: {started}");
            let id = format!("b{at}");
            pod.driver.start(&container(&id, &["sleep", "1000"])?).await?;
            let (_, execed, _) = collect(pod.driver.exec(&id, &command(&show)).await?).await?;
            ensure!(values(&execed) == expected, "exec as {uid}: {execed}");
        }
        world.end().await
    })
}
