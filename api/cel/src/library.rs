//! What the functions do. Each module lists its own by name; a function looks at the types that it is given.

mod arithmetic;
pub(crate) mod authorizer;
pub(crate) mod convert;
mod extras;
pub(crate) mod format;
pub(crate) mod formats;
mod lists;
pub(crate) use lists::insert as lists_insert;
pub(crate) mod network;
mod optionals;
mod quantity;
pub(crate) mod regex;
pub(crate) mod semver;
mod strings;
pub(crate) mod time;
pub(crate) mod url;

use crate::fault::Fault;
use crate::value::Value;

pub(crate) type Outcome<'a> = Result<Value<'a>, Fault>;

/// A function over arguments whose number a signature has vouched for.
pub(crate) type Implementation = for<'a> fn(&[Value<'a>]) -> Outcome<'a>;

type Table = &'static [(&'static str, Implementation)];

const TABLES: &[Table] = &[
    arithmetic::FUNCTIONS,
    authorizer::FUNCTIONS,
    convert::FUNCTIONS,
    extras::FUNCTIONS,
    format::FUNCTIONS,
    formats::FUNCTIONS,
    lists::FUNCTIONS,
    network::FUNCTIONS,
    optionals::FUNCTIONS,
    quantity::FUNCTIONS,
    regex::FUNCTIONS,
    semver::FUNCTIONS,
    strings::FUNCTIONS,
    time::FUNCTIONS,
    url::FUNCTIONS,
];

/// Every implementation of a name: overloads of one function may live in several modules.
pub(crate) fn implementations(name: &str) -> Vec<Implementation> {
    TABLES.iter().copied().flatten().filter(|(known, _)| *known == name).map(|(_, implementation)| *implementation).collect()
}

/// Whether an operator has any meaning for its first operand.
pub(crate) fn takes_first(operator: &str, operand: &Value<'_>) -> bool {
    use Value::{Bool, Bytes, Double, Duration, Int, List, Map, String, Timestamp, Uint};
    // These answer for themselves, whatever they are asked.
    if matches!(operand, String(_) | Timestamp(_) | Duration(_)) {
        return true;
    }
    match operator {
        "size" => matches!(operand, Bytes(_) | List(_) | Map(_)),
        "sort" | "@sortByAssociatedKeys" => matches!(operand, List(_)),
        "_+_" => matches!(operand, Int(_) | Uint(_) | Double(_) | Bytes(_) | List(_)),
        "_-_" | "_*_" | "_/_" => matches!(operand, Int(_) | Uint(_) | Double(_)),
        "_%_" => matches!(operand, Int(_) | Uint(_)),
        "-_" | "!_" => matches!(operand, Bool(_) | Int(_) | Double(_)),
        "_<_" | "_<=_" | "_>_" | "_>=_" => matches!(operand, Bool(_) | Int(_) | Uint(_) | Double(_) | Bytes(_)),
        _ => true,
    }
}

/// Arguments of no type that the function takes.
fn mismatch<'a>() -> Outcome<'a> {
    Err(Fault::unnamed_overload())
}
