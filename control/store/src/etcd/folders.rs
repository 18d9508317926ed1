//! Which folders are called otherwise in etcd than here: programs that read an etcd of Kubernetes look for `/minions/`, not for
//! `/nodes/`.
//!
//! A folder is one or two steps (`/nodes/`, `/apps/deployments/`); the longer one counts. Folders that nobody named keep their name.

use std::collections::HashMap;

/// A way there and one back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Folders {
    there: HashMap<String, String>,
    back: HashMap<String, String>,
}

impl Folders {
    /// `pairs` are (ours, theirs), both with a slash at each end; none occurs twice.
    pub(crate) fn new(pairs: &[(String, String)]) -> Self {
        let back = pairs.iter().map(|(ours, theirs)| (theirs.clone(), ours.clone())).collect();
        let folders = Self { there: pairs.iter().cloned().collect(), back };
        assert_eq!((folders.there.len(), folders.back.len()), (pairs.len(), pairs.len()), "a folder has one name on each side");
        folders
    }

    pub(crate) fn there(&self, key: &str) -> String {
        renamed(&self.there, key)
    }

    pub(crate) fn back(&self, key: &str) -> String {
        renamed(&self.back, key)
    }
}

fn renamed(names: &HashMap<String, String>, key: &str) -> String {
    let mut ends = key.match_indices('/').skip(1).take(2).map(|(at, _)| at + 1);
    let (one, two) = (ends.next(), ends.next());
    let found = [two, one].into_iter().flatten().find_map(|end| Some((names.get(&key[..end])?, &key[end..])));
    found.map_or_else(|| key.to_owned(), |(name, rest)| [name, rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_have_another_name_there_and_come_back() {
        let pairs = [("/nodes/", "/minions/"), ("/apps/deployments/", "/deployments/"), ("/services/", "/services/specs/")];
        let folders = Folders::new(&pairs.map(|(ours, theirs)| (ours.to_owned(), theirs.to_owned())));
        let table = [
            ("/nodes/one", "/minions/one"),
            ("/apps/deployments/default/web", "/deployments/default/web"),
            ("/apps/other/default/web", "/apps/other/default/web"),
            ("/services/default/web", "/services/specs/default/web"),
            ("/services/specs/web", "/services/specs/specs/web"),
            ("/pods/minions/x", "/pods/minions/x"),
            ("/alone", "/alone"),
        ];
        for (ours, theirs) in table {
            assert_eq!((folders.there(ours).as_str(), folders.back(theirs).as_str()), (theirs, ours));
        }
    }
}
