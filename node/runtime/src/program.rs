//! The program to run, as exec wants it: every string made before the clone.

use std::ffi::CString;

use sys::process::CStringArray;

use crate::launch::Failure;
use crate::plan::Process;

/// What upstream gives a container without a PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(crate) struct Program {
    /// Paths to try, in this order.
    pub(crate) candidates: Vec<CString>,
    pub(crate) argv: CStringArray,
    pub(crate) env: CStringArray,
    /// argv[0], for messages.
    pub(crate) name: String,
}

impl Program {
    /// `home` fills HOME where the environment has none.
    pub(crate) fn new(process: &Process, home: Option<&str>) -> Result<Self, Failure> {
        let name = process.argv.first().filter(|name| !name.is_empty()).ok_or_else(|| Failure::start("no command specified"))?;
        let env = environment(process, home);
        let path = env.iter().rev().find(|(key, _)| key == "PATH").map_or("", |(_, value)| value);
        let candidates = candidates(name, path).into_iter().map(|path| c_string(&path)).collect::<Result<_, _>>()?;
        let argv = process.argv.iter().map(|text| c_string(text)).collect::<Result<_, _>>()?;
        let env = env.iter().map(|(key, value)| c_string(&format!("{key}={value}"))).collect::<Result<_, _>>()?;
        Ok(Self { candidates, argv: CStringArray::new(argv), env: CStringArray::new(env), name: name.clone() })
    }
}

fn environment(process: &Process, home: Option<&str>) -> Vec<(String, String)> {
    let mut env = process.env.clone();
    let mut fill = |key: &str, value: &str| {
        if !env.iter().any(|(known, _)| known == key) {
            env.push((key.into(), value.into()));
        }
    };
    fill("PATH", DEFAULT_PATH);
    fill("HOME", home.unwrap_or("/"));
    if process.tty {
        fill("TERM", "xterm");
    }
    env
}

fn candidates(name: &str, path: &str) -> Vec<String> {
    if name.contains('/') {
        return vec![name.into()];
    }
    path.split(':').map(|folder| if folder.is_empty() { format!("./{name}") } else { format!("{folder}/{name}") }).collect()
}

fn c_string(text: &str) -> Result<CString, Failure> {
    CString::new(text).map_err(|_| Failure::start(format!("argument or variable contains a NUL byte: {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_looked_for_along_the_path() {
        assert_eq!(candidates("sh", "/bin::/x"), ["/bin/sh", "./sh", "/x/sh"]);
        assert_eq!(candidates("./sh", "/bin"), ["./sh"]);
    }

    #[test]
    fn the_environment_is_filled_and_never_overruled() {
        let process = Process { env: vec![("HOME".into(), "/x".into())], tty: true, ..Process::default() };
        let env = environment(&process, Some("/root"));
        assert_eq!(env[0].1, "/x");
        assert_eq!(env.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["HOME", "PATH", "TERM"]);
    }

    #[test]
    fn no_command_and_nul_bytes_are_refused() {
        let process = |argv: &[&str]| Process { argv: argv.iter().map(|&a| a.into()).collect(), ..Process::default() };
        assert!(Program::new(&process(&[]), None).is_err());
        assert!(Program::new(&process(&["a\0b"]), None).is_err());
    }
}
