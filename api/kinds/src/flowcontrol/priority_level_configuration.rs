//! PriorityLevelConfiguration: how many requests of a sort may run at once.

use schema::{DocExt, FieldErrors, Path, Value, json};

use super::flow_schema::conditions;
use crate::cells::{AGE, NAME};
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Question, Sub};
use crate::rules::{is_given, not_supported, sub};

const SHARES: i64 = 30;
const QUEUES_MAX: i64 = 10_000_000;
/// Bits of the hash that deals a request its hand of queues.
const HASH_BITS: u32 = 60;

/// How many requests of a sort may run at once.
pub struct PriorityLevelConfiguration;

impl Kind for PriorityLevelConfiguration {
    const META: Meta = Meta {
        subresources: &[Sub::STATUS],
        generation: true,
        ..Meta::cluster("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", "prioritylevelconfigurations")
    };
    const NOTHING: &[Question] = &[Question::Fields, Question::Updates, Question::Warnings];
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

    fn fill_defaults(doc: &mut Value) {
        for (member, shares) in [("exempt", 0), ("limited", SHARES)] {
            let Some(part) = doc.at_mut("spec").and_then(|spec| spec.at_mut(member)).filter(|part| part.is_object()) else { continue };
            part.default_at("nominalConcurrencyShares", shares);
            part.default_at("lendablePercent", 0);
        }
        let Some(queuing) = doc.at_mut("spec.limited.limitResponse.queuing").filter(|queuing| queuing.is_object()) else { return };
        for (member, number) in [("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)] {
            if queuing.i64_at(member).unwrap_or_default() == 0 {
                queuing.set_at(member, number);
            }
        }
    }

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let (spec, path) = (sub(new, "spec"), Path::new("spec"));
        let kind = spec.str_at("type");
        if (new.str_at("metadata.name") == "exempt") != (kind == "Exempt") {
            errors.invalid(&path.child("type"), kind, "type must be 'Exempt' if and only if name is 'exempt'");
        }
        let (exempt, limited) = (sub(spec, "exempt"), sub(spec, "limited"));
        match kind {
            "Exempt" => {
                if !limited.is_null() {
                    errors.forbidden(&path.child("limited"), "must be nil if the type is not Limited");
                }
                shares(exempt, &path.child("exempt"), errors);
            }
            "Limited" => {
                if !exempt.is_null() {
                    errors.forbidden(&path.child("exempt"), "must be nil if the type is Limited");
                }
                self::limited(limited, &path.child("limited"), errors);
            }
            other => not_supported(&path.child("type"), &other.into(), &["Exempt", "Limited"], errors),
        }
    }

    fn validate_subresource(new: &Value, _old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        if cx.subresource == "status" {
            conditions(new.items_at("status.conditions"), &Path::new("status.conditions"), errors);
        }
    }
}

fn shares(level: &Value, path: &Path, errors: &mut FieldErrors) {
    if let Some(number) = level.i64_at("nominalConcurrencyShares").filter(|number| *number < 0) {
        errors.invalid(&path.child("nominalConcurrencyShares"), number, "must be a non-negative integer");
    }
    if let Some(percent) = level.i64_at("lendablePercent").filter(|percent| !(0..=100).contains(percent)) {
        errors.invalid(&path.child("lendablePercent"), percent, "must be between 0 and 100, inclusive");
    }
}

fn limited(limited: &Value, path: &Path, errors: &mut FieldErrors) {
    if limited.is_null() {
        return errors.required(path, "must not be empty when type is Limited");
    }
    shares(limited, path, errors);
    if let Some(percent) = limited.i64_at("borrowingLimitPercent").filter(|percent| *percent < 0) {
        errors.invalid(&path.child("borrowingLimitPercent"), percent, "if specified, must be a non-negative integer");
    }
    let (response, path) = (sub(limited, "limitResponse"), path.child("limitResponse"));
    let queuing = path.child("queuing");
    match (response.str_at("type"), is_given(response, "queuing")) {
        ("Reject", true) => errors.forbidden(&queuing, "must be nil if limited.limitResponse.type is not Limited"),
        ("Reject", false) => {}
        ("Queue", false) => errors.required(&queuing, "must not be empty if limited.limitResponse.type is Limited"),
        ("Queue", true) => queues(&response["queuing"], &queuing, errors),
        (other, _) => not_supported(&path.child("type"), &other.into(), &["Queue", "Reject"], errors),
    }
}

fn queues(queuing: &Value, path: &Path, errors: &mut FieldErrors) {
    let number = |member: &str| sub(queuing, member).as_i64().unwrap_or_default();
    let (queues, hand) = (number("queues"), number("handSize"));
    if number("queueLengthLimit") <= 0 {
        errors.invalid(&path.child("queueLengthLimit"), number("queueLengthLimit"), "must be positive");
    }
    if queues <= 0 {
        errors.invalid(&path.child("queues"), queues, "must be positive");
    } else if queues > QUEUES_MAX {
        errors.invalid(&path.child("queues"), queues, &format!("must not be greater than {QUEUES_MAX}"));
    }
    let text = match hand {
        ..=0 => "must be positive".to_owned(),
        hand if hand > queues => format!("should not be greater than queues ({queues})"),
        hand if entropy_bits(queues, hand) > HASH_BITS => {
            format!("required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS}")
        }
        _ => return,
    };
    errors.invalid(&path.child("handSize"), hand, &text);
}

/// How many bits deal a hand out of a deck.
fn entropy_bits(deck: i64, hand: i64) -> u32 {
    ((deck as f64).log2() * hand as f64).ceil() as u32
}

fn number(doc: &Value, paths: &[&str]) -> Value {
    paths.iter().find_map(|path| doc.i64_at(path)).map_or(json!("<none>"), |number| json!(number))
}
