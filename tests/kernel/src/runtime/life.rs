//! From start to exit, and everything a container can be given.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use contract::{ContainerSpec, ErrorKind, ExecSpec, Mount, Runtime, SandboxSpec, Seccomp, Stdio, Terminal, User};

use super::{POD, Pod, collect, command, log_of, spec};
use crate::world::{World, block_on};

pub(crate) fn runs_logs_and_exits() -> Result<()> {
    let world = World::new()?;
    block_on(async {
        let mut pod = Pod::new(&world).await?;
        let (exit, log) = pod.run(spec(&world, "a", &["sh", "-c", "echo one; echo two >&2; printf three; exit 3"])?).await?;
        ensure!((exit.code, exit.signal, exit.oom_killed, exit.unknown) == (3, None, false, false), "{exit:?}");
        let mut lines: Vec<_> = log.lines().collect();
        lines.sort_unstable();
        ensure!(lines == ["stderr F two", "stdout F one", "stdout P three"], "{log}");
        let states = pod.driver.observe().await?;
        ensure!(states.len() == 1 && states[0].exit.as_ref() == Some(&exit) && states[0].labels["who"] == "a", "{states:?}");
        pod.driver.remove("a").await?;
        ensure!(pod.driver.observe().await?.is_empty());
        let (exit, _) = pod.run(spec(&world, "b", &["sh", "-c", "kill -TERM $$"])?).await?;
        // A PID namespace's init ignores what it has no handler for, and goes on to its end.
        ensure!(exit.code == 0, "{exit:?}");
        pod.driver.remove_sandbox(POD).await?;
        pod.driver.remove_sandbox(POD).await?;
        ensure!(pod.driver.sandboxes().await?.is_empty());
        world.end().await
    })
}

pub(crate) fn exec_joins_and_answers() -> Result<()> {
    let world = World::new()?;
    block_on(async {
        let pod = Pod::new(&world).await?;
        let main = ContainerSpec { env: vec![("A".into(), "1".into())], cwd: "/tmp".into(), ..spec(&world, "a", &["sleep", "1000"])? };
        pod.driver.start(&main).await?;
        let run = |argv: &'static [&'static str]| async { collect(pod.driver.exec("a", &command(argv)).await?).await };
        ensure!(run(&["sh", "-c", "echo $A $HOME; pwd; echo bad >&2; exit 7"]).await? == (7, "1 /root\n/tmp\n".into(), "bad\n".into()));
        ensure!(run(&["cat", "/proc/1/comm"]).await?.1 == "sleep\n");
        ensure!(run(&["cat", "/proc/self/cgroup"]).await?.1.contains(":/\n"), "the cgroup namespace is the container's");
        let fds = run(&["sh", "-c", "echo /proc/self/fd/*"]).await?.1;
        ensure!(fds.split_whitespace().count() == 4, "only the standard streams (and the listing's own): {fds}");

        let exec = pod.driver.exec("a", &ExecSpec { stdin: true, ..command(&["cat"]) }).await?;
        let stdin = exec.streams.stdin.clone().context("standard input")?;
        stdin.send(Bytes::from_static(b"through")).await?;
        drop(stdin);
        ensure!(collect(exec).await? == (0, "through".into(), String::new()));

        let missing = pod.driver.exec("a", &command(&["no-such"])).await.err().context("an error")?;
        ensure!(
            missing.kind == ErrorKind::Start && missing.message == r#"exec: "no-such": executable file not found in $PATH"#,
            "{missing}"
        );

        let exec = pod.driver.exec("a", &command(&["sh", "-c", "echo $$; exec sleep 1000"])).await?;
        let contract::Exec { mut streams, exit } = exec;
        let pid = String::from_utf8(streams.stdout.recv().await.context("a pid")?.to_vec())?;
        drop(exit);
        // The stream ends when the process does.
        ensure!(streams.stdout.recv().await.is_none());
        let gone = format!("test ! -e /proc/{}", pid.trim());
        ensure!(collect(pod.driver.exec("a", &command(&["sh", "-c", &gone])).await?).await?.0 == 0, "dropping an exec kills it");

        pod.driver.kill("a").await?;
        pod.driver.remove_sandbox(POD).await?;
        ensure!(pod.driver.exec("a", &command(&["true"])).await.is_err());
        world.end().await
    })
}

pub(crate) fn start_errors() -> Result<()> {
    let world = World::new()?;
    block_on(async {
        let pod = Pod::new(&world).await?;
        for (at, (argv, expected)) in [
            ("nope", r#"exec: "nope": executable file not found in $PATH"#),
            ("/nope", r#"exec: "/nope": stat /nope: no such file or directory"#),
            ("/not-executable", r#"exec: "/not-executable": permission denied"#),
            ("/no-interpreter", "exec /no-interpreter: no such file or directory"),
            ("/garbage", "exec /garbage: exec format error"),
        ]
        .into_iter()
        .enumerate()
        {
            let error = pod.driver.start(&spec(&world, &format!("e{at}"), &[argv])?).await.err().context("an error")?;
            ensure!(error.kind == ErrorKind::Start && error.message == expected, "{argv}: {error:?}");
        }
        let user = ContainerSpec { user_name: Some("ghost".into()), ..spec(&world, "u", &["true"])? };
        let error = pod.driver.start(&user).await.err().context("an error")?;
        ensure!(error.message.contains("unable to find user ghost"), "{error}");
        let lost = ContainerSpec { pod_uid: "none".into(), ..spec(&world, "l", &["true"])? };
        ensure!(pod.driver.start(&lost).await.is_err_and(|error| error.kind == ErrorKind::NotFound));
        ensure!(pod.driver.observe().await?.is_empty(), "a failed start leaves nothing to remove");
        ensure!(pod.driver.signal("zzz", 15).await.is_err_and(|error| error.kind == ErrorKind::NotFound));
        pod.driver.remove("zzz").await?;
        world.end().await
    })
}

pub(crate) fn confined() -> Result<()> {
    let world = World::new()?;
    block_on(async {
        let mut pod = Pod::new(&world).await?;
        let status = pod.script(&world, "a", "grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status").await?;
        for line in [
            "CapInh:\t0000000000000000",
            "CapBnd:\t00000000a80425fb",
            "CapEff:\t00000000a80425fb",
            "CapAmb:\t0000000000000000",
            "NoNewPrivs:\t0",
            "Seccomp:\t2",
        ] {
            ensure!(status.contains(line), "{line} in\n{status}");
        }
        let unprivileged =
            ContainerSpec { allow_privilege_escalation: false, ..spec(&world, "b", &["grep", "NoNewPrivs", "/proc/self/status"])? };
        ensure!(pod.script_with(unprivileged).await?.trim() == "NoNewPrivs:\t1");
        let open = ContainerSpec { seccomp: Seccomp::Unconfined, ..spec(&world, "c", &["grep", "Seccomp:", "/proc/self/status"])? };
        ensure!(pod.script_with(open).await?.trim() == "Seccomp:\t0");

        let seen = pod.script(&world, "d", "echo $$ $(ls /proc | grep -c '^[0-9]*$'); hostname; cat /proc/keys | wc -c; ls /sys/firmware | wc -l; ls / | wc -l; ls /sys/class/net").await?;
        let lines: Vec<_> = seen.lines().collect();
        ensure!(lines[0].starts_with("1 "), "first process: {seen}");
        ensure!(lines[1..] == ["test", "0", "0", "12", "lo"] || lines[1..4] == ["test", "0", "0"], "{seen}");
        for refused in [
            "echo 1 > /proc/sys/kernel/panic",
            "echo b > /proc/sysrq-trigger",
            "mount -t tmpfs x /tmp",
            "echo x > /sys/kernel/profiling",
            "mkdir /sys/fs/cgroup/memory/x",
        ] {
            pod.script(&world, &format!("r{}", refused.len()), &format!("! ({refused}) 2>/dev/null"))
                .await
                .with_context(|| format!("{refused} was possible"))?;
        }
        let works = "echo x > /dev/null && head -c 4 /dev/zero | wc -c && head -c 4 /dev/urandom | wc -c && echo out > /dev/stdout && touch /dev/shm/x && ls -l /dev/fd /dev/ptmx >/dev/null && ls /dev/mqueue /dev/pts";
        ensure!(pod.script(&world, "e", works).await?.starts_with("4\n4\nout\n"));
        pod.script(&world, "f", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes || cat /sys/fs/cgroup/memory.current").await?;
        world.end().await
    })
}

pub(crate) fn user_and_folders() -> Result<()> {
    let world = World::new()?;
    block_on(async {
        let mut pod = Pod::new(&world).await?;
        let script = "id -u; id -g; id -G; pwd; umask; echo $HOME; grep CapEff /proc/self/status; echo again > /dev/stdout";
        let web = ContainerSpec {
            user_name: Some("web".into()),
            cwd: "/made/on/the/way".into(),
            user: User { umask: Some(0o77), ..User::default() },
            ..spec(&world, "a", &["sh", "-c", script])?
        };
        let text = pod.script_with(web).await?;
        ensure!(text == "33\n34\n34 50\n/made/on/the/way\n0077\n/home/web\nCapEff:\t0000000000000000\nagain\n", "{text}");
        let numbers = ContainerSpec {
            user: User { uid: 1000, gid: 1001, additional_gids: vec![7], umask: None },
            ..spec(&world, "b", &["sh", "-c", "id -u; id -g; id -G; umask; ! touch /x 2>/dev/null; touch /tmp/x"])?
        };
        ensure!(pod.script_with(numbers).await? == "1000\n1001\n1001 7\n0022\n");
        let sealed =
            ContainerSpec { read_only_root: true, ..spec(&world, "c", &["sh", "-c", "! touch /x 2>/dev/null; touch /dev/shm/x"])? };
        pod.script_with(sealed).await?;
        world.end().await
    })
}

pub(crate) fn privileged() -> Result<()> {
    let world = World::new()?;
    block_on(async {
        let mut pod = Pod::new(&world).await?;
        let script = "mount -t tmpfs x /tmp && grep Seccomp: /proc/self/status && ls /dev/loop-control /dev/kmsg >/dev/null && touch /sys/fs/cgroup/*/notify_on_release 2>/dev/null; mkdir /sys/fs/cgroup/*/test-probe 2>/dev/null; true";
        let spec = ContainerSpec {
            privileged: true,
            ..spec(&world, "a", &["sh", "-c", &script.replace("mkdir /sys/fs/cgroup/*/test-probe 2>/dev/null; ", "")])?
        };
        ensure!(pod.script_with(spec).await?.contains("Seccomp:\t0"));
        world.end().await
    })
}

pub(crate) fn mounts() -> Result<()> {
    let world = World::new()?;
    block_on(async {
        let mut pod = Pod::new(&world).await?;
        let volume = world.folder.path().join("volume");
        fs::create_dir_all(volume.join("inner"))?;
        fs::write(volume.join("file"), "from the host")?;
        fs::write(volume.join("inner/file"), "deeper")?;
        let bind = |sub: Option<&str>, destination: &str, read_only| Mount {
            source: volume.clone(),
            destination: destination.into(),
            read_only,
            sub_path: sub.map(Into::into),
            create_sub_path: true,
            ..Mount::default()
        };
        let log = world.folder.path().join("termination");
        fs::write(&log, "")?;
        let script =
            "cat /v/file /v/single /v/inner/file /one; ! touch /v/new 2>/dev/null; touch /made/here; echo bye > /dev/termination-log";
        let container = ContainerSpec {
            mounts: vec![
                bind(Some("inner"), "/v/inner", true),
                bind(Some("file"), "/v/single", true),
                bind(None, "/v", true),
                bind(Some("new/sub"), "/made", false),
                bind(Some("file"), "/one", false),
            ],
            termination_log: Some(("/dev/termination-log".into(), log.clone())),
            ..spec(&world, "a", &["sh", "-c", script])?
        };
        fs::write(volume.join("single"), "")?;
        ensure!(pod.script_with(container).await?.contains("from the hostfrom the hostdeeperfrom the host"));
        ensure!(fs::read_to_string(&log)? == "bye\n" && volume.join("new/sub/here").exists());
        let wrong = ContainerSpec { mounts: vec![bind(None, "/etc/passwd", false)], ..spec(&world, "b", &["true"])? };
        let error = pod.driver.start(&wrong).await.err().context("an error")?;
        ensure!(error.message.contains("/etc/passwd") && error.message.contains("directory"), "{error}");
        let gone = ContainerSpec {
            mounts: vec![Mount { source: "/no/such".into(), destination: "/x".into(), ..Mount::default() }],
            ..spec(&world, "c", &["true"])?
        };
        let error = pod.driver.start(&gone).await.err().context("an error")?;
        ensure!(error.message.contains("/no/such"), "{error}");
        world.end().await
    })
}

pub(crate) fn terminal() -> Result<()> {
    let world = World::new()?;
    block_on(async {
        let mut pod = Pod::new(&world).await?;
        let tty = Stdio { tty: true, stdin: true, log_path: world.folder.path().join("log/a.log"), ..Stdio::default() };
        let container = ContainerSpec {
            stdio: tty,
            ..spec(
                &world,
                "a",
                &["sh", "-c", "read word; echo got $word; test -t 0 && test -e /dev/console && echo $TERM; read word; stty size"],
            )?
        };
        pod.driver.start(&container).await?;
        let streams = pod.driver.attach("a").await?;
        let (stdin, mut stdout, resize) = (streams.stdin.context("input")?, streams.stdout, streams.resize.context("resize")?);
        resize.send(Terminal { columns: 91, rows: 33 }).await?;
        stdin.send(Bytes::from_static(b"word\n")).await?;
        let mut seen = String::new();
        while !seen.contains("xterm") {
            seen += &String::from_utf8_lossy(&stdout.recv().await.context("output")?);
        }
        stdin.send(Bytes::from_static(b"\n")).await?;
        while let Some(chunk) = stdout.recv().await {
            seen += &String::from_utf8_lossy(&chunk);
        }
        ensure!(seen.contains("got word") && seen.contains("33 91"), "{seen}");
        ensure!(pod.next_exit().await?.code == 0);
        ensure!(log_of(&container)?.contains("got word"));

        pod.driver.start(&spec(&world, "b", &["sleep", "1000"])?).await?;
        let exec = pod
            .driver
            .exec("b", &ExecSpec { tty: true, stdin: true, ..command(&["sh", "-c", "tty || readlink /proc/self/fd/0; exit 4"]) })
            .await?;
        let (code, out, _) = collect(exec).await?;
        ensure!(code == 4 && out.contains("/dev/pts/"), "{code} {out}");
        world.end().await
    })
}

pub(crate) fn stdin_once() -> Result<()> {
    let world = World::new()?;
    block_on(async {
        let mut pod = Pod::new(&world).await?;
        let stdio = Stdio { stdin: true, stdin_once: true, log_path: world.folder.path().join("log/a.log"), ..Stdio::default() };
        let container = ContainerSpec { stdio, ..spec(&world, "a", &["cat"])? };
        pod.driver.start(&container).await?;
        let mut streams = pod.driver.attach("a").await?;
        let stdin = streams.stdin.take().context("input")?;
        stdin.send(Bytes::from_static(b"to the end\n")).await?;
        ensure!(streams.stdout.recv().await.is_some_and(|chunk| chunk == "to the end\n"));
        drop(stdin);
        ensure!(pod.next_exit().await?.code == 0, "the end of input ends cat");
        ensure!(streams.stdout.recv().await.is_none());
        world.end().await
    })
}

pub(crate) fn logs_rotate() -> Result<()> {
    let world = World::new()?;
    block_on(async {
        let mut pod = Pod::new(&world).await?;
        let stdio = Stdio { stdin: true, stdin_once: true, log_path: world.folder.path().join("log/a.log"), ..Stdio::default() };
        let container = ContainerSpec { stdio, ..spec(&world, "a", &["cat"])? };
        pod.driver.start(&container).await?;
        let mut streams = pod.driver.attach("a").await?;
        let stdin = streams.stdin.take().context("input")?;
        let mut say = async |word: &'static str| -> Result<()> {
            stdin.send(Bytes::from_static(word.as_bytes())).await?;
            streams.stdout.recv().await.context("an echo")?;
            Ok(())
        };
        say("old\n").await?;
        let rotated = container.stdio.log_path.with_extension("1");
        fs::rename(&container.stdio.log_path, &rotated)?;
        pod.driver.reopen_log("a").await?;
        say("new\n").await?;
        drop(stdin);
        pod.next_exit().await?;
        ensure!(log_of(&container)? == "stdout F new\n" && fs::read_to_string(rotated)?.ends_with("stdout F old\n"));
        world.end().await
    })
}

pub(crate) fn namespaces() -> Result<()> {
    let world = World::new()?;
    block_on(async {
        let shared = SandboxSpec {
            share_pid: true,
            sysctls: [("net.ipv4.ip_unprivileged_port_start".into(), "80".into())].into(),
            ..SandboxSpec::default()
        };
        let mut pod = Pod::with(&world, shared).await?;
        pod.driver.start(&spec(&world, "a", &["sleep", "1234"])?).await?;
        let script =
            "ps | grep -v grep | grep -c 'sleep 1234'; echo $$; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; touch /dev/shm/mark";
        let seen = pod.script(&world, "b", script).await?;
        let lines: Vec<_> = seen.lines().collect();
        ensure!(lines[0] == "1" && lines[1] != "1" && lines[2] == "80", "{seen}");
        ensure!(collect(pod.driver.exec("a", &command(&["ls", "/dev/shm"])).await?).await?.1 == "mark\n", "one /dev/shm per pod");
        ensure!(
            collect(pod.driver.exec("a", &command(&["sh", "-c", "! ls /proc/1/root/ 2>/dev/null"])).await?).await?.0 == 0,
            "the pause shows nothing of the host"
        );
        pod.driver.kill("a").await?;
        ensure!(pod.next_exit().await?.code == 137);
        pod.driver.remove_sandbox(POD).await?;

        let mut pod = Pod::new(&world).await?;
        pod.driver.start(&spec(&world, "target", &["sleep", "4321"])?).await?;
        let beside =
            |id, argv: &[&str]| Ok::<_, anyhow::Error>(ContainerSpec { pid_target: Some("target".into()), ..spec(&world, id, argv)? });
        let seen =
            pod.script_with(beside("doctor", &["sh", "-c", "ps | grep -c '[s]leep 4321'; ps | wc -l; ls /proc/1/root/bin"])?).await?;
        let lines: Vec<_> = seen.lines().collect();
        ensure!(lines[0] == "1" && lines[1].trim().parse::<u32>()? < 10, "the target's processes and no others: {seen}");
        pod.driver.kill("target").await?;
        pod.next_exit().await?;
        let late = pod.driver.start(&beside("late", &["true"])?).await.err().context("a target that has ended")?;
        ensure!(late.to_string().contains("target container target is not running"), "{late}");
        pod.driver.remove_sandbox(POD).await?;

        let host = SandboxSpec { pod_uid: "host".into(), host_network: true, host_pid: true, host_ipc: true, ..SandboxSpec::default() };
        let sandbox = pod.driver.ensure_sandbox(&host).await?;
        ensure!(sandbox.netns.is_none());
        let container = ContainerSpec {
            pod_uid: "host".into(),
            ..spec(&world, "c", &["sh", "-c", "for kind in pid net uts; do readlink /proc/self/ns/$kind; done; sleep 77777 & echo left"])?
        };
        let seen = pod.script_with(container).await?;
        for kind in ["pid", "net", "uts"] {
            let ours = fs::read_link(format!("/proc/self/ns/{kind}"))?;
            ensure!(seen.contains(&*ours.to_string_lossy()), "{kind} of the host in {seen}");
        }
        ensure!(
            !fs::read_dir("/proc")?
                .filter_map(std::result::Result::ok)
                .any(|process| fs::read(process.path().join("cmdline")).is_ok_and(|line| line.starts_with(b"sleep\x0077777"))),
            "what it left behind is killed"
        );
        tokio::time::timeout(Duration::from_secs(5), pod.driver.remove_sandbox("host")).await??;
        world.end().await
    })
}
