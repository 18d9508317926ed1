//! The commands: one file each, one row in [`Command`].

pub mod check;
pub mod down;
pub mod image;
pub mod kubeconfig;
pub mod logs;
pub mod reset;
pub mod status;
pub mod up;
pub mod version;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use env::Env;
use stdx::Instance;

use crate::{Failure, Host, Invocation, Kind};

/// A Kubernetes-compatible cluster in one binary.
#[derive(Debug, Parser)]
#[command(name = "corten", version, disable_help_subcommand = true)]
pub struct Cli {
    /// Which cluster on this machine; each has ports, addresses and state of its own
    #[arg(long, global = true, default_value = stdx::instance::DEFAULT, value_name = "NAME")]
    pub instance: String,
    /// Where its state lives [default: /var/lib/corten/<NAME>]
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Up(up::Args),
    Down(down::Args),
    Reset(reset::Args),
    Status(status::Args),
    Check(check::Args),
    Kubeconfig(kubeconfig::Args),
    #[command(subcommand)]
    Image(image::Args),
    Logs(logs::Args),
    Version(version::Args),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// What every command gets.
pub struct Context<'a> {
    pub instance: Instance,
    pub host: &'a dyn Host,
    pub invocation: &'a Invocation,
    pub env: Env,
}

impl Context<'_> {
    /// A failure where no keeper runs.
    pub fn require_running(&self) -> Result<crate::State, Failure> {
        self.host.state(&self.instance)?.ok_or_else(|| {
            let what = format!("the cluster {:?} is not running", self.instance.name);
            Failure::new(Kind::NotRunning, what).fix("start it with `corten up`")
        })
    }

    pub fn require_root(&self) -> Result<(), Failure> {
        if self.invocation.is_root {
            return Ok(());
        }
        Err(Failure::new(Kind::Machine, "this needs root: containers, networks and mounts are made by the kernel").fix("run it with sudo"))
    }
}

/// Runs one command; the process's exit code.
pub async fn run(cli: Cli, host: &dyn Host, invocation: &Invocation, env: Env) -> Result<u8, Failure> {
    let instance = Instance::new(&cli.instance, cli.root.as_deref()).map_err(|error| Failure::new(Kind::Usage, error))?;
    let cx = Context { instance, host, invocation, env };
    match cli.command {
        Command::Up(args) => up::run(&cx, args).await,
        Command::Down(args) => down::run(&cx, &args),
        Command::Reset(args) => reset::run(&cx, &args),
        Command::Status(args) => status::run(&cx, &args).await,
        Command::Check(args) => check::run(&cx, &args),
        Command::Kubeconfig(args) => kubeconfig::run(&cx, &args),
        Command::Image(args) => image::run(&cx, args).await,
        Command::Logs(args) => logs::run(&cx, &args),
        Command::Version(args) => version::run(&args),
    }
}
