//! The processes that the binary can be, beside a command: `corten keeper`, `control`, `node`, `hello`.

use std::path::PathBuf;
use std::process::ExitCode;

use keeper::{ChildSpec, KeeperConfig};
use rustix::process::{Resource, getrlimit, setrlimit};
use stdx::Instance;

use crate::{control, hello, logging, node};

/// Uid and gid of `control`: nobody else's on a usual machine, and no account needs to exist for it.
pub(crate) const CONTROL_USER: (u32, u32) = (64_042, 64_042);

#[derive(Debug)]
pub(crate) enum Role {
    Keeper { instance: Instance, detach: bool },
    Control { instance: Instance },
    Node { instance: Instance },
    Hello,
}

impl Role {
    /// None: argv is a person's command.
    pub(crate) fn parse(argv: &[String]) -> Option<Result<Self, String>> {
        let make: fn(Instance, bool) -> Self = match argv.get(1)?.as_str() {
            "keeper" => |instance, detach| Self::Keeper { instance, detach },
            "control" => |instance, _| Self::Control { instance },
            "node" => |instance, _| Self::Node { instance },
            "hello" => return Some(Ok(Self::Hello)),
            _ => return None,
        };
        Some(arguments(&argv[2..]).map(|(instance, detach)| make(instance, detach)))
    }

    pub(crate) fn run(self, argv: &[String]) -> ExitCode {
        match self {
            Self::Keeper { instance, detach } => {
                let code = keeper::run(keeper_config(instance, argv, detach));
                ExitCode::from(u8::try_from(code).unwrap_or(1))
            }
            Self::Control { instance } => process("control", control::run(instance)),
            Self::Node { instance } => process("node", node::run(instance)),
            Self::Hello => hello::run(),
        }
    }
}

/// `--instance NAME --root DIR [--detach]`
fn arguments(words: &[String]) -> Result<(Instance, bool), String> {
    let (mut name, mut root, mut detach) = (stdx::instance::DEFAULT.to_owned(), None, false);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().cloned().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--instance" => name = value()?,
            "--root" => root = Some(PathBuf::from(value()?)),
            "--detach" => detach = true,
            other => return Err(format!("unknown argument {other:?}")),
        }
    }
    Ok((Instance::new(&name, root.as_deref()).map_err(|error| error.to_string())?, detach))
}

/// The copy that runs: in a place that every uid of ours reaches, and that a later build does not change under us.
pub(crate) fn program(instance: &Instance) -> PathBuf {
    instance.root.join("bin/corten")
}

/// The command line of a role.
pub(crate) fn command_line(role: &str, instance: &Instance) -> Vec<String> {
    [&*program(instance).to_string_lossy(), role, "--instance", &instance.name, "--root", &instance.root.to_string_lossy()]
        .map(str::to_owned)
        .to_vec()
}

pub(crate) fn keeper_config(instance: Instance, argv: &[String], detach: bool) -> KeeperConfig {
    let child = |name: &str, user: Option<(u32, u32)>| ChildSpec {
        name: name.into(),
        argv: command_line(name, &instance),
        user,
        drop_capabilities: user.is_some(),
        env: environment(),
        log: instance.log_dir().join(format!("{name}.log")),
    };
    let mut argv = argv.to_vec();
    // A replacement is detached from whoever starts it.
    if !argv.iter().any(|word| word == "--detach") {
        argv.push("--detach".into());
    }
    argv[0].clone_from(&command_line("keeper", &instance)[0]);
    let children = vec![child("control", Some(CONTROL_USER)), child("node", None)];
    KeeperConfig { children, argv, env: environment(), detach, own_mounts: true, instance }
}

/// What our processes see of an environment: nothing of the caller's but the wish for more log lines.
#[expect(clippy::disallowed_methods, reason = "the environment is read in bin/corten alone")]
pub(crate) fn environment() -> Vec<(String, String)> {
    let path = ("PATH".to_owned(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    let log = std::env::var("CORTEN_LOG").ok().map(|filter| ("CORTEN_LOG".to_owned(), filter));
    std::iter::once(path).chain(log).collect()
}

/// Connections, pipes and logs are many, and the usual limit of 1,024 descriptors is meant for programs that use `select`. Containers
/// keep the usual one: they are children of the keeper.
fn take_descriptors() {
    const MOST: u64 = 1 << 20;
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(limit.maximum.unwrap_or(MOST).min(MOST));
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of descriptors stays as it is");
    }
}

/// Runs a long-lived process until SIGTERM; a failure is its last log line and exit code 1, and the keeper starts it anew.
fn process(name: &'static str, run: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    logging::start();
    take_descriptors();
    // Two workers do for every machine size so far: the work is I/O, and each worker costs memory.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .thread_stack_size(1 << 20)
        .enable_all()
        .build();
    let outcome = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{name} failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
