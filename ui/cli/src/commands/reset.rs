//! `corten reset`: as if it had never been.

use std::io::{BufRead, IsTerminal};

use super::Context;
use crate::{Failure, Kind, kubeconfig, out};

/// Stop the cluster and remove everything that it ever made
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

pub fn run(cx: &Context<'_>, args: &Args) -> Result<u8, Failure> {
    cx.require_root()?;
    if !args.yes && !confirmed(cx)? {
        out::talk("nothing was removed");
        return Ok(1);
    }
    let mut removed = cx.host.reset(&cx.instance)?;
    if let Some(path) = kubeconfig::remove(cx.invocation, &cx.instance.name)? {
        removed.push(format!("context {} in {}", cx.instance.name, path.display()));
    }
    removed.iter().for_each(|what| out::line(format!("removed {what}")));
    if removed.is_empty() {
        out::talk("there was nothing to remove");
    }
    Ok(0)
}

fn confirmed(cx: &Context<'_>) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(Kind::Usage, "reset removes all state and nobody can be asked here").fix("say --yes"));
    }
    out::talk(format!(
        "This removes the cluster {:?} with everything in {}. Type its name to go on:",
        cx.instance.name,
        cx.instance.root.display()
    ));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(|error| Failure::new(Kind::Other, error))?;
    Ok(answer.trim() == cx.instance.name)
}
