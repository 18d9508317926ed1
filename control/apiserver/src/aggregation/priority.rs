//! In which order groups and versions are told: upstream's numbers, which clients resolve short names by.

use kinds::custom::rank;

/// Of a group and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority {
    pub group: i64,
    pub version: i64,
}

/// Of every group and version of custom kinds.
pub const CUSTOM: Priority = of(1_000, 100);
/// The registry of groups itself has no APIService and comes first.
pub const REGISTRATION: Priority = of(20_000, 20_000);

const fn of(group: i64, version: i64) -> Priority {
    Priority { group, version }
}

/// Of a built-in group: its priority, and those of its versions that are not 15.
const GROUPS: &[(&str, i64, &[(&str, i64)])] = &[
    ("", 18_000, &[("v1", 1)]),
    ("apps", 17_800, &[]),
    ("events.k8s.io", 17_750, &[("v1beta1", 5)]),
    ("authentication.k8s.io", 17_700, &[("v1beta1", 9), ("v1alpha1", 1)]),
    ("authorization.k8s.io", 17_600, &[]),
    ("autoscaling", 17_500, &[("v2", 30), ("v2beta1", 9), ("v2beta2", 1)]),
    ("batch", 17_400, &[("v1beta1", 9), ("v2alpha1", 9)]),
    ("certificates.k8s.io", 17_300, &[("v1beta1", 9), ("v1alpha1", 1)]),
    ("networking.k8s.io", 17_200, &[("v1beta1", 9)]),
    ("policy", 17_100, &[("v1beta1", 9)]),
    ("rbac.authorization.k8s.io", 17_000, &[]),
    ("storage.k8s.io", 16_800, &[("v1beta1", 9), ("v1alpha1", 1)]),
    ("apiextensions.k8s.io", 16_700, &[]),
    ("admissionregistration.k8s.io", 16_700, &[("v1beta1", 12), ("v1alpha1", 9)]),
    ("scheduling.k8s.io", 16_600, &[]),
    ("coordination.k8s.io", 16_500, &[("v1beta1", 13), ("v1alpha2", 12)]),
    ("node.k8s.io", 16_300, &[("v1beta1", 9), ("v1alpha1", 1)]),
    ("resource.k8s.io", 16_200, &[("v1", 20), ("v1beta1", 9), ("v1alpha3", 1)]),
    ("discovery.k8s.io", 16_200, &[("v1beta1", 12)]),
    ("flowcontrol.apiserver.k8s.io", 16_100, &[("v1", 21), ("v1beta3", 18)]),
    ("internal.apiserver.k8s.io", 16_000, &[("v1alpha1", 9)]),
    ("storagemigration.k8s.io", 15_800, &[("v1beta1", 9)]),
];

/// Of a built-in group and version; None for one that has no APIService.
pub fn built_in(group: &str, version: &str) -> Option<Priority> {
    let (_, priority, versions) = GROUPS.iter().find(|(name, ..)| *name == group)?;
    let own = versions.iter().find(|(name, _)| *name == version).map_or(15, |(_, own)| *own);
    Some(of(*priority, own))
}

/// Orders versions of one group: by priority, then GA before beta before alpha, the newest first.
pub fn sort_versions(versions: &mut [(String, Priority)]) {
    versions.sort_by(|(a, of_a), (b, of_b)| of_b.version.cmp(&of_a.version).then_with(|| rank(b).cmp(&rank(a))).then_with(|| a.cmp(b)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_upstream_does() {
        let names = ["v1beta1", "v2", "v1", "v2beta1", "v10", "v1alpha1", "foo"];
        let mut versions: Vec<(String, Priority)> = names.iter().map(|name| ((*name).to_owned(), CUSTOM)).collect();
        versions.push(("v0".into(), of(1, 200)));
        sort_versions(&mut versions);
        let order: Vec<&str> = versions.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(order, ["v0", "v10", "v2", "v1", "v2beta1", "v1beta1", "v1alpha1", "foo"]);
    }

    #[test]
    fn every_built_in_group_but_the_registry_has_its_place() {
        for kind in kinds::all().iter().filter(|kind| kind.group != "apiregistration.k8s.io") {
            assert!(built_in(&kind.group, &kind.version).is_some(), "{}", kind.api_version());
        }
        assert_eq!(built_in("autoscaling", "v2"), Some(of(17_500, 30)));
        assert_eq!(built_in("apps", "v1"), Some(of(17_800, 15)));
    }
}
