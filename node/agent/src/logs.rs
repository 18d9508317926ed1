//! Log files of containers, in CRI format: `<time> <stdout|stderr> <F|P> <line>`.
//!
//! One file a run (`<restarts>.log`), rotated copies beside it (`<restarts>.log.<time>`).

mod read;

use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt, AsyncSeekExt};

pub use read::{LogOptions, Source, stream};

/// Removes the files of one run.
pub async fn remove(dir: &Path, restarts: u32) {
    for path in files_of(dir, &format!("{restarts}.log")).await {
        let _ = tokio::fs::remove_file(path).await;
    }
}

/// The file of that name and its rotated copies, oldest first.
pub async fn files_of(dir: &Path, name: &str) -> Vec<PathBuf> {
    let mut rotated = Vec::new();
    if let Ok(mut entries) = tokio::fs::read_dir(dir).await {
        while let Ok(Some(entry)) = entries.next_entry().await {
            let file = entry.file_name().to_string_lossy().into_owned();
            if file.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')) {
                rotated.push(entry.path());
            }
        }
    }
    rotated.sort();
    rotated.push(dir.join(name));
    rotated
}

/// The text of the last lines, at most `bytes_max` of it.
pub async fn tail_text(path: &Path, lines_max: usize, bytes_max: usize) -> String {
    // Each line carries a time and tags of about 45 bytes.
    let window = (bytes_max + lines_max * 64) as u64;
    let Ok(mut file) = tokio::fs::File::open(path).await else { return String::new() };
    let length = file.metadata().await.map_or(0, |meta| meta.len());
    let from = length.saturating_sub(window);
    let mut bytes = Vec::new();
    if file.seek(std::io::SeekFrom::Start(from)).await.is_err() || file.read_to_end(&mut bytes).await.is_err() {
        return String::new();
    }
    let whole = if from == 0 { 0 } else { bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1) };
    let lines: Vec<Line<'_>> = bytes[whole..].split_inclusive(|byte| *byte == b'\n').filter_map(parse).collect();
    let mut text = Vec::new();
    for line in &lines[lines.len().saturating_sub(lines_max)..] {
        text.extend_from_slice(line.text);
        if line.is_whole {
            text.push(b'\n');
        }
    }
    let start = text.len().saturating_sub(bytes_max);
    String::from_utf8_lossy(&text[start..]).into_owned()
}

/// One line of the file, without its line feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    pub time: &'a [u8],
    pub is_stderr: bool,
    /// false: more of the same line follows.
    pub is_whole: bool,
    pub text: &'a [u8],
}

/// None where it is no CRI line.
pub fn parse(line: &[u8]) -> Option<Line<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let (time, stream, tag) = (parts.next()?, parts.next()?, parts.next()?);
    let is_stderr = match stream {
        b"stdout" => false,
        b"stderr" => true,
        _ => return None,
    };
    Some(Line { time, is_stderr, is_whole: tag.split(|byte| *byte == b':').next() != Some(b"P"), text: parts.next().unwrap_or_default() })
}
