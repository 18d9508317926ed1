//! What a claim asks of devices, and what its status may say of the devices it got.

use std::collections::{BTreeMap, BTreeSet};

use schema::{DocExt, FieldErrors, Path, Value};

use super::super::device::{configuration, driver_name, full_attribute_name, list, pool_name, raw, selectors, toleration, unique};
use crate::core::pod::defaults::default_text;
use crate::core::pod::rules::scheduling;
use crate::kind::same;
use crate::rules::{conditions, dns_label, dns_subdomain, is_given, not_supported, one_of, required, sub};

const REQUESTS_MAX: usize = 32;
const ALTERNATIVES_MAX: usize = 8;
const TOLERATIONS_MAX: usize = 16;
const RESERVED_MAX: usize = 256;
const CONDITIONS_MAX: usize = 8;
const NOT_A_REQUEST: &str = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

/// The requests of a claim by name, each with the names of its alternatives.
type Requests<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// The defaults of a `ResourceClaimSpec`: one device, and tolerations that compare.
pub(in crate::resource) fn fill(spec: &mut Value) {
    for request in spec.items_at_mut("devices.requests") {
        request.at_mut("exactly").filter(|exactly| exactly.is_object()).into_iter().for_each(fill_request);
        request.items_at_mut("firstAvailable").iter_mut().for_each(fill_request);
    }
}

fn fill_request(request: &mut Value) {
    default_text(request, "allocationMode", "ExactCount");
    if request.str_at("allocationMode") == "ExactCount" && request.i64_at("count").unwrap_or_default() == 0 {
        request.set_at("count", 1);
    }
    request.items_at_mut("tolerations").iter_mut().for_each(|toleration| default_text(toleration, "operator", "Equal"));
}

/// A `ResourceClaimSpec`.
pub(in crate::resource) fn spec(spec: &Value, is_stored: bool, path: &Path, errors: &mut FieldErrors) {
    let (devices, path, known) = (sub(spec, "devices"), path.child("devices"), requests(spec));
    let all = devices.items_at("requests");
    list(all, REQUESTS_MAX, &path.child("requests"), errors, |one, path, errors| request(one, is_stored, path, errors));
    unique(all, "name", &path.child("requests"), errors);
    list(devices.items_at("constraints"), REQUESTS_MAX, &path.child("constraints"), errors, |one, path, errors| {
        names(one.items_at("requests"), &known, &path.child("requests"), errors);
        let attribute = ["matchAttribute", "distinctAttribute"].into_iter().find(|member| is_given(one, member));
        match attribute {
            Some(member) => full_attribute_name(sub(one, member).as_str().unwrap_or_default(), &path.child(member), errors),
            None => errors.required(&path.child("matchAttribute"), ""),
        }
    });
    list(devices.items_at("config"), REQUESTS_MAX, &path.child("config"), errors, |one, path, errors| {
        names(one.items_at("requests"), &known, &path.child("requests"), errors);
        configuration(one, is_stored, path, errors);
    });
}

fn requests(spec: &Value) -> Requests<'_> {
    let all = spec.items_at("devices.requests").iter();
    all.map(|request| (request.str_at("name"), alternatives(request))).collect()
}

fn alternatives(request: &Value) -> BTreeSet<&str> {
    request.items_at("firstAvailable").iter().map(|one| one.str_at("name")).collect()
}

fn request(request: &Value, is_stored: bool, path: &Path, errors: &mut FieldErrors) {
    dns_label(request.str_at("name"), &path.child("name"), errors);
    let alternatives = request.items_at("firstAvailable");
    if is_given(request, "exactly") {
        wanted(&request["exactly"], is_stored, &path.child("exactly"), errors);
    }
    list(alternatives, ALTERNATIVES_MAX, &path.child("firstAvailable"), errors, |one, path, errors| {
        dns_label(one.str_at("name"), &path.child("name"), errors);
        wanted(one, is_stored, path, errors);
    });
    unique(alternatives, "name", &path.child("firstAvailable"), errors);
    match (is_given(request, "exactly"), alternatives.is_empty()) {
        (false, true) => errors.required(path, "exactly one of `exactly` or `firstAvailable` is required"),
        (true, false) => {
            let text = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.invalid(path, "null", text);
        }
        _ => {}
    }
}

/// A class of devices, how many of them and which.
fn wanted(request: &Value, is_stored: bool, path: &Path, errors: &mut FieldErrors) {
    match request.str_at("deviceClassName") {
        "" => errors.required(&path.child("deviceClassName"), ""),
        class => dns_subdomain(class, &path.child("deviceClassName"), errors),
    }
    selectors(request.items_at("selectors"), is_stored, &path.child("selectors"), errors);
    let count = request.i64_at("count").unwrap_or_default();
    match request.str_at("allocationMode") {
        "All" if count != 0 => {
            errors.invalid(&path.child("count"), count, "must not be specified when allocationMode is 'All'");
        }
        "ExactCount" if count <= 0 => errors.invalid(&path.child("count"), count, "must be greater than zero"),
        "All" | "ExactCount" => {}
        other => not_supported(&path.child("allocationMode"), &other.into(), &["All", "ExactCount"], errors),
    }
    list(request.items_at("tolerations"), TOLERATIONS_MAX, &path.child("tolerations"), errors, toleration);
}

/// References to requests, and to alternatives as `request/alternative`.
fn names(references: &[Value], known: &Requests<'_>, path: &Path, errors: &mut FieldErrors) {
    list(references, REQUESTS_MAX, path, errors, |name, path, errors| {
        self::name(name.as_str().unwrap_or_default(), known, path, errors);
    });
    unique(references, "", path, errors);
}

fn name(name: &str, known: &Requests<'_>, path: &Path, errors: &mut FieldErrors) {
    let parts: Vec<&str> = name.split('/').collect();
    let is_known = match parts.as_slice() {
        [request] => known.contains_key(request),
        [request, alternative] => known.get(request).is_some_and(|alternatives| alternatives.contains(alternative)),
        _ => return errors.invalid(path, name, NOT_A_REQUEST),
    };
    parts.iter().for_each(|part| dns_label(part, path, errors));
    if !is_known {
        errors.invalid(path, name, NOT_A_REQUEST);
    }
}

/// A write to the status: an allocation is made once, users come and go while the claim lives.
pub(super) fn status(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (status, before, path) = (sub(new, "status"), sub(old, "status"), Path::new("status"));
    let users = status.items_at("reservedFor");
    list(users, RESERVED_MAX, &path.child("reservedFor"), errors, |user, path, errors| {
        ["resource", "name", "uid"].iter().for_each(|member| required(user, member, path, errors));
    });
    unique(users, "uid", &path.child("reservedFor"), errors);
    devices(status, &path.child("devices"), errors);
    let is_allocated = is_given(status, "allocation");
    let is_leaving = !new.str_at("metadata.deletionTimestamp").is_empty();
    if !users.is_empty() && !is_allocated {
        errors.forbidden(&path.child("reservedFor"), "may not be specified when `allocated` is not set");
    } else if is_leaving && users.iter().any(|user| !before.items_at("reservedFor").contains(user)) {
        let text = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        errors.forbidden(&path.child("reservedFor"), text);
    }
    let path = path.child("allocation");
    if is_allocated && is_given(before, "allocation") {
        if !same(&status["allocation"], &before["allocation"]) {
            errors.invalid(&path, status["allocation"].clone(), "field is immutable");
        }
    } else if is_allocated {
        allocation(&status["allocation"], &requests(sub(new, "spec")), &path, errors);
    }
}

fn allocation(allocation: &Value, known: &Requests<'_>, path: &Path, errors: &mut FieldErrors) {
    let devices = path.child("devices");
    list(allocation.items_at("devices.results"), REQUESTS_MAX, &devices.child("results"), errors, |result, path, errors| {
        name(result.str_at("request"), known, &path.child("request"), errors);
        device_id(result, path, errors);
    });
    list(allocation.items_at("devices.config"), 2 * REQUESTS_MAX, &devices.child("config"), errors, |config, path, errors| {
        one_of(config, "source", &["FromClaim", "FromClass"], path, errors);
        names(config.items_at("requests"), known, &path.child("requests"), errors);
        configuration(config, false, path, errors);
    });
    if is_given(allocation, "nodeSelector") {
        scheduling::node_selector(&allocation["nodeSelector"], &path.child("nodeSelector"), errors);
    }
}

fn device_id(device: &Value, path: &Path, errors: &mut FieldErrors) {
    driver_name(device.str_at("driver"), &path.child("driver"), errors);
    pool_name(device.str_at("pool"), &path.child("pool"), errors);
    dns_label(device.str_at("device"), &path.child("device"), errors);
}

/// What drivers say of the devices that the claim has.
fn devices(status: &Value, path: &Path, errors: &mut FieldErrors) {
    let id = |device: &Value| ["driver", "pool", "device"].map(|member| sub(device, member).clone());
    let allocated: Vec<_> = status.items_at("allocation.devices.results").iter().map(id).collect();
    let shown = |device: &Value| format!("{}/{}/{}", device.str_at("driver"), device.str_at("pool"), device.str_at("device"));
    let reported = status.items_at("devices");
    for (at, device) in reported.iter().enumerate() {
        let path = path.index(at);
        device_id(device, &path, errors);
        if !allocated.contains(&id(device)) {
            errors.invalid(&path, shown(device), "must be an allocated device in the claim");
        }
        let found = device.items_at("conditions");
        if found.len() > CONDITIONS_MAX {
            errors.too_many(&path.child("conditions"), found.len(), CONDITIONS_MAX);
        }
        conditions(found, &path.child("conditions"), errors);
        if is_given(device, "data") {
            raw(device.at("data"), false, &path.child("data"), errors);
        }
        if reported[..at].iter().any(|before| id(before) == id(device)) {
            errors.duplicate(&path.child("deviceID"), shown(device));
        }
    }
}
