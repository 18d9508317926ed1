//! What each language's own tools fetch and build, once, below `target/programs`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/programs");
const BUILT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/programs");

/// The oldest that the modules take.
const GO: (u32, u32) = (1, 26);
/// Commands of our module, and one of another's.
const COMMANDS: &[&str] = &["./leader", "./dispatcher", "./operator", "helm.sh/helm/v3/cmd/helm"];

/// What a program says when it is a registry that it cannot reach.
const UNREACHABLE: &[&str] = &[
    "dial tcp",
    "no such host",
    "module lookup disabled",
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ETIMEDOUT",
    "NewConnectionError",
    "NameResolutionError",
    "Could not transfer",
    "Unknown host",
];

/// Why there is no program.
pub(crate) enum Trouble {
    /// A toolchain or its packages cannot be had here.
    Absent(String),
    Broken(String),
}

/// A program that is ready, with the first words of its command line.
pub(crate) struct Program {
    words: Vec<String>,
}

impl Program {
    fn new(words: &[&Path]) -> Self {
        Self { words: words.iter().map(|word| word.display().to_string()).collect() }
    }

    pub(crate) fn with(mut self, word: &str) -> Self {
        self.words.push(word.to_owned());
        self
    }

    pub(crate) fn path(&self) -> &str {
        &self.words[0]
    }

    pub(crate) fn arguments(&self) -> impl Iterator<Item = &str> {
        self.words[1..].iter().map(String::as_str)
    }
}

/// One of the Go programs. All are built together: they share most of what they are made of.
pub(crate) fn go(name: &str) -> Result<Program, Trouble> {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _building = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let home = folder("go")?;
    let version = said(Command::new("go").args(["env", "GOVERSION"]), "go")?;
    if !is_recent(&version) {
        return Err(Trouble::Absent(format!("go {}.{} or later is needed, and there is {}", GO.0, GO.1, version.trim())));
    }
    let bin = home.join("bin");
    let mut build = Command::new("go");
    build.args(["build", "-modcacherw", "-o"]).arg(format!("{}/", bin.display())).args(COMMANDS);
    build.current_dir(Path::new(SOURCES).join("go")).env("GOFLAGS", "-buildvcs=false").env("GOTOOLCHAIN", "local");
    build.env("GOMODCACHE", home.join("mod")).env("GOCACHE", home.join("cache"));
    said(&mut build, "go")?;
    Ok(Program::new(&[&bin.join(name)]))
}

/// `go1.26.8`
fn is_recent(version: &str) -> bool {
    let mut numbers = version.trim().trim_start_matches("go").split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= GO
}

pub(crate) fn python() -> Result<Program, Trouble> {
    let (home, sources) = (folder("python")?, Path::new(SOURCES).join("python"));
    let python = home.join("bin/python");
    once(&home, &sources.join("requirements.txt"), |lock| {
        said(Command::new("python3").args(["-m", "venv"]).arg(&home), "python3")?;
        said(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(lock), "pip")
    })?;
    Ok(Program::new(&[&python, &sources.join("client.py")]))
}

pub(crate) fn node() -> Result<Program, Trouble> {
    let (home, sources) = (folder("node")?, Path::new(SOURCES).join("node"));
    said(Command::new("node").arg("--version"), "node")?;
    for file in ["package.json", "package-lock.json", "client.mjs"] {
        copy(&sources.join(file), &home.join(file))?;
    }
    once(&home, &sources.join("package-lock.json"), |_| said(Command::new("npm").args(["ci", "--silent"]).current_dir(&home), "npm"))?;
    Ok(Program::new(&[Path::new("node"), &home.join("client.mjs")]))
}

pub(crate) fn java() -> Result<Program, Trouble> {
    let (home, sources) = (folder("java")?, Path::new(SOURCES).join("java"));
    let (classpath, classes) = (home.join("classpath"), home.join("classes"));
    once(&home, &sources.join("pom.xml"), |pom| {
        let mut maven = Command::new("mvn");
        maven.args(["--quiet", "--batch-mode", "dependency:build-classpath", "--file"]).arg(pom);
        maven.arg(format!("-Dmaven.repo.local={}", home.join("repository").display()));
        maven.arg(format!("-Dmdep.outputFile={}", classpath.display()));
        said(&mut maven, "mvn")
    })?;
    let libraries = std::fs::read_to_string(&classpath).map_err(|error| broken(&classpath, &error))?;
    once(&classes, &sources.join("Client.java"), |source| {
        said(Command::new("javac").args(["-classpath", libraries.trim(), "-d"]).arg(&classes).arg(source), "javac")
    })?;
    let path = format!("{}:{}", classes.display(), libraries.trim());
    Ok(Program::new(&[Path::new("java"), Path::new("-classpath"), Path::new(&path), Path::new("Client")]))
}

/// Does the work unless it was done for the same input. The copy of the input beside the result says so.
fn once(home: &Path, input: &Path, work: impl Fn(&Path) -> Result<String, Trouble>) -> Result<(), Trouble> {
    std::fs::create_dir_all(home).map_err(|error| broken(home, &error))?;
    let name = input.file_name().unwrap_or_default().to_string_lossy();
    let done = home.join(format!(".done-{name}"));
    let wanted = std::fs::read(input).map_err(|error| broken(input, &error))?;
    if std::fs::read(&done).is_ok_and(|held| held == wanted) {
        return Ok(());
    }
    work(input)?;
    copy(input, &done)
}

/// What the program says; it must succeed.
fn said(command: &mut Command, name: &str) -> Result<String, Trouble> {
    let outcome = command.output().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Trouble::Absent(format!("no {name} on this machine")),
        _ => Trouble::Broken(format!("{name}: {error}")),
    })?;
    let (out, err) = (String::from_utf8_lossy(&outcome.stdout).into_owned(), String::from_utf8_lossy(&outcome.stderr).into_owned());
    if outcome.status.success() {
        return Ok(out);
    }
    let text = format!("{name}: {}\n{out}{err}", outcome.status);
    let unreachable = UNREACHABLE.iter().any(|word| text.contains(word));
    Err(if unreachable { Trouble::Absent(format!("its packages cannot be fetched: {text}")) } else { Trouble::Broken(text) })
}

fn folder(name: &str) -> Result<PathBuf, Trouble> {
    let folder = Path::new(BUILT).join(name);
    std::fs::create_dir_all(&folder).map_err(|error| broken(&folder, &error))?;
    folder.canonicalize().map_err(|error| broken(&folder, &error))
}

fn copy(from: &Path, to: &Path) -> Result<(), Trouble> {
    std::fs::copy(from, to).map(|_| ()).map_err(|error| broken(to, &error))
}

fn broken(path: &Path, error: &std::io::Error) -> Trouble {
    Trouble::Broken(format!("{}: {error}", path.display()))
}
