//! What a slice of devices must hold: where they are, what they are called and what they have.

use schema::{DocExt, FieldErrors, Path, Value};

use super::super::device::{attribute_name, driver_name, list, pool_name, taint, unique};
use crate::core::pod::rules::scheduling;
use crate::rules::{dns_label, dns_subdomain, is_given, sub};

const DEVICES_MAX: usize = 128;
/// With taints or counters, which cost more.
const ADVANCED_DEVICES_MAX: usize = 64;
const TAINTS_MAX: usize = 16;
const COUNTER_SETS_MAX: usize = 8;
const COUNTERS_MAX: usize = 32;
const ATTRIBUTES_MAX: usize = 32;
const VALUE_BYTES_MAX: usize = 64;
const PLACES: &[&str] = &["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"];

pub(super) fn slice(new: &Value, errors: &mut FieldErrors) {
    let (spec, path) = (sub(new, "spec"), Path::new("spec"));
    driver_name(spec.str_at("driver"), &path.child("driver"), errors);
    pool(sub(spec, "pool"), &path.child("pool"), errors);
    place(spec, &path, errors);
    let devices = spec.items_at("devices");
    let is_advanced = |device: &Value| !device.items_at("taints").is_empty() || !device.items_at("consumesCounters").is_empty();
    let max = if devices.iter().any(is_advanced) { ADVANCED_DEVICES_MAX } else { DEVICES_MAX };
    list(devices, max, &path.child("devices"), errors, device);
    unique(devices, "name", &path.child("devices"), errors);
    let sets = spec.items_at("sharedCounters");
    list(sets, COUNTER_SETS_MAX, &path.child("sharedCounters"), errors, |set, path, errors| {
        counter_set(set, "name", path, errors);
    });
    unique(sets, "name", &path.child("sharedCounters"), errors);
}

fn pool(pool: &Value, path: &Path, errors: &mut FieldErrors) {
    pool_name(pool.str_at("name"), &path.child("name"), errors);
    let (slices, generation) = (pool.i64_at("resourceSliceCount").unwrap_or_default(), pool.i64_at("generation").unwrap_or_default());
    if slices <= 0 {
        errors.invalid(&path.child("resourceSliceCount"), slices, "must be greater than zero");
    }
    if generation < 0 {
        errors.invalid(&path.child("generation"), generation, "must be greater than or equal to zero");
    }
}

/// Exactly one way to say where the devices are.
fn place(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let is_set = |member: &&&str| match sub(spec, member) {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::String(text) => !text.is_empty(),
        _ => true,
    };
    let given: Vec<String> = PLACES.iter().filter(is_set).map(|member| format!("`{member}`")).collect();
    if !spec.str_at("nodeName").is_empty() {
        dns_subdomain(spec.str_at("nodeName"), &path.child("nodeName"), errors);
    }
    if is_given(spec, "nodeSelector") {
        one_term(&spec["nodeSelector"], &path.child("nodeSelector"), errors);
    }
    let one = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match given.len() {
        0 => errors.required(path, one),
        1 => {}
        _ => errors.invalid(path, format!("{{{}}}", given.join(", ")), &format!("{one}, but multiple fields are set")),
    }
}

fn one_term(selector: &Value, path: &Path, errors: &mut FieldErrors) {
    scheduling::node_selector(selector, path, errors);
    let terms = selector.items_at("nodeSelectorTerms");
    if terms.len() != 1 {
        errors.invalid(&path.child("nodeSelectorTerms"), terms.to_vec(), "must have exactly one node selector term");
    }
}

fn device(device: &Value, path: &Path, errors: &mut FieldErrors) {
    dns_label(device.str_at("name"), &path.child("name"), errors);
    let mut count = 0;
    for member in ["attributes", "capacity"] {
        for (name, given) in sub(device, member).as_object().into_iter().flatten() {
            count += 1;
            let path = path.child(member).key(name);
            attribute_name(name, &path, errors);
            if member == "attributes" {
                attribute(given, &path, errors);
            }
        }
    }
    if count > ATTRIBUTES_MAX {
        errors.invalid(path, count, &format!("the total number of attributes and capacities must not exceed {ATTRIBUTES_MAX}"));
    }
    list(device.items_at("taints"), TAINTS_MAX, &path.child("taints"), errors, taint);
    for (at, consumed) in device.items_at("consumesCounters").iter().enumerate() {
        counter_set(consumed, "counterSet", &path.child("consumesCounters").index(at), errors);
    }
    unique(device.items_at("consumesCounters"), "counterSet", &path.child("consumesCounters"), errors);
    if is_given(device, "nodeSelector") {
        one_term(&device["nodeSelector"], &path.child("nodeSelector"), errors);
    }
}

/// One value of one type, and no long texts.
fn attribute(attribute: &Value, path: &Path, errors: &mut FieldErrors) {
    let given = attribute.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()).count();
    for member in ["string", "version"] {
        let text = sub(attribute, member).as_str().unwrap_or_default();
        if is_given(attribute, member) && member == "version" && !is_semantic_version(text) {
            errors.invalid(&path.child(member), text, "must be a string compatible with semver.org spec 2.0.0");
        }
        if text.len() > VALUE_BYTES_MAX {
            errors.too_long(&path.child(member), VALUE_BYTES_MAX);
        }
    }
    match given {
        0 => errors.required(path, "exactly one value must be specified"),
        1 => {}
        _ => errors.invalid(path, attribute.clone(), "exactly one value must be specified"),
    }
}

/// `1.2.3-alpha.1+build`
fn is_semantic_version(text: &str) -> bool {
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
    let is_word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let is_number =
        |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()) && !part.is_empty() && (part == "0" || !part.starts_with('0'));
    let is_pre = |part: &str| is_word(part) && (is_number(part) || part.bytes().any(|byte| !byte.is_ascii_digit()));
    core.split('.').count() == 3
        && core.split('.').all(is_number)
        && pre.is_none_or(|pre| pre.split('.').all(is_pre))
        && build.is_none_or(|build| build.split('.').all(is_word))
}

/// Counters under a name of their own.
fn counter_set(set: &Value, member: &str, path: &Path, errors: &mut FieldErrors) {
    match sub(set, member).as_str().unwrap_or_default() {
        "" => errors.required(&path.child(member), ""),
        name => dns_label(name, &path.child(member), errors),
    }
    let counters = set.map_at("counters");
    match counters.map_or(0, schema::Map::len) {
        0 => errors.required(&path.child("counters"), ""),
        count if count > COUNTERS_MAX => errors.too_many(&path.child("counters"), count, COUNTERS_MAX),
        _ => {}
    }
    for (name, _) in counters.into_iter().flatten() {
        dns_label(name, &path.child("counters").key(name), errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_three_numbers_and_no_leading_zeros() {
        for good in ["1.2.3", "0.0.0", "1.2.3-alpha.1", "1.2.3+b.01", "1.0.0-0a.b-c+x-y"] {
            assert!(is_semantic_version(good), "{good}");
        }
        for bad in ["", "1.2", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3+", "v1.2.3"] {
            assert!(!is_semantic_version(bad), "{bad}");
        }
    }
}
