//! Running a command in a container to its end, for probes and hooks.

use contract::{Exec, ExecSpec, Exit};

use crate::config::Drivers;

/// Output kept of a command; the rest is read and dropped, so that the command never blocks.
const OUTPUT_MAX: usize = 10 * 1024;

pub(crate) struct Captured {
    pub code: i32,
    /// The start of standard output and error, mixed as they came.
    pub text: String,
}

/// Dropping the future kills the command.
pub(crate) async fn capture(drivers: &Drivers, id: &str, spec: &ExecSpec) -> Result<Captured, String> {
    let Exec { streams, exit } = drivers.runtime.exec(id, spec).await.map_err(|cause| cause.message)?;
    let (mut stdout, mut stderr, mut text) = (streams.stdout, streams.stderr, Vec::new());
    let (mut out_open, mut err_open) = (true, true);
    while out_open || err_open {
        let chunk = tokio::select! {
            chunk = stdout.recv(), if out_open => { out_open = chunk.is_some(); chunk }
            chunk = stderr.recv(), if err_open => { err_open = chunk.is_some(); chunk }
        };
        let room = OUTPUT_MAX - text.len();
        text.extend(chunk.iter().flat_map(|chunk| &chunk[..chunk.len().min(room)]));
    }
    let Exit { code, .. } = exit.await.map_err(|_| "the command's end was not seen".to_owned())?;
    Ok(Captured { code, text: String::from_utf8_lossy(&text).trim_end().to_owned() })
}
