//! Whose a state folder is: one cluster's, from its first `up` until its `reset`.
//!
//! Two clusters on one folder would hand each other foreign certificates, and the reset of one would take the state from under the
//! other. So each command asks here before it changes anything.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use cli::{Failure, Kind};
use keeper::Control;
use stdx::Instance;

/// Holds the name of the instance.
const FILE: &str = "instance";

/// Takes the folder for the instance; it is there.
pub(crate) fn claim(instance: &Instance) -> Result<(), Failure> {
    verify(instance)?;
    let path = instance.root.join(FILE);
    let written = match fs::File::create_new(&path) {
        Ok(mut file) => file.write_all(instance.name.as_bytes()),
        // Another `up` may have been faster, or a power cut have left it empty.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            verify(instance)?;
            fs::write(&path, &instance.name)
        }
        Err(error) => Err(error),
    };
    written.map_err(|error| Failure::io(&path, error))
}

/// The folder is the instance's or nobody's, and the instance runs from no other folder.
pub(crate) fn verify(instance: &Instance) -> Result<(), Failure> {
    let owner = fs::read_to_string(instance.root.join(FILE)).unwrap_or_default();
    if !owner.is_empty() && owner != instance.name {
        let what = format!("{} holds the state of the cluster {owner:?}", instance.root.display());
        return Err(Failure::new(Kind::Usage, what).fix(format!("choose another folder with --root, or say --instance {owner}")));
    }
    match running_root(instance) {
        Some(root) if root != instance.root => {
            let what = format!("the cluster {:?} runs from {}, not from {}", instance.name, root.display(), instance.root.display());
            Err(Failure::new(Kind::Usage, what).fix(format!("say --root {}, or choose another --instance", root.display())))
        }
        _ => Ok(()),
    }
}

/// What the keeper that answers was told.
fn running_root(instance: &Instance) -> Option<PathBuf> {
    let keeper = Control::connect(&instance.run_dir()).and_then(|mut control| control.status()).ok()?.pid;
    let argv = fs::read(format!("/proc/{keeper}/cmdline")).ok()?;
    root_argument(&argv)
}

fn root_argument(argv: &[u8]) -> Option<PathBuf> {
    let mut words = argv.split(|byte| *byte == 0);
    words.find(|word| *word == b"--root")?;
    words.next().and_then(|root| std::str::from_utf8(root).ok()).map(|root| Path::new(root).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_clusters_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (mine, other) = (Instance::new("mine", Some(folder.path())).unwrap(), Instance::new("other", Some(folder.path())).unwrap());
        verify(&other).unwrap();
        claim(&mine).unwrap();
        claim(&mine).unwrap();
        let refused = claim(&other).unwrap_err();
        assert!(refused.what.ends_with("holds the state of the cluster \"mine\""), "{refused}");
        assert!(refused.fix.unwrap().contains("--instance mine"));
        fs::write(folder.path().join(FILE), "").unwrap();
        claim(&other).unwrap();
        assert!(verify(&mine).is_err());
    }

    #[test]
    fn the_folder_is_read_from_a_command_line() {
        assert_eq!(root_argument(b"corten\0keeper\0--instance\0a\0--root\0/b\0--detach\0"), Some("/b".into()));
        assert_eq!(root_argument(b"corten\0keeper\0"), None);
    }
}
