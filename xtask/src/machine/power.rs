//! x
use anyhow::Result;
use super::Bench;
#[derive(clap::Args, Clone, Default)]
pub(crate) struct Options {}
pub(super) fn run(_: &Bench, _: &Options, _: &mut dyn FnMut(&str)) -> Result<()> { Ok(()) }
