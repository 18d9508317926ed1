//! Which pod has which address, and in what order free ones are given out.
//!
//! Addresses that never were used come first, then freed ones in the order in which they were freed: a stale
//! connection or a cached DNS answer must not meet a new pod. The file is written before a link is made; it is not
//! synced, because after a power cut no pod is left to own an address.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;

const VERSION: u32 = 1;

/// The file's content.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    version: u32,
    /// Pod uid to address.
    pods: BTreeMap<String, Ipv4Addr>,
    /// Addresses below base + this have been used once.
    next: u32,
    /// Oldest first.
    freed: VecDeque<Ipv4Addr>,
}

#[derive(Debug)]
pub(crate) struct Addresses {
    path: PathBuf,
    base: Ipv4Addr,
    prefix: u8,
    state: State,
    /// The file was there: what it does not name, nobody owns.
    pub(crate) known: bool,
}

impl Addresses {
    /// `base`/`prefix` is the node's range; its first address is the node's own and its last is never used.
    pub(crate) fn load(path: &Path, base: Ipv4Addr, prefix: u8) -> Result<Self, Error> {
        let found = read(path)?;
        let known = found.is_some();
        let mut state = found.unwrap_or_else(|| State { version: VERSION, next: 2, ..State::default() });
        let mut this = Self { path: path.to_path_buf(), base, prefix, state: State::default(), known };
        // The range may have changed (another cluster on the same root): addresses outside of it mean nothing any more.
        state.pods.retain(|_, ip| this.contains(*ip));
        state.freed.retain(|ip| this.contains(*ip));
        state.next = state.next.max(2);
        this.state = state;
        Ok(this)
    }

    pub(crate) fn get(&self, uid: &str) -> Option<Ipv4Addr> {
        self.state.pods.get(uid).copied()
    }

    /// The pod's address, a new one where it has none.
    pub(crate) fn assign(&mut self, uid: &str) -> Result<Ipv4Addr, Error> {
        if let Some(ip) = self.get(uid) {
            return Ok(ip);
        }
        let ip = self.free_address().ok_or(Error::Full(self.base, self.prefix))?;
        self.state.pods.insert(uid.to_owned(), ip);
        self.save()?;
        Ok(ip)
    }

    /// Takes over what a link says, where the file was lost.
    pub(crate) fn adopt(&mut self, uid: &str, ip: Ipv4Addr) -> Result<(), Error> {
        if !self.contains(ip) || self.get(uid).is_some() || self.owned().contains(&ip) {
            return Ok(());
        }
        let offset = u32::from(ip) - u32::from(self.base);
        // Whatever lies between was used, by whom nobody knows.
        let skipped: Vec<Ipv4Addr> = (self.state.next..offset).map(|offset| self.at(offset)).collect();
        self.state.freed.extend(skipped);
        self.state.freed.retain(|freed| *freed != ip);
        self.state.next = self.state.next.max(offset + 1);
        self.state.pods.insert(uid.to_owned(), ip);
        self.save()
    }

    /// The address that became free, if there was one.
    pub(crate) fn release(&mut self, uid: &str) -> Result<Option<Ipv4Addr>, Error> {
        let Some(ip) = self.state.pods.remove(uid) else { return Ok(None) };
        self.state.freed.push_back(ip);
        self.save()?;
        Ok(Some(ip))
    }

    fn owned(&self) -> HashSet<Ipv4Addr> {
        self.state.pods.values().copied().collect()
    }

    fn free_address(&mut self) -> Option<Ipv4Addr> {
        let last = (1u32 << (32 - self.prefix)) - 1;
        if self.state.next < last {
            self.state.next += 1;
            return Some(self.at(self.state.next - 1));
        }
        self.state.freed.pop_front()
    }

    fn at(&self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.base) + offset)
    }

    fn contains(&self, ip: Ipv4Addr) -> bool {
        let offset = u32::from(ip).wrapping_sub(u32::from(self.base));
        (2..(1u32 << (32 - self.prefix)) - 1).contains(&offset)
    }

    fn save(&self) -> Result<(), Error> {
        let failed = |cause| Error::State { path: self.path.clone(), cause };
        let text = serde_json::to_vec(&self.state).map_err(|cause| failed(io::Error::other(cause)))?;
        let fresh = self.path.with_extension("json.new");
        match std::fs::write(&fresh, &text) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(self.path.parent().unwrap_or(Path::new("/"))).map_err(failed)?;
                std::fs::write(&fresh, &text).map_err(failed)?;
            }
            other => other.map_err(failed)?,
        }
        std::fs::rename(&fresh, &self.path).map_err(failed)
    }
}

fn read(path: &Path) -> Result<Option<State>, Error> {
    let failed = |cause| Error::State { path: path.to_path_buf(), cause };
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    // A torn file (power cut) is as good as none: the links tell the rest.
    let Ok(Version { version }) = serde_json::from_slice(&text) else {
        tracing::warn!(path = %path.display(), "address file is unreadable: rebuilding it from the links");
        return Ok(None);
    };
    if version > VERSION {
        return Err(Error::Newer { path: path.to_path_buf(), version });
    }
    Ok(serde_json::from_slice(&text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &tempfile::TempDir) -> Addresses {
        Addresses::load(&folder.path().join("node/podnet.json"), Ipv4Addr::new(10, 0, 0, 0), 29).unwrap()
    }

    #[test]
    fn freed_addresses_are_given_out_last() {
        let folder = tempfile::tempdir().unwrap();
        let mut a = open(&folder);
        let ips: Vec<_> = ["a", "b"].map(|uid| a.assign(uid).unwrap().octets()[3]).into();
        assert_eq!(ips, [2, 3]);
        a.release("a").unwrap();
        let more: Vec<_> = ["c", "d", "e"].map(|uid| a.assign(uid).unwrap().octets()[3]).into();
        assert_eq!(more, [4, 5, 6], "never used ones first");
        assert_eq!(a.assign("f").unwrap().octets()[3], 2);
        assert!(matches!(a.assign("g"), Err(Error::Full(..))));
    }

    #[test]
    fn a_restart_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut a = open(&folder);
        let ip = a.assign("a").unwrap();
        a.assign("b").unwrap();
        a.release("b").unwrap();
        let mut again = open(&folder);
        assert!(again.known);
        assert_eq!(again.get("a"), Some(ip));
        assert_eq!(again.assign("c").unwrap().octets()[3], 4);
    }

    #[test]
    fn a_lost_file_is_rebuilt_from_the_links() {
        let folder = tempfile::tempdir().unwrap();
        let mut a = open(&folder);
        assert!(!a.known);
        a.adopt("x", Ipv4Addr::new(10, 0, 0, 4)).unwrap();
        a.adopt("outside", Ipv4Addr::new(10, 1, 0, 4)).unwrap();
        let given: Vec<_> = ["a", "b", "c", "d"].map(|uid| a.assign(uid).unwrap().octets()[3]).into();
        assert_eq!(given, [5, 6, 2, 3]);
        assert!(a.get("outside").is_none());
    }

    #[test]
    fn a_newer_file_is_refused_and_a_torn_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("podnet.json");
        std::fs::write(&path, r#"{"version": 2, "pods": {}}"#).unwrap();
        let error = Addresses::load(&path, Ipv4Addr::new(10, 0, 0, 0), 24).unwrap_err();
        assert!(error.to_string().contains("newer version (2)"), "{error}");
        std::fs::write(&path, r#"{"version": 1, "po"#).unwrap();
        assert!(!Addresses::load(&path, Ipv4Addr::new(10, 0, 0, 0), 24).unwrap().known);
    }

    proptest::proptest! {
        // Each step writes the file.
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]
        #[test]
        fn no_address_has_two_owners(ops in proptest::collection::vec((0u8..12, proptest::bool::ANY), 0..80)) {
            let folder = tempfile::tempdir().unwrap();
            let mut a = open(&folder);
            for (pod, add) in ops {
                let uid = format!("pod{pod}");
                if add { let _ = a.assign(&uid); } else { a.release(&uid).unwrap(); }
                let owned: HashSet<_> = a.owned();
                proptest::prop_assert_eq!(owned.len(), a.state.pods.len());
                proptest::prop_assert!(a.state.freed.iter().all(|ip| !owned.contains(ip)));
            }
        }
    }
}
