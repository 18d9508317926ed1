//! `corten kubeconfig`: the way in, on standard output.

use super::Context;
use crate::{Failure, Kind, out};

/// Print a kubeconfig with every right
#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(cx: &Context<'_>, _args: &Args) -> Result<u8, Failure> {
    cx.require_root()?;
    let entry = cx.host.admin(&cx.instance)?.entry;
    let text = serde_saphyr::to_string(&entry.to_value()).map_err(|error| Failure::new(Kind::Other, error))?;
    out::line(text.trim_end());
    Ok(0)
}
