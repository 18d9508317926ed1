//! What calls cost at run time, from the sizes of their arguments and results. The figures are Kubernetes' own: which
//! expressions run out of their budget is behaviour that clients see.

use crate::env::Overload;
use crate::fault::Fault;
use crate::value::Value;

/// The cost of one call. An argument that failed counts as one of size 1.
pub(crate) type Charge = for<'a> fn(&[Value<'a>], &Result<Value<'a>, Fault>) -> u64;

/// Reading a character, or comparing one.
pub(crate) const STRING_FACTOR: f64 = 0.1;
/// A character of a regular expression.
pub(crate) const REGEX_FACTOR: f64 = 0.25;
pub(crate) const LIST: u64 = 10;
pub(crate) const MAP: u64 = 30;
pub(crate) const OBJECT: u64 = 40;
pub(crate) const CHECK: u64 = 350_000;

/// The charge of a function; `overload` where only one can be meant.
pub(crate) fn charge(function: &str, overload: Option<&Overload>) -> Charge {
    let overload = overload.map_or("", |overload| overload.id);
    by_overload(overload).or_else(|| by_function(function, overload)).or_else(|| by_operator(overload)).unwrap_or(|_, _| 1)
}

fn by_overload(overload: &str) -> Option<Charge> {
    Some(match overload {
        "list_slice" | "lists_range" | "list_reverse" => |_, result| allocated(1.0, result_size(result)),
        "list_flatten" => |args, _| allocated(1.0, args[0].size()),
        "list_flatten_int" => |args, _| allocated(if let Value::Int(depth) = args[1] { depth as f64 } else { 1.0 }, args[0].size()),
        "list_distinct" => |args, _| compared(&args[0]),
        "list_sets_contains_list" | "list_sets_intersects_list" => |args, _| sets(args, 1.0),
        "list_sets_equivalent_list" => |args, _| sets(args, 2.0),
        sort if sort.starts_with("list_") && sort.ends_with("_sort") => |args, _| compared(&args[0]),
        sort if sort.ends_with("_sortByAssociatedKeys") => |args, _| compared(&args[1]),
        _ => return None,
    })
}

fn by_function(function: &str, overload: &str) -> Option<Charge> {
    Some(match function {
        "check" => |_, _| CHECK,
        "fieldSelector" | "labelSelector" => |args, _| selector(args[1].size()),
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" | "includes" => |args, _| traversal(&args[0]),
        "url" | "lowerAscii" | "upperAscii" | "substring" | "trim" | "jsonpatch.escapeKey" => |args, _| scan(args[0].size(), 1.0),
        "replace" | "split" | "ip.isCanonical" => |args, _| scan(args[0].size(), 2.0),
        "join" => |_, result| scan(result_size(result), 2.0),
        "find" | "findAll" => |args, _| pattern(args[0].size(), args[1].size()),
        "ip" if overload == "cidr_ip" => |_, _| 1,
        "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver" => |args, _| scan(args[0].size(), 1.0),
        "containsIP" if overload == "cidr_contains_ip_string" => |args, _| within(args) + scan(args[1].size(), 1.0),
        "containsIP" => |args, _| within(args),
        "containsCIDR" if overload == "cidr_contains_cidr_string" => |args, _| network_within(args) + scan(args[1].size(), 1.0),
        "containsCIDR" => |args, _| network_within(args),
        "validate" => |args, _| match &args[0] {
            Value::Format(format) => pattern(args[1].size(), format.regex_size),
            _ => 1,
        },
        _ => return None,
    })
}

fn by_operator(overload: &str) -> Option<Charge> {
    Some(match overload {
        "starts_with_string" | "ends_with_string" => |args, _| scan(args[1].size(), 1.0),
        "string_to_bytes" | "bytes_to_string" | "strings_quote" | "string_format" => |args, _| scan(args[0].size(), 1.0),
        "in_list" => |args, _| args[1].size(),
        "add_string" | "add_bytes" => |args, _| scan(args[0].size().saturating_add(args[1].size()), 1.0),
        "matches" | "matches_string" => |args, _| pattern(args[0].size(), args[1].size()),
        "contains_string" => |args, _| scan(args[0].size(), 1.0).saturating_mul(scan(args[1].size(), 1.0)),
        id if is_order_of_texts(id) => |args, _| scan(args[0].size().min(args[1].size()), 1.0),
        _ => return None,
    })
}

pub(crate) fn is_order_of_texts(overload: &str) -> bool {
    let order = overload.strip_prefix("less_").or_else(|| overload.strip_prefix("greater_"));
    order.is_some_and(|rest| matches!(rest, "string" | "bytes" | "equals_string" | "equals_bytes"))
}

/// `==`: addresses, amounts and the like at once, others by the shorter one.
pub(crate) fn equality(one: &Value<'_>, other: &Value<'_>) -> u64 {
    use Value::{Authorizer, Check, Cidr, Decision, Format, Ip, Quantity, Semver, Url};
    if matches!(one, Url(_) | Quantity(_) | Ip(_) | Cidr(_) | Semver(_) | Format(_) | Authorizer(_) | Check(_) | Decision(_)) {
        return 1;
    }
    inequality(one, other)
}

/// `!=`
pub(crate) fn inequality(one: &Value<'_>, other: &Value<'_>) -> u64 {
    scan(held_size(one).min(held_size(other)), 1.0)
}

fn held_size(value: &Value<'_>) -> u64 {
    if let Value::Optional(Some(held)) = value { held_size(held) } else { value.size() }
}

fn scan(size: u64, times: f64) -> u64 {
    (size as f64 * times * STRING_FACTOR).ceil() as u64
}

fn pattern(text: u64, pattern: u64) -> u64 {
    let text = ((1.0 + text as f64) * STRING_FACTOR).ceil() as u64;
    text.saturating_mul((pattern as f64 * REGEX_FACTOR).ceil() as u64)
}

fn result_size(result: &Result<Value<'_>, Fault>) -> u64 {
    result.as_ref().map_or(1, Value::size)
}

/// A call that makes a list.
fn allocated(factor: f64, size: u64) -> u64 {
    let factor = if factor < 0.0 { 1.0 } else { factor };
    ((size as f64 * factor) as u64).saturating_add(1 + LIST)
}

/// Every item with every other.
fn compared(list: &Value<'_>) -> u64 {
    let size = list.size();
    let first = if let Value::List(list) = list { list.at(0).and_then(Result::ok) } else { None };
    let texts = matches!(first, Some(Value::String(_) | Value::Bytes(_)));
    allocated(if texts { 2.0 + STRING_FACTOR } else { 2.0 }, size.saturating_mul(size))
}

fn sets(args: &[Value<'_>], factor: f64) -> u64 {
    ((args[0].size().saturating_mul(args[1].size()) as f64 * factor) as u64).saturating_add(1)
}

/// An address against the bytes of a network.
fn within(args: &[Value<'_>]) -> u64 {
    scan(args[0].size(), 2.0)
}

fn network_within(args: &[Value<'_>]) -> u64 {
    within(args) + scan(args[0].size(), 1.0) + 1
}

/// A selector becomes requirements, one per two characters at most.
fn selector(size: u64) -> u64 {
    let requirements = (size as f64 * 0.5).ceil();
    LIST + scan(size, 1.0) + (requirements * (LIST + OBJECT) as f64).ceil() as u64
}

/// Every value of a tree once.
fn traversal(value: &Value<'_>) -> u64 {
    match value {
        Value::String(text) => (text.len() as f64 * STRING_FACTOR) as u64,
        Value::Bytes(bytes) => (bytes.len() as f64 * STRING_FACTOR) as u64,
        Value::List(list) => list.iter().map(|item| item.map_or(1, |item| traversal(&item))).sum(),
        Value::Map(map) => {
            let entries = map.entries().unwrap_or_default();
            entries.iter().map(|(key, value)| traversal(key) + traversal(value)).sum()
        }
        _ => 1,
    }
}
