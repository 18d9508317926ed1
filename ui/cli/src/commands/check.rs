//! `corten check`: would it run here?

use schema::json;

use super::{Context, Output};
use crate::check::{self, Level};
use crate::{Failure, out};

/// Check what the machine must offer; each failure comes with its fix
#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

/// All checks, those of the drivers last.
pub fn findings(cx: &Context<'_>, running: bool) -> Vec<check::Finding> {
    let mut findings = check::all(&cx.instance, running);
    findings.extend(cx.host.findings(&cx.instance));
    findings
}

pub fn run(cx: &Context<'_>, args: &Args) -> Result<u8, Failure> {
    let running = cx.host.state(&cx.instance).is_ok_and(|state| state.is_some());
    let findings = findings(cx, running);
    let failed = !check::failures(&findings).is_empty();
    match args.output {
        Output::Json => out::line(json!({"ok": !failed, "checks": findings})),
        Output::Text => {
            let row = |finding: &check::Finding| {
                let word = match finding.level {
                    Level::Ok => out::mark(true, cx.invocation.colour),
                    Level::Warning => "warning".into(),
                    Level::Failure => out::mark(false, cx.invocation.colour),
                };
                format!("{:<12} {word:<8} {}", finding.name, finding.detail)
            };
            for finding in &findings {
                out::line(row(finding));
                if let Some(fix) = &finding.fix {
                    out::line(format!("{:<12} fix:     {fix}", ""));
                }
            }
        }
    }
    Ok(if failed { 3 } else { 0 })
}
