//! Where upstream keeps what in etcd, for programs that read an etcd of Kubernetes: by the plural alone, with a few old names, and
//! custom kinds and the two kinds that extend the API below their group.

/// What is not called by its plural.
const OLD_NAMES: &[(&str, &str)] = &[
    ("/endpoints/", "/services/endpoints/"),
    ("/networking.k8s.io/ingresses/", "/ingress/"),
    ("/nodes/", "/minions/"),
    ("/replicationcontrollers/", "/controllers/"),
    ("/services/", "/services/specs/"),
];
/// What is served by a server of its own upstream, and lies as custom kinds do.
const BY_GROUP: &[&str] = &["/apiextensions.k8s.io/", "/apiregistration.k8s.io/"];

/// The folders that have another name there: ours, theirs.
pub fn upstream() -> Vec<(String, String)> {
    let mut ours: Vec<&str> = kinds::all().iter().map(|kind| kind.storage_prefix.as_ref()).filter(|prefix| !prefix.is_empty()).collect();
    ours.sort_unstable();
    ours.dedup();
    let named = ours.into_iter().map(|ours| (ours.to_owned(), theirs(ours)));
    named.filter(|(ours, theirs)| ours != theirs).collect()
}

fn theirs(ours: &str) -> String {
    let old = OLD_NAMES.iter().find(|(name, _)| *name == ours);
    match (old, ours.trim_matches('/').split_once('/')) {
        (Some((_, theirs)), _) => (*theirs).to_owned(),
        (None, Some((_, plural))) if !BY_GROUP.iter().any(|group| ours.starts_with(group)) => format!("/{plural}/"),
        _ => ours.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_a_folder_of_its_own_as_upstream_calls_it() {
        let kept: BTreeSet<&str> = kinds::all().iter().map(|kind| kind.storage_prefix.as_ref()).filter(|name| !name.is_empty()).collect();
        let folders: BTreeSet<String> = kept.iter().map(|ours| theirs(ours)).collect();
        assert_eq!(folders.len(), kept.len(), "no two kinds lie in one folder");
        let wanted = [
            ("/pods/", "/pods/"),
            ("/apps/deployments/", "/deployments/"),
            ("/rbac.authorization.k8s.io/clusterroles/", "/clusterroles/"),
            ("/networking.k8s.io/ingresses/", "/ingress/"),
            ("/apiextensions.k8s.io/customresourcedefinitions/", "/apiextensions.k8s.io/customresourcedefinitions/"),
            ("/nodes/", "/minions/"),
            ("/services/", "/services/specs/"),
        ];
        for (ours, want) in wanted {
            assert!(kept.contains(ours), "{ours}");
            assert_eq!(theirs(ours), want);
        }
        assert!(upstream().iter().all(|(ours, theirs)| ours != theirs) && upstream().len() > 30);
    }
}
