//! Merging our context into a person's kubeconfig: atomically, under kubectl's own lock, never touching other entries.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use client::kubeconfig::{Entry, remove_from};
use schema::{Value, json};

use crate::{Failure, Invocation, Kind};

/// The file that kubectl would read: `$KUBECONFIG`'s first path, else `~/.kube/config`.
pub fn path(invocation: &Invocation) -> Option<PathBuf> {
    invocation.kubeconfig.clone().or_else(|| invocation.home.as_ref().map(|home| home.join(".kube/config")))
}

/// Puts `entry` in; returns the path and whether it became the current context.
pub fn merge(invocation: &Invocation, entry: &Entry) -> Result<(PathBuf, bool), Failure> {
    let path = path(invocation).ok_or_else(|| Failure::new(Kind::Other, "no home folder to put a kubeconfig in"))?;
    let mut current = false;
    edit(&path, invocation.owner, |file| {
        current = entry.merge_into(file);
        true
    })?;
    Ok((path, current))
}

/// Takes the context `name` out; returns the path where something was there.
pub fn remove(invocation: &Invocation, name: &str) -> Result<Option<PathBuf>, Failure> {
    let Some(path) = path(invocation).filter(|path| path.exists()) else { return Ok(None) };
    let mut found = false;
    edit(&path, invocation.owner, |file| {
        found = remove_from(file, name);
        found
    })?;
    Ok(found.then_some(path))
}

/// Reads, edits and replaces the file. The lock is `<path>.lock`, as client-go takes it.
fn edit(path: &Path, owner: Option<(u32, u32)>, change: impl FnOnce(&mut Value) -> bool) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new("."));
    if !folder.exists() {
        fs::create_dir_all(folder).map_err(|error| Failure::io(folder, error))?;
        own(folder, owner)?;
    }
    let lock = Lock::take(path)?;
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Failure::io(path, error)),
    };
    let mut file = read(path, &text)?;
    if change(&mut file) {
        replace(path, &write(&file)?, owner)?;
    }
    drop(lock);
    Ok(())
}

fn read(path: &Path, text: &[u8]) -> Result<Value, Failure> {
    if text.trim_ascii().is_empty() {
        return Ok(json!({}));
    }
    let file = schema::decode::yaml_value(text);
    let unreadable =
        |why: String| Failure::new(Kind::Other, format!("{}: {why}", path.display())).fix("mend or move the file; it was not touched");
    match file {
        Ok(file) if file.is_object() => Ok(file),
        Ok(_) => Err(unreadable("it holds no mapping".into())),
        Err(error) => Err(unreadable(error.to_string())),
    }
}

fn write(file: &Value) -> Result<String, Failure> {
    serde_saphyr::to_string(file).map_err(|error| Failure::new(Kind::Other, format!("kubeconfig: {error}")))
}

/// A new file beside it, then a rename: a reader sees the old or the new one.
fn replace(path: &Path, text: &str, owner: Option<(u32, u32)>) -> Result<(), Failure> {
    let fresh = path.with_extension(format!("corten-{}", std::process::id()));
    let written = (|| {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })();
    written.map_err(|error| Failure::io(&fresh, error))?;
    own(&fresh, owner)?;
    fs::rename(&fresh, path).map_err(|error| Failure::io(path, error))
}

fn own(path: &Path, owner: Option<(u32, u32)>) -> Result<(), Failure> {
    let Some((uid, gid)) = owner else { return Ok(()) };
    chown(path, Some(uid), Some(gid)).map_err(|error| Failure::io(path, error))
}

struct Lock(PathBuf);

impl Lock {
    fn take(path: &Path) -> Result<Self, Failure> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let lock = PathBuf::from(name);
        match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&lock) {
            Ok(_) => Ok(Self(lock)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Failure::new(Kind::Other, format!("{} is locked by another program", path.display()))
                    .fix(format!("if none is running: rm {}", lock.display())))
            }
            Err(error) => Err(Failure::io(&lock, error)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            name: "corten".into(),
            server: "https://127.0.0.1:6443".into(),
            ca: "CA".into(),
            client_certificate: "C".into(),
            client_key: "K".into(),
        }
    }

    fn invocation(dir: &Path) -> Invocation {
        Invocation { home: Some(dir.to_owned()), ..Invocation::default() }
    }

    #[test]
    fn other_entries_survive_a_merge_and_a_removal() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".kube")).unwrap();
        let path = dir.path().join(".kube/config");
        fs::write(&path, "apiVersion: v1\nkind: Config\ncurrent-context: prod\nclusters:\n- name: prod\n  cluster: {server: 'https://x'}\ncontexts:\n- name: prod\n  context: {cluster: prod, user: me}\nusers:\n- name: me\n  user: {token: '007'}\n").unwrap();
        let before = read(&path, &fs::read(&path).unwrap()).unwrap();
        let (_, current) = merge(&invocation(dir.path()), &entry()).unwrap();
        assert!(!current);
        assert!(fs::read_to_string(&path).unwrap().contains("name: corten"));
        remove(&invocation(dir.path()), "corten").unwrap();
        assert_eq!(read(&path, &fs::read(&path).unwrap()).unwrap(), before, "a token that looks like a number stays a text");
    }

    #[test]
    fn a_held_lock_and_a_broken_file_are_told_and_nothing_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let (path, _) = merge(&invocation(dir.path()), &entry()).unwrap();
        fs::write(dir.path().join(".kube/config.lock"), "").unwrap();
        assert!(merge(&invocation(dir.path()), &entry()).unwrap_err().what.contains("locked"));
        fs::remove_file(dir.path().join(".kube/config.lock")).unwrap();
        fs::write(&path, "- a\n- b\n").unwrap();
        assert!(merge(&invocation(dir.path()), &entry()).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "- a\n- b\n");
    }
}
