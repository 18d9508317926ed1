//! `corten down`: stop everything, keep the state.

use super::Context;
use crate::{Failure, out};

/// Stop the cluster and its containers; the state stays for the next `up`
#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(cx: &Context<'_>, _args: &Args) -> Result<u8, Failure> {
    cx.require_root()?;
    if cx.host.state(&cx.instance)?.is_none() {
        out::talk(format!("{} is not running", cx.instance.name));
    }
    // Also when it is not: a killed keeper may have left something.
    cx.host.stop(&cx.instance)?;
    out::talk(format!("{} is down; its state is in {}", cx.instance.name, cx.instance.root.display()));
    Ok(0)
}
