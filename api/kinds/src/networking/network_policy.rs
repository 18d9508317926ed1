//! NetworkPolicy: which traffic pods accept and send.

use schema::{DocExt, FieldErrors, LabelSelector, Path, Value, json};

use crate::cells::{AGE, NAME};
use crate::core::pod::defaults::default_text;
use crate::kind::{Col, Kind, Meta, Question};
use crate::rules::{cidr, is_given, not_supported, port_number_or_name};
use crate::workload;

/// Which traffic pods accept and send.
pub struct NetworkPolicy;

impl Kind for NetworkPolicy {
    const META: Meta =
        Meta { short: &["netpol"], generation: true, ..Meta::namespaced("networking.k8s.io", "NetworkPolicy", "networkpolicies") };
    const NOTHING: &[Question] = &[Question::Fields, Question::Subresources, Question::Warnings];
    const COLUMNS: &[Col] = &[NAME, Col::of("Pod-Selector", |doc| workload::selector_text(doc.at("spec.podSelector"))), AGE];

    fn validate(new: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let (spec, path) = (new.at("spec").unwrap_or(&Value::Null), Path::new("spec"));
        LabelSelector::validate(spec.at("podSelector").unwrap_or(&Value::Null), &path.child("podSelector"), errors);
        for (list, peers) in [("ingress", "from"), ("egress", "to")] {
            for (index, rule) in spec.items_at(list).iter().enumerate() {
                let path = path.child(list).index(index);
                each_of(rule, "ports", &path, errors, port);
                each_of(rule, peers, &path, errors, peer);
            }
        }
        let types = spec.items_at("policyTypes");
        if types.len() > TYPES.len() {
            return errors.invalid(&path.child("policyTypes"), types.to_vec(), "may not specify more than two policyTypes");
        }
        for (index, sort) in types.iter().enumerate().filter(|(_, sort)| !TYPES.iter().any(|known| sort == known)) {
            not_supported(&path.child("policyTypes").index(index), sort, TYPES, errors);
        }
    }

    /// Upstream asks the whole object again where it changes, and tells what is wrong twice.
    fn validate_update(new: &Value, _old: &Value, errors: &mut FieldErrors) {
        Self::validate(new, None, errors);
    }

    fn fill_defaults(doc: &mut Value) {
        for list in ["spec.ingress", "spec.egress"] {
            for rule in doc.items_at_mut(list) {
                rule.items_at_mut("ports").iter_mut().for_each(|port| default_text(port, "protocol", "TCP"));
            }
        }
        if doc.items_at("spec.policyTypes").is_empty() {
            let has_egress = !doc.items_at("spec.egress").is_empty();
            doc.set_at("spec.policyTypes", if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
        }
    }
}

const TYPES: &[&str] = &["Ingress", "Egress"];

fn each_of(rule: &Value, list: &str, path: &Path, errors: &mut FieldErrors, check: fn(&Value, &Path, &mut FieldErrors)) {
    for (index, item) in rule.items_at(list).iter().enumerate() {
        check(item, &path.child(list).index(index), errors);
    }
}

fn port(port: &Value, path: &Path, errors: &mut FieldErrors) {
    let protocol = port.str_at("protocol");
    if !["TCP", "UDP", "SCTP"].contains(&protocol) {
        not_supported(&path.child("protocol"), &protocol.into(), &["TCP", "UDP", "SCTP"], errors);
    }
    let end = port.i64_at("endPort");
    match port.at("port").filter(|port| !port.is_null()) {
        None if end.is_some() => errors.required(&path.child("port"), "must be specified when `endPort` is specified"),
        None => {}
        Some(given) => {
            port_number_or_name(Some(given), &path.child("port"), errors);
            match (given.as_i64(), end) {
                (Some(from), Some(end)) if end < from => {
                    errors.invalid(&path.child("endPort"), end, "must be greater than or equal to `port`");
                }
                (None, Some(end)) => errors.invalid(&path.child("endPort"), end, "may not be specified when `port` is non-numeric"),
                _ => {}
            }
        }
    }
}

fn peer(peer: &Value, path: &Path, errors: &mut FieldErrors) {
    let given = |member: &str| is_given(peer, member);
    let selectors = ["podSelector", "namespaceSelector"];
    for member in selectors.into_iter().filter(|member| given(member)) {
        LabelSelector::validate(&peer[member], &path.child(member), errors);
    }
    if given("ipBlock") {
        block(&peer["ipBlock"], &path.child("ipBlock"), errors);
    }
    match (selectors.into_iter().any(given), given("ipBlock")) {
        (false, false) => errors.required(path, "must specify a peer"),
        (true, true) => errors.forbidden(path, "may not specify both ipBlock and another peer"),
        _ => {}
    }
}

fn block(block: &Value, path: &Path, errors: &mut FieldErrors) {
    let text = block.str_at("cidr");
    if text.is_empty() {
        return errors.required(&path.child("cidr"), "");
    }
    cidr(text, &path.child("cidr"), errors);
    let Ok(whole) = text.parse::<ipnet::IpNet>() else { return };
    for (index, except) in block.items_at("except").iter().enumerate() {
        let (text, path) = (except.as_str().unwrap_or_default(), path.child("except").index(index));
        cidr(text, &path, errors);
        let inside = |part: ipnet::IpNet| whole.contains(&part) && whole.prefix_len() < part.prefix_len();
        if text.parse().is_ok_and(|part| !inside(part)) {
            errors.invalid(&path, text, "must be a strict subset of `cidr`");
        }
    }
}
