//! The suite that every pod network passes: `suite::run(&driver, namespace).await` panics at the first broken promise.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;

use super::{PodAddress, PodNet};

/// Runs all cases on one fresh driver. `namespace` makes a network namespace and gives a path to it that stays good
/// until the suite ends.
pub async fn run(net: &dyn PodNet, mut namespace: impl FnMut() -> PathBuf) {
    assert_eq!(net.observe().await.unwrap(), [], "the driver is fresh");
    let path = namespace();
    let first = net.ensure("suite-a", &path).await.unwrap();
    assert_eq!(first.pod_uid, "suite-a");
    assert!(!first.ips.is_empty());
    assert_eq!(net.ensure("suite-a", &path).await.unwrap(), first, "the same pod gets the same address");
    assert_eq!(net.ensure("suite-a", &namespace()).await.unwrap(), first, "in a new namespace too");
    let second = net.ensure("suite-b", &namespace()).await.unwrap();
    assert_no_overlap(&[&first, &second]);
    assert_eq!(observed(net).await, sorted(vec![first.clone(), second.clone()]));

    net.remove("suite-a").await.unwrap();
    net.remove("suite-a").await.unwrap();
    net.remove("suite-never-there").await.unwrap();
    assert_eq!(observed(net).await, std::slice::from_ref(&second));
    let third = net.ensure("suite-c", &namespace()).await.unwrap();
    assert_no_overlap(&[&first, &second, &third]); // a freed address is not given out at once

    for uid in ["suite-b", "suite-c"] {
        net.remove(uid).await.unwrap();
    }
    assert_eq!(observed(net).await, []);
}

fn assert_no_overlap(all: &[&PodAddress]) {
    let mut seen: HashSet<IpAddr> = HashSet::new();
    for ip in all.iter().flat_map(|address| &address.ips) {
        assert!(seen.insert(*ip), "{ip} has two owners: {all:?}");
    }
}

async fn observed(net: &dyn PodNet) -> Vec<PodAddress> {
    sorted(net.observe().await.unwrap())
}

fn sorted(mut addresses: Vec<PodAddress>) -> Vec<PodAddress> {
    addresses.sort_by(|a, b| a.pod_uid.cmp(&b.pod_uid));
    addresses
}

#[cfg(test)]
mod tests {
    use crate::fake::FakePodNet;

    #[tokio::test]
    async fn the_fake_passes() {
        super::run(&FakePodNet::new("10.0.0.0/24".parse().unwrap()), || "/".into()).await;
    }
}
