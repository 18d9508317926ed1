//! Claims: how many, and how much storage, in all and of each class.

use schema::{DocExt, Value};

use super::one;
use crate::core::pod::resources::amounts;
use crate::lens::Resources;

const CLAIMS: &str = "persistentvolumeclaims";
const STORAGE: &str = "requests.storage";
const OF_CLASS: &str = ".storageclass.storage.k8s.io/";
/// Names the class of a claim from before there was a member for it.
const OLDER: &str = "volume.beta.kubernetes.io/storage-class";

pub(super) fn is_for(name: &str) -> bool {
    let general = name.split_once(OF_CLASS).map_or(name, |(_, rest)| rest);
    matches!(general, CLAIMS | STORAGE)
}

pub(super) fn usage(claim: &Value) -> Resources {
    let class = class(claim);
    let asked = amounts(claim, "spec.resources.requests").remove("storage");
    let given = amounts(claim, "status.allocatedResources").remove("storage");
    let storage = asked.map(|asked| given.map_or(asked, |given| asked.max(given)));
    let mut used = Resources::new();
    for (name, amount) in [(CLAIMS, Some(one())), (STORAGE, storage)] {
        let Some(amount) = amount else { continue };
        used.insert(name.to_owned(), amount);
        if !class.is_empty() {
            used.insert(format!("{class}{OF_CLASS}{name}"), amount);
        }
    }
    used
}

/// The storage class that the claim names.
fn class(claim: &Value) -> &str {
    let older = claim.map_at("metadata.annotations").and_then(|annotations| annotations.get(OLDER)).and_then(Value::as_str);
    older.unwrap_or_else(|| claim.str_at("spec.storageClassName"))
}
