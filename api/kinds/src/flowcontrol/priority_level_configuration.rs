//! PriorityLevelConfiguration: how many requests of a sort may run at once.

use schema::{DocExt, Value, json};

use crate::cells::{AGE, NAME};
use crate::kind::{Col, Kind, Meta, Sub};

/// How many requests of a sort may run at once.
pub struct PriorityLevelConfiguration;

impl Kind for PriorityLevelConfiguration {
    const META: Meta = Meta {
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::cluster("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", "prioritylevelconfigurations")
    };
    const COLUMNS: &[Col] = &[
        NAME,
        Col::path("Type", "spec.type"),
        Col::of("NominalConcurrencyShares", |doc| {
            number(doc, &["spec.limited.nominalConcurrencyShares", "spec.exempt.nominalConcurrencyShares"])
        }),
        Col::of("Queues", |doc| number(doc, &["spec.limited.limitResponse.queuing.queues"])),
        Col::of("HandSize", |doc| number(doc, &["spec.limited.limitResponse.queuing.handSize"])),
        Col::of("QueueLengthLimit", |doc| number(doc, &["spec.limited.limitResponse.queuing.queueLengthLimit"])),
        AGE,
    ];
}

fn number(doc: &Value, paths: &[&str]) -> Value {
    paths.iter().find_map(|path| doc.i64_at(path)).map_or(json!("<none>"), |number| json!(number))
}
