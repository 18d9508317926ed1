//! `cargo xtask machine`: what this machine's kernel cannot show, in guests of another one.
//!
//! QEMU boots Debian's kernel without hardware help, so it works inside any virtual machine. The guest's root is an initramfs
//! of busybox, our own static programs and the kernel's modules; the rest is `jobs/*.sh`. The kernel's package is fetched once
//! and unpacked below `target/machine`; nothing is installed. What cannot be had is named, and the guests are skipped.
//!
//! | guest | what it shows |
//! |---|---|
//! | `kernel-v2` | real-kernel cases and the drivers' own tests, cgroup version 2 alone |
//! | `kernel-v1` | the runtime's cases, cgroup version 1 alone |
//! | `hello-v2`, `hello-v1` | `corten up examples/hello`, `down`, `up`, `reset` with nothing but loopback |
//! | `clock` | a cluster whose wall clock is set a day ahead and back again |
//! | `power` | the store after power cuts (`power.rs`) |

mod cpio;
mod guest;
mod kernel;
mod power;
mod programs;
mod tools;

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use self::cpio::Archive;
use self::guest::{Boot, Guest, QEMU};
use self::kernel::Kernel;
pub(crate) use self::programs::Scope;
use crate::process::{output, program};

/// Everything of these guests, below the workspace.
const FOLDER: &str = "target/machine";
const DISK_BYTES: u64 = 2 << 30;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only guests whose name contains this
    only: Option<String>,
    /// Only the kernel cases and drivers' tests whose name contains this
    #[arg(long)]
    filter: Option<String>,
    #[command(flatten)]
    power: power::Options,
}

/// What one guest does.
enum Job {
    /// A script of `jobs`, and only the cases whose name contains the word.
    Script {
        name: &'static str,
        filter: &'static str,
    },
    Power,
}

struct Case {
    name: &'static str,
    /// `v2`, `v1` or `hybrid`.
    cgroups: &'static str,
    job: Job,
    /// For hangs; emulation is slow, and slower beside others.
    limit: Duration,
    /// Part of `cargo xtask test`: together they take minutes.
    in_test_run: bool,
}

const ALL: &[Case] = &[
    Case {
        name: "kernel-v2",
        cgroups: "v2",
        job: Job::Script { name: "kernel", filter: "" },
        limit: Duration::from_secs(600),
        in_test_run: true,
    },
    Case {
        name: "kernel-v1",
        cgroups: "v1",
        job: Job::Script { name: "kernel", filter: "runtime::" },
        limit: Duration::from_secs(300),
        in_test_run: false,
    },
    Case {
        name: "hello-v2",
        cgroups: "v2",
        job: Job::Script { name: "hello", filter: "" },
        limit: Duration::from_secs(300),
        in_test_run: true,
    },
    Case {
        name: "hello-v1",
        cgroups: "v1",
        job: Job::Script { name: "hello", filter: "" },
        limit: Duration::from_secs(300),
        in_test_run: false,
    },
    Case {
        name: "clock",
        cgroups: "v2",
        job: Job::Script { name: "clock", filter: "" },
        limit: Duration::from_secs(480),
        in_test_run: false,
    },
    Case { name: "power", cgroups: "v2", job: Job::Power, limit: Duration::from_secs(300), in_test_run: true },
];

const JOBS: &[(&str, &str)] = &[
    ("kernel", include_str!("machine/jobs/kernel.sh")),
    ("hello", concat!(include_str!("machine/jobs/cluster.sh"), include_str!("machine/jobs/hello.sh"))),
    ("clock", concat!(include_str!("machine/jobs/cluster.sh"), include_str!("machine/jobs/clock.sh"))),
    ("power", include_str!("machine/jobs/power.sh")),
];

/// Programs of this machine that the drivers' tests drive, where they exist.
const TOOLS: &[&str] = &["ip", "nft"];

/// Why the guests cannot run here at all.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Skip(String);

#[expect(clippy::print_stdout, reason = "a command's result")]
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let failed = guests(arguments, Scope::Developer, &mut |line| println!("{line}"))?;
    if !failed.is_empty() {
        bail!("failed: {}; the kernels' messages are in {FOLDER}", failed.join(", "));
    }
    Ok(())
}

/// The guests of cgroup version 2 and of power cuts as one world of `cargo xtask test`; true when nothing failed. The lines carry
/// the counts.
pub(crate) fn world(tell: &mut dyn FnMut(&str)) -> Result<bool> {
    let arguments = Arguments { only: None, filter: None, power: power::Options::short() };
    match guests(&arguments, Scope::TestRun, tell) {
        Ok(failed) => Ok(failed.is_empty()),
        Err(error) => match error.downcast_ref::<Skip>() {
            Some(skip) => {
                tell(&format!("skip  no guest runs: {skip}"));
                tell("0 passed, 0 failed, 1 skipped");
                Ok(true)
            }
            None => Err(error),
        },
    }
}

/// Runs the chosen guests and names those that failed.
#[expect(clippy::disallowed_methods, reason = "a developer's command times itself for a person")]
fn guests(arguments: &Arguments, scope: Scope, tell: &mut dyn FnMut(&str)) -> Result<Vec<&'static str>> {
    let wanted = |case: &&Case| match &arguments.only {
        Some(word) => case.name.contains(word.as_str()),
        None => scope == Scope::Developer || case.in_test_run,
    };
    let chosen: Vec<&Case> = ALL.iter().filter(wanted).collect();
    if chosen.is_empty() {
        bail!("no guest of that name; there are {}", ALL.iter().map(|case| case.name).collect::<Vec<_>>().join(", "));
    }
    let bench = Bench::new(scope)?;
    let mut failed = Vec::new();
    for case in chosen {
        let begun = Instant::now();
        tell(&format!("-- guest {}", case.name));
        let outcome: Result<bool> = match &case.job {
            Job::Script { name, filter } => bench.script(case, name, arguments.filter.as_deref().unwrap_or(filter), tell),
            Job::Power => power::run(&bench, &arguments.power, tell),
        };
        if !matches!(outcome, Ok(true)) {
            failed.push(case.name);
        }
        if let Err(error) = outcome {
            tell(&format!("FAIL  guest {}: {error:#}", case.name));
            tell("0 passed, 1 failed");
        }
        tell(&format!("-- guest {} took {:.0} s", case.name, begun.elapsed().as_secs_f64()));
    }
    Ok(failed)
}

/// What all guests share.
struct Bench {
    kernel: Kernel,
    initramfs: PathBuf,
    /// Where the kernels' messages stay.
    folder: PathBuf,
    /// Archives and disks of this run.
    work: tempfile::TempDir,
}

impl Bench {
    fn new(scope: Scope) -> Result<Self> {
        check_tools()?;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace is above xtask")?.join(FOLDER);
        let kernel = Kernel::ensure(&folder).map_err(|error| Skip(format!("{error:#}")))?;
        let work = tempfile::tempdir_in(&folder)?;
        let initramfs = work.path().join("initramfs");
        write_initramfs(&kernel, scope, &folder, &initramfs)?;
        Ok(Self { kernel, initramfs, folder, work })
    }

    /// Boots a guest for one script, with an empty disk of its own at `/var`. False when the script said that something failed.
    fn script(&self, case: &Case, job: &str, filter: &str, tell: &mut dyn FnMut(&str)) -> Result<bool> {
        let disk = self.work.path().join("var.disk");
        new_disk(&disk, DISK_BYTES, DISK_BYTES)?;
        let words = vec![format!("corten.cgroups={}", case.cgroups), format!("corten.job={job}"), format!("corten.filter={filter}")];
        let guest = self.boot(case.name, words, vec![raw_disk(0, &disk)], case.limit)?;
        let status = guest.finish(|line| tell(line))?;
        std::fs::remove_file(&disk)?;
        Ok(status == 0)
    }

    fn boot(&self, name: &str, words: Vec<String>, disks: Vec<String>, limit: Duration) -> Result<Guest> {
        let log = self.folder.join(format!("{name}.kernel-log"));
        Guest::start(Boot { kernel: &self.kernel.image, initramfs: &self.initramfs, words, disks, log, limit })
    }
}

/// A value of `-blockdev`.
fn raw_disk(at: usize, path: &Path) -> String {
    format!("driver=raw,node-name=disk{at},file.driver=file,file.filename={}", path.display())
}

/// A sparse file of `bytes` with an ext4 in its first `used`.
fn new_disk(path: &Path, used: u64, bytes: u64) -> Result<()> {
    let file = File::create(path).with_context(|| path.display().to_string())?;
    file.set_len(bytes)?;
    let blocks = (used / 4096).to_string();
    let name = path.to_str().with_context(|| format!("{}: not UTF-8", path.display()))?;
    output(program("mke2fs", &["-q", "-F", "-t", "ext4", "-b", "4096", name, &blocks]), Duration::from_secs(60)).map(|_| ())
}

fn check_tools() -> Result<()> {
    if !cfg!(target_arch = "x86_64") {
        return Err(Skip("guests are x86-64 so far".into()).into());
    }
    let tools = [
        (QEMU, "qemu-system-x86"),
        ("busybox", "busybox-static"),
        ("mke2fs", "e2fsprogs"),
        ("setpriv", "util-linux"),
        ("strip", "binutils"),
        ("dpkg-deb", "dpkg"),
    ];
    let missing = tools.iter().find(|(tool, _)| find(tool).is_none());
    missing.map_or(Ok(()), |(tool, package)| Err(Skip(format!("there is no {tool} (Debian package {package})")).into()))
}

fn find(tool: &str) -> Option<PathBuf> {
    let places = std::env::var_os("PATH")?;
    std::env::split_paths(&places).chain(["/usr/sbin".into(), "/sbin".into()]).map(|place| place.join(tool)).find(|path| path.exists())
}

fn write_initramfs(kernel: &Kernel, scope: Scope, folder: &Path, to: &Path) -> Result<()> {
    let programs = programs::build(scope, &folder.join("programs"))?;
    let busybox = find("busybox").context("busybox was there")?;
    let mut archive = Archive::new(BufWriter::new(File::create(to).with_context(|| to.display().to_string())?));
    for folder in [
        "bin",
        "sbin",
        "dev",
        "etc",
        "jobs",
        "examples",
        "examples/hello",
        "lib",
        "proc",
        "programs",
        "root",
        "run",
        "sys",
        "tmp",
        "usr",
        "usr/bin",
        "usr/sbin",
        "var",
        "var/lib",
    ] {
        archive.folder(folder)?;
    }
    archive.device("dev/console", (5, 1))?;
    archive.bytes("init", include_bytes!("machine/init.sh"))?;
    archive.bytes("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")?;
    archive.bytes("etc/group", b"root:x:0:\nnogroup:x:65534:\n")?;
    archive.bytes("etc/hostname", b"guest\n")?;
    archive.bytes("etc/hosts", b"127.0.0.1 localhost guest\n")?;
    archive.file("bin/busybox", &busybox)?;
    for applet in output(program("busybox", &["--list"]), Duration::from_secs(10))?.lines().filter(|applet| *applet != "busybox") {
        archive.link(&format!("bin/{applet}"), "busybox")?;
    }
    // The kernel asks for this one by its path.
    archive.link("sbin/modprobe", "../bin/busybox")?;
    tools::add(&mut archive, TOOLS)?;
    for (name, job) in JOBS {
        archive.bytes(&format!("jobs/{name}.sh"), job.as_bytes())?;
    }
    for (name, path) in &programs {
        archive.file(&format!("programs/{name}"), path)?;
    }
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hello");
    for entry in std::fs::read_dir(&examples).with_context(|| examples.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("names of examples are ASCII")?;
        archive.file(&format!("examples/hello/{name}"), &path)?;
    }
    kernel.add_modules(&mut archive)?;
    archive.finish().map(|_| ())
}
