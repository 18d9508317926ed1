//! FlowSchema: sorts requests into priority levels.

use schema::{DocExt, Value, json};

use crate::cells::{AGE, NAME, condition, or_none};
use crate::kind::{Col, Kind, Meta, Sub};

/// Sorts requests into priority levels.
pub struct FlowSchema;

impl Kind for FlowSchema {
    const META: Meta = Meta {
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::cluster("flowcontrol.apiserver.k8s.io", "FlowSchema", "flowschemas")
    };
    const COLUMNS: &[Col] = &[
        NAME,
        Col::path("PriorityLevel", "spec.priorityLevelConfiguration.name"),
        Col::of("MatchingPrecedence", |doc| json!(doc.i64_at("spec.matchingPrecedence").unwrap_or_default())),
        Col::of("DistinguisherMethod", |doc| or_none(doc.str_at("spec.distinguisherMethod.type"))),
        AGE,
        Col::of("MissingPL", |doc| {
            json!(match condition(doc, "Dangling") {
                "" => "?",
                status => status,
            })
        }),
    ];

    fn fill_defaults(doc: &mut Value) {
        if doc.i64_at("spec.matchingPrecedence").unwrap_or_default() == 0 {
            doc.set_at("spec.matchingPrecedence", 1000);
        }
    }
}
