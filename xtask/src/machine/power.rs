//! x
use super::Bench;
use anyhow::Result;
#[derive(clap::Args, Clone, Default)]
pub(crate) struct Options {}
pub(super) fn run(_: &Bench, _: &Options, _: &mut dyn FnMut(&str)) -> Result<()> {
    Ok(())
}
