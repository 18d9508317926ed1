//! ServiceCIDR: a range of cluster addresses.

use ipnet::IpNet;
use schema::{DocExt, FieldErrors, Path, Value, json};

use crate::cells::{AGE, NAME};
use crate::descriptor::WriteContext;
use crate::kind::{Col, Kind, Meta, Question, Sub};
use crate::rules::{canonical_cidr, conditions};

/// A range of cluster addresses.
pub struct ServiceCidr;

impl Kind for ServiceCidr {
    const META: Meta =
        Meta { subresources: &[Sub::STATUS], generation: true, ..Meta::cluster("networking.k8s.io", "ServiceCIDR", "servicecidrs") };
    const NOTHING: &[Question] = &[Question::Fields, Question::Defaults, Question::Warnings];
    const COLUMNS: &[Col] = &[
        NAME,
        Col::of("CIDRs", |doc| json!(doc.items_at("spec.cidrs").iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","))),
        AGE,
    ];

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let (cidrs, path) = (new.items_at("spec.cidrs"), Path::new("spec.cidrs"));
        if cidrs.is_empty() {
            return errors.required(&path, "at least one CIDR required");
        }
        if cidrs.len() > 2 {
            errors.invalid(&path, cidrs.to_vec(), "may only hold up to 2 values");
        } else if is_one_family(cidrs) {
            errors.invalid(
                &path,
                cidrs.to_vec(),
                "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
            );
        }
        for (at, range) in cidrs.iter().enumerate() {
            canonical_cidr(range.as_str().unwrap_or_default(), &path.index(at), errors);
        }
    }

    /// A second range, of the other family, may come; nothing else changes.
    fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
        let (now, before, path) = (new.items_at("spec.cidrs"), old.items_at("spec.cidrs"), Path::new("spec.cidrs"));
        if before.len() == 1 && now.len() == 2 {
            if now[0] != before[0] {
                errors.invalid(&path.index(0), now[0].clone(), "primary CIDR can not be changed");
            }
        } else if now != before {
            errors.invalid(&path, now.to_vec(), "field is immutable");
        }
    }

    fn validate_subresource(new: &Value, _old: &Value, cx: &WriteContext<'_>, errors: &mut FieldErrors) {
        if cx.subresource == "status" {
            conditions(new.items_at("status.conditions"), &Path::new("status.conditions"), errors);
        }
    }
}

fn is_one_family(cidrs: &[Value]) -> bool {
    let families: Vec<bool> =
        cidrs.iter().filter_map(|range| range.as_str()?.parse::<IpNet>().ok()).map(|range| range.addr().is_ipv6()).collect();
    matches!(families[..], [first, second] if first == second)
}
