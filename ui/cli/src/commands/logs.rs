//! `corten logs`: what the system's own parts say.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use rustix::fs::inotify;

use super::Context;
use crate::{Failure, Kind, out};

/// Show the logs of the cluster's own parts
#[derive(Debug, clap::Args)]
pub struct Args {
    /// keeper, control or node; all of them when left out
    part: Option<String>,
    /// Go on printing as lines come
    #[arg(long, short)]
    follow: bool,
    /// Lines from the end to begin with
    #[arg(long, short = 'n', default_value_t = 100, value_name = "LINES")]
    tail: usize,
}

const PARTS: [&str; 3] = ["keeper", "control", "node"];

pub fn run(cx: &Context<'_>, args: &Args) -> Result<u8, Failure> {
    let parts: Vec<&str> = match &args.part {
        Some(part) if !PARTS.contains(&part.as_str()) => {
            return Err(Failure::new(Kind::Usage, format!("no part {part:?}")).fix(format!("the parts are {}", PARTS.join(", "))));
        }
        Some(part) => vec![part.as_str()],
        None => PARTS.to_vec(),
    };
    let prefix = |part: &str| if parts.len() > 1 { format!("{part:<8}") } else { String::new() };
    let mut found = false;
    for part in &parts {
        let path = cx.instance.log_dir().join(format!("{part}.log"));
        found |= path.exists();
        tail(&path, args.tail).into_iter().for_each(|line| out::line(format!("{}{line}", prefix(part))));
    }
    if !found {
        return Err(Failure::new(Kind::NotRunning, format!("no logs in {}", cx.instance.log_dir().display()))
            .fix("start the cluster with `corten up`"));
    }
    if args.follow {
        follow(cx, &parts.iter().map(|part| (*part, prefix(part))).collect::<Vec<_>>())?;
    }
    Ok(0)
}

/// The last lines of a file; none where there is no file.
pub fn tail(path: &Path, lines: usize) -> Vec<String> {
    /// Enough for a thousand long lines; a log is never read whole.
    const WINDOW: u64 = 256 << 10;
    let Ok(mut file) = File::open(path) else { return Vec::new() };
    let length = file.metadata().map(|meta| meta.len()).unwrap_or_default();
    let from = length.saturating_sub(WINDOW);
    if file.seek(SeekFrom::Start(from)).is_err() {
        return Vec::new();
    }
    let mut bytes = Vec::new();
    let _ = file.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    // Where the window begins inside a line, that line is not whole.
    let all: Vec<&str> = text.lines().skip(usize::from(from > 0)).collect();
    all[all.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect()
}

struct Followed {
    reader: BufReader<File>,
    prefix: String,
}

/// Sleeps in inotify until a file grows.
fn follow(cx: &Context<'_>, parts: &[(&str, String)]) -> Result<(), Failure> {
    let failed = |error: rustix::io::Errno| Failure::new(Kind::Other, format!("inotify: {error}"));
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).map_err(failed)?;
    let mut files = Vec::new();
    for (part, prefix) in parts {
        let path = cx.instance.log_dir().join(format!("{part}.log"));
        let Ok(mut file) = File::open(&path) else { continue };
        file.seek(SeekFrom::End(0)).map_err(|error| Failure::io(&path, error))?;
        inotify::add_watch(&watch, &path, inotify::WatchFlags::MODIFY).map_err(failed)?;
        files.push(Followed { reader: BufReader::new(file), prefix: prefix.clone() });
    }
    let mut events = File::from(watch);
    let mut buffer = [0u8; 4096];
    loop {
        for file in &mut files {
            copy_lines(file)?;
        }
        events.read(&mut buffer).map_err(|error| Failure::new(Kind::Other, error))?;
    }
}

fn copy_lines(file: &mut Followed) -> Result<(), Failure> {
    let mut line = String::new();
    while file.reader.read_line(&mut line).map_err(|error| Failure::new(Kind::Other, error))? > 0 {
        if write!(std::io::stdout(), "{}{line}", file.prefix).is_err() {
            std::process::exit(0);
        }
        line.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_a_long_file_has_only_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let text: String = (0..50_000).map(|n| format!("line {n}\n")).collect();
        std::fs::write(&path, text).unwrap();
        assert_eq!(tail(&path, 2), ["line 49998", "line 49999"]);
        assert!(tail(&path, 1_000_000)[0].starts_with("line "));
        assert!(tail(&dir.path().join("none"), 5).is_empty());
    }
}
