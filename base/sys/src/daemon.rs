//! Starting another program from a process that may have threads.

use std::io;
use std::process::Stdio;

/// How a program that was run to its end did.
#[derive(Debug)]
pub struct Ran {
    /// None: ended by a signal.
    pub code: Option<i32>,
    pub stderr: String,
}

/// Runs `argv` with exactly `env` and waits for its end (`posix_spawn`: no code of ours runs between fork and exec).
pub fn run(argv: &[String], env: &[(String, String)]) -> io::Result<Ran> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "empty command line"));
    };
    #[expect(clippy::disallowed_methods, reason = "the one place of the product that starts a program outside a container")]
    let mut command = std::process::Command::new(program);
    let output = command.args(arguments).env_clear().envs(env.iter().cloned()).stdin(Stdio::null()).stdout(Stdio::null()).output()?;
    Ok(Ran { code: output.status.code(), stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}
