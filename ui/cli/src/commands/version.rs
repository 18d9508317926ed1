//! `corten version`.

use schema::json;

use super::Output;
use crate::{Failure, out};

/// The Kubernetes release whose API this build serves.
pub const KUBERNETES: &str = "v1.37.0";

/// Print the version
#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

pub fn run(args: &Args) -> Result<u8, Failure> {
    let corten = env!("CARGO_PKG_VERSION");
    match args.output {
        Output::Json => out::line(json!({"corten": corten, "kubernetes": KUBERNETES})),
        Output::Text => out::line(format!("corten {corten} (Kubernetes {KUBERNETES})")),
    }
    Ok(0)
}
