//! Programs that a developer command starts: bounded in time, with their last words where they fail.

use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

#[expect(clippy::disallowed_methods, reason = "developer commands start other programs")]
pub(crate) fn program(name: &str, words: &[&str]) -> Command {
    let mut program = Command::new(name);
    program.args(words);
    program
}

/// The program's standard output. One that outlives the limit is ended, with what it started in its process group.
pub(crate) fn output(program: Command, limit: Duration) -> Result<String> {
    let name = format!("{program:?}");
    let done = bounded(&program, limit).stdin(Stdio::null()).output().with_context(|| name.clone())?;
    let (said, complained) = (String::from_utf8_lossy(&done.stdout).into_owned(), String::from_utf8_lossy(&done.stderr).into_owned());
    if !done.status.success() {
        let why = if done.status.code() == Some(124) { format!("longer than {} s", limit.as_secs()) } else { done.status.to_string() };
        bail!("{name}: {why}: {}", last_lines(if complained.trim().is_empty() { &said } else { &complained }, 4));
    }
    Ok(said)
}

/// The same program under coreutils' `timeout`.
fn bounded(inner: &Command, limit: Duration) -> Command {
    let seconds = limit.as_secs().max(1).to_string();
    let mut outer = program("timeout", &["--kill-after=10", &seconds]);
    outer.arg(inner.get_program()).args(inner.get_args());
    if let Some(folder) = inner.get_current_dir() {
        outer.current_dir(folder);
    }
    for (key, value) in inner.get_envs() {
        outer.env(key, value.unwrap_or(OsStr::new("")));
    }
    outer
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_the_last_words() {
        let error = output(program("sh", &["-c", "echo first >&2; echo no such thing >&2; exit 3"]), Duration::from_secs(5)).unwrap_err();
        assert!(error.to_string().contains("no such thing") && error.to_string().contains("exit status: 3"), "{error}");
    }

    #[test]
    fn what_hangs_is_ended() {
        let error = output(program("sleep", &["100"]), Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().contains("longer than 1 s"), "{error}");
    }

    #[test]
    fn the_folder_goes_along() {
        let mut pwd = program("pwd", &[]);
        pwd.current_dir("/");
        assert_eq!(output(pwd, Duration::from_secs(5)).unwrap(), "/\n");
    }
}
