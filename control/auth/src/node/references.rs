//! What a pod names, as index keys.

use client::Object;
use kinds::core::{Container, Pod, Volume};
use schema::{DocExt, Value};

/// The sorts of objects that a pod gives its node access to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Pod,
    Secret,
    ConfigMap,
    Claim,
    ServiceAccount,
    ResourceClaim,
}

/// `n1/Secret/default/tls`
pub(super) fn key(node: &str, kind: Kind, namespace: &str, name: &str) -> String {
    format!("{node}/{kind:?}/{namespace}/{name}")
}

/// The index function.
pub(super) fn keys_of(object: &Object) -> Vec<String> {
    pod_keys(object)
}

/// Keys of the pod itself and of everything that it names; none before it has a node.
pub(super) fn pod_keys(object: &Object) -> Vec<String> {
    let Ok(pod) = object.lens::<Pod>() else { return Vec::new() };
    let node = &pod.spec.node_name;
    if node.is_empty() {
        return Vec::new();
    }
    let mut names = vec![(Kind::Pod, object.meta.name.clone())];
    // A mirror pod is the node's own claim of what runs there; it must not give access to anything.
    if !object.meta.annotations.contains_key("kubernetes.io/config.mirror") {
        names.push((Kind::ServiceAccount, pod.spec.service_account_name.clone()));
        names.extend(pod.spec.image_pull_secrets.iter().map(|secret| (Kind::Secret, secret.name.clone())));
        let ephemeral = pod.spec.ephemeral_containers.iter().map(|one| &one.container);
        pod.spec
            .init_containers
            .iter()
            .chain(&pod.spec.containers)
            .chain(ephemeral)
            .for_each(|container| of_container(container, &mut names));
        pod.spec.volumes.iter().for_each(|volume| of_volume(&object.meta.name, volume, &mut names));
        names.extend(
            pod.spec.resource_claims.iter().filter_map(|claim| claim.resource_claim_name.clone()).map(|name| (Kind::ResourceClaim, name)),
        );
        names.extend(made_claims(&object.value()).map(|name| (Kind::ResourceClaim, name)));
    }
    names.retain(|(_, name)| !name.is_empty());
    names.into_iter().map(|(kind, name)| key(node, kind, &object.meta.namespace, &name)).collect()
}

/// Resource claims that were made for the pod: its status names them.
fn made_claims(pod: &Value) -> impl Iterator<Item = String> {
    let made = pod.items_at("status.resourceClaimStatuses").iter().map(|one| one.str_at("resourceClaimName").to_owned());
    let extended = pod.str_at("status.extendedResourceClaimStatus.resourceClaimName").to_owned();
    made.chain([extended]).collect::<Vec<_>>().into_iter()
}

/// The index of volumes: the secrets that a node, and not a controller, needs for mounting one.
pub(super) fn volume_secrets(volume: &Object) -> Vec<String> {
    const PLACES: [(&str, &str, &str); 10] = [
        ("csi.nodePublishSecretRef", "name", "namespace"),
        ("csi.nodeStageSecretRef", "name", "namespace"),
        ("csi.nodeExpandSecretRef", "name", "namespace"),
        ("azureFile", "secretName", "secretNamespace"),
        ("cephfs.secretRef", "name", "namespace"),
        ("cinder.secretRef", "name", "namespace"),
        ("flexVolume.secretRef", "name", "namespace"),
        ("iscsi.secretRef", "name", "namespace"),
        ("rbd.secretRef", "name", "namespace"),
        ("scaleIO.secretRef", "name", "namespace"),
    ];
    let volume = volume.value();
    let spec = volume.at("spec").cloned().unwrap_or_default();
    let of_claim = spec.str_at("claimRef.namespace");
    let named = PLACES.iter().filter_map(|(place, name, namespace)| {
        let reference = spec.at(place)?;
        let namespace = Some(reference.str_at(namespace)).filter(|own| !own.is_empty()).unwrap_or(of_claim);
        Some((namespace.to_owned(), reference.str_at(name).to_owned())).filter(|(_, name)| !name.is_empty())
    });
    named.map(|(namespace, name)| format!("{namespace}/{name}")).collect()
}

fn of_container(container: &Container, names: &mut Vec<(Kind, String)>) {
    for source in container.env.iter().filter_map(|env| env.value_from.as_ref()) {
        names.extend(source.secret_key_ref.iter().map(|key| (Kind::Secret, key.name.clone())));
        names.extend(source.config_map_key_ref.iter().map(|key| (Kind::ConfigMap, key.name.clone())));
    }
    for source in &container.env_from {
        names.extend(source.secret_ref.iter().map(|one| (Kind::Secret, one.name.clone())));
        names.extend(source.config_map_ref.iter().map(|one| (Kind::ConfigMap, one.name.clone())));
    }
}

fn of_volume(pod: &str, volume: &Volume, names: &mut Vec<(Kind, String)>) {
    names.extend(volume.secret.iter().map(|one| (Kind::Secret, one.secret_name.clone())));
    names.extend(volume.config_map.iter().map(|one| (Kind::ConfigMap, one.name.clone())));
    names.extend(volume.persistent_volume_claim.iter().map(|one| (Kind::Claim, one.claim_name.clone())));
    names.extend(volume.ephemeral.iter().map(|_| (Kind::Claim, format!("{pod}-{}", volume.name))));
    for source in volume.projected.iter().flat_map(|projected| &projected.sources) {
        names.extend(source.secret.iter().map(|one| (Kind::Secret, one.name.clone())));
        names.extend(source.config_map.iter().map(|one| (Kind::ConfigMap, one.name.clone())));
    }
    let foreign = [
        &volume.csi,
        &volume.iscsi,
        &volume.rbd,
        &volume.cephfs,
        &volume.cinder,
        &volume.flex_volume,
        &volume.scale_io,
        &volume.storageos,
        &volume.azure_file,
    ];
    for source in foreign.into_iter().flatten() {
        names.extend(secret_of(source).map(|name| (Kind::Secret, name)));
    }
}

/// The secret of a volume source that somebody else mounts.
fn secret_of(source: &Value) -> Option<String> {
    let paths = ["secretRef.name", "nodePublishSecretRef.name", "secretName"];
    paths.iter().map(|path| source.str_at(path)).find(|name| !name.is_empty()).map(str::to_owned)
}
