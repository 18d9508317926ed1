//! The estimates of calls: by overload, by function, and of the language's own operators.

use super::{EntrySize, Estimator, Part, Range};
use crate::ast::Expr;
use crate::cost::{self, REGEX_FACTOR, STRING_FACTOR};
use crate::types::Type;

/// A cost, and the size of the result where it can be told.
type Estimate = (Range, Option<Range>);

const ONE: Range = Range::fixed(1);

/// The expressions that named formats are taken to have.
const FORMAT_REGEX_SIZE: f64 = 128.0;
/// The largest named format.
const FORMAT_SIZE_MAX: u64 = 64;

impl<'c> Estimator<'c> {
    /// One overload of a call, with the cost of its arguments.
    pub(super) fn overload(
        &mut self,
        expr: &'c Expr,
        function: &str,
        overload: &str,
        receiver: Option<&Part<'c>>,
        args: &[Part<'c>],
        costs: &[Range],
    ) -> Estimate {
        let all_args = costs.iter().fold(Range::default(), |sum, cost| sum.plus(*cost));
        let own = by_overload(overload, receiver, args).or_else(|| self.by_function(function, overload, receiver, args));
        if let Some((cost, size)) = own.or_else(|| by_operator(overload, receiver, args)) {
            return (cost.plus(all_args), size);
        }
        match overload {
            "logical_or" | "logical_and" => (Range { min: costs[0].min, max: all_args.max }, None),
            "conditional" => {
                let entry = EntrySize::union(self.entry(args[1].expr), self.entry(args[2].expr));
                self.set_entry(expr, entry);
                (costs[0].plus(costs[1].union(costs[2])), Some(args[1].size().union(args[2].size())))
            }
            "add_string" | "add_bytes" | "add_list" => {
                let entry = EntrySize::union(self.entry(args[0].expr), self.entry(args[1].expr));
                self.set_entry(expr, entry);
                let size = args[0].size().plus(args[1].size());
                let cost = if overload == "add_list" { ONE } else { size.scaled(STRING_FACTOR) };
                (cost.plus(all_args), Some(size))
            }
            _ => (ONE.plus(all_args), None),
        }
    }

    fn set_entry(&mut self, expr: &Expr, entry: Option<EntrySize>) {
        if let Some(entry) = entry {
            self.entries.insert(expr.id, entry);
        }
    }

    /// Kubernetes' own functions.
    fn by_function(&self, function: &str, overload: &str, receiver: Option<&Part<'c>>, args: &[Part<'c>]) -> Option<Estimate> {
        let scan = |part: &Part<'c>, times: f64| part.size().scaled(times * STRING_FACTOR);
        Some(match function {
            "check" => (Range::fixed(cost::CHECK), None),
            "serviceAccount" | "path" | "group" | "resource" | "subresource" | "namespace" | "name" | "allowed" | "reason" | "error"
            | "errored" => (ONE, None),
            "fieldSelector" | "labelSelector" => (selector(args.first()?.size()), None),
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" | "includes" => (self.traversal(function, receiver?), None),
            "url" | "jsonpatch.escapeKey" => (scan(args.first()?, 1.0), Some(args.first()?.size())),
            "lowerAscii" | "upperAscii" | "substring" | "trim" => (scan(receiver?, 1.0), Some(receiver?.size())),
            "replace" => (scan(receiver?, 2.0), Some(replaced(receiver?.size(), args.first()?.size(), args.get(1)?.size()))),
            "split" => (scan(receiver?, 2.0), Some(parts(receiver?, args))),
            "join" => {
                let size = self.joined(receiver?, args.first());
                (size.scaled(STRING_FACTOR), Some(size))
            }
            "find" | "findAll" => {
                let size = receiver?.size();
                (pattern(size, args.first()?.size()), Some(Range { min: 0, max: size.max }))
            }
            "ip" if overload == "cidr_ip" => (ONE, None),
            "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver" => (scan(args.first()?, 1.0), None),
            "ip.isCanonical" => (scan(args.first()?, 2.0), None),
            "containsIP" => (contained(args.first()?, overload == "cidr_contains_ip_string", false), None),
            "containsCIDR" => (contained(args.first()?, overload == "cidr_contains_cidr_string", true), None),
            "validate" => (scan(args.first()?, 1.0).scaled(FORMAT_REGEX_SIZE * REGEX_FACTOR), None),
            "masked"
            | "prefixLength"
            | "family"
            | "isUnspecified"
            | "isLoopback"
            | "isLinkLocalMulticast"
            | "isLinkLocalUnicast"
            | "isGlobalUnicast"
            | "format.named"
            | "sign"
            | "asInteger"
            | "isInteger"
            | "asApproximateFloat"
            | "isGreaterThan"
            | "isLessThan"
            | "compareTo"
            | "add"
            | "sub"
            | "major"
            | "minor"
            | "patch"
            | "getScheme"
            | "getHostname"
            | "getHost"
            | "getPort"
            | "getEscapedPath"
            | "getQuery" => (ONE, None),
            "_==_" => (equality(&args[0], &args[1])?, None),
            _ => return None,
        })
    }

    /// Every item once; texts by their length.
    fn traversal(&self, function: &str, receiver: &Part<'c>) -> Range {
        let Some(element) = receiver.ty.params().first().copied() else {
            let factor = if function == "includes" { 1.0 } else { STRING_FACTOR };
            return receiver.size().scaled(factor);
        };
        let mut each = ONE;
        if matches!(element, Type::String | Type::Bytes) {
            each = each.plus(self.item_size(receiver).scaled(STRING_FACTOR));
        }
        receiver.size().times(each)
    }

    fn item_size(&self, list: &Part<'c>) -> Range {
        if list.path.is_empty() {
            return Range::UNKNOWN;
        }
        let mut path = list.path.clone();
        path.push("@items".into());
        self.document_size(&path).map_or(Range::UNKNOWN, |max| Range { min: 0, max })
    }

    fn joined(&self, list: &Part<'c>, separator: Option<&Part<'c>>) -> Range {
        let items = list.size();
        let texts = if list.ty.params().is_empty() { Range::default() } else { items.times(self.item_size(list)) };
        let Some(separator) = separator else { return texts };
        let gaps = Range { min: items.min.saturating_sub(1), max: items.max.saturating_sub(1) };
        texts.plus(separator.size().times(gaps))
    }
}

/// The lists extension and sets.
fn by_overload(overload: &str, receiver: Option<&Part<'_>>, args: &[Part<'_>]) -> Option<Estimate> {
    let allocated = |factor: f64, size: Range| Some((size.scaled(factor).plus(Range::fixed(1 + cost::LIST)), Some(size)));
    let squared = |factor: f64, part: &Part<'_>| allocated(factor, part.size().times(part.size()));
    match overload {
        "list_slice" => {
            let end = written(args.get(1)?, receiver?.size().max);
            allocated(1.0, Range::fixed(end.wrapping_sub(written(args.first()?, 0))))
        }
        "lists_range" => allocated(1.0, Range::fixed(written(args.first()?, u64::MAX))),
        "list_reverse" => allocated(1.0, receiver?.size()),
        "list_flatten" | "list_flatten_int" => {
            let depth = args.first().map_or(1, |depth| written(depth, u64::MAX));
            allocated(depth as f64, receiver?.size())
        }
        "list_distinct" => squared(2.0, receiver?),
        "list_sets_contains_list" | "list_sets_intersects_list" | "list_sets_equivalent_list" => {
            let factor = if overload == "list_sets_equivalent_list" { 2.0 } else { 1.0 };
            Some((args.first()?.size().times(args.get(1)?.size()).scaled(factor).plus(ONE), None))
        }
        sort if sort.starts_with("list_") && sort.ends_with("_sort") => squared(sort_factor(sort), receiver?),
        sort if sort.ends_with("_sortByAssociatedKeys") => squared(sort_factor(sort), args.first()?),
        _ => None,
    }
}

fn sort_factor(overload: &str) -> f64 {
    let texts = overload.starts_with("list_string_") || overload.starts_with("list_bytes_");
    if texts { 2.0 + STRING_FACTOR } else { 2.0 }
}

/// A whole number that stands in the text.
fn written(part: &Part<'_>, otherwise: u64) -> u64 {
    part.expr.as_int().map_or(otherwise, |int| int.max(0) as u64)
}

fn by_operator(overload: &str, receiver: Option<&Part<'_>>, args: &[Part<'_>]) -> Option<Estimate> {
    let scan = |part: &Part<'_>| part.size().scaled(STRING_FACTOR);
    Some(match overload {
        "string_format" => (scan(receiver?), None),
        "string_to_bytes" => {
            let size = args.first()?.size();
            (scan(args.first()?), Some(Range { min: size.min, max: size.max.wrapping_mul(4) }))
        }
        "bytes_to_string" => {
            let size = args.first()?.size();
            (scan(args.first()?), Some(Range { min: size.min / 4, max: size.max }))
        }
        "strings_quote" => {
            let size = args.first()?.size();
            let max = size.max.wrapping_mul(2).wrapping_add(2);
            (scan(args.first()?), Some(Range { min: size.min.wrapping_add(2), max }))
        }
        "starts_with_string" | "ends_with_string" => (scan(args.first()?), None),
        "in_list" => (args.get(1)?.size().scaled(1.0), None),
        "matches_string" => (pattern(receiver?.size(), args.first()?.size()), None),
        "matches" => (pattern(args.first()?.size(), args.get(1)?.size()), None),
        "contains_string" => (scan(receiver?).times(scan(args.first()?)), None),
        "equals" | "not_equals" => (shorter(args), None),
        id if cost::is_order_of_texts(id) => (shorter(args), None),
        _ => return None,
    })
}

/// Comparing goes as far as the shorter one.
fn shorter(args: &[Part<'_>]) -> Range {
    let max = args[0].size().max.min(args[1].size().max);
    Range { min: u64::from(max > 0), max }.scaled(STRING_FACTOR)
}

fn pattern(text: Range, pattern: Range) -> Range {
    text.plus(ONE).scaled(STRING_FACTOR).times(pattern.scaled(REGEX_FACTOR))
}

/// Equality of Kubernetes' own types; `None` where the operator's estimate holds.
fn equality(one: &Part<'_>, other: &Part<'_>) -> Option<Range> {
    if one.ty != other.ty {
        return None;
    }
    match one.ty {
        Type::Opaque(name, _) if matches!(&**name, "net.IP" | "net.CIDR") => Some(ONE),
        Type::Object(name) => match &**name {
            "kubernetes.Quantity" | "kubernetes.Semver" => Some(ONE),
            "kubernetes.NamedFormat" => Some(Range { min: 1, max: FORMAT_SIZE_MAX }.scaled(STRING_FACTOR)),
            "kubernetes.URL" => {
                let max = other.size.map_or(1, |size| size.max);
                Some(Range { min: 1, max }.scaled(STRING_FACTOR))
            }
            name if name.starts_with("kubernetes.authorization.") => Some(ONE),
            _ => None,
        },
        _ => None,
    }
}

fn selector(size: Range) -> Range {
    let requirements = size.scaled(0.5).scaled((cost::LIST + cost::OBJECT) as f64);
    Range::fixed(cost::LIST).plus(size.scaled(STRING_FACTOR)).plus(requirements)
}

/// The sizes that replacing can lead to.
fn replaced(text: Range, old: Range, new: Range) -> Range {
    let divided = |amount: u64, by: u64| (amount as f64 / by as f64).ceil() as u64;
    let (most, kept_most) = match old.min {
        0 => (text.max.saturating_add(1), text.max),
        shortest if new.max <= shortest => (0, text.max),
        shortest => (divided(text.max, shortest), 0),
    };
    let (least, kept_least) = match old.max {
        0 => (text.min.saturating_add(1), text.min),
        longest if longest <= new.min => (0, text.min),
        longest => (divided(text.min, longest), 0),
    };
    Range { min: least, max: most }.times(new).plus(Range { min: kept_least, max: kept_most })
}

/// At worst a part per character.
fn parts(receiver: &Part<'_>, args: &[Part<'_>]) -> Range {
    let limit = args.get(1).and_then(|limit| limit.expr.as_int());
    Range { min: 0, max: limit.map_or(receiver.size().max, |limit| limit as u64) }
}

/// Addresses of 4 to 16 bytes, and the text that one may be read from.
fn contained(arg: &Part<'_>, from_text: bool, network: bool) -> Range {
    let bytes = Range { min: 4, max: 16 };
    let mut cost = bytes.plus(bytes).scaled(STRING_FACTOR);
    if network {
        cost = cost.plus(bytes.scaled(STRING_FACTOR)).plus(ONE);
    }
    if from_text { cost.plus(arg.size().scaled(STRING_FACTOR)) } else { cost }
}
