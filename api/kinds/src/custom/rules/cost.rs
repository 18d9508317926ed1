//! Estimates against their limits: what a rule may cost at most, in all places where it can stand, and what all rules of a
//! schema may cost together.

use expressions::limits;
use schema::field::FieldError;
use schema::{DocExt, FieldErrors, Path, Value};

/// Rules that are named when all together cost too much.
const NAMED_MAX: usize = 4;

/// The sum over a schema.
#[derive(Default)]
pub(super) struct Total {
    sum: u64,
    /// From the most expensive on.
    largest: Vec<(u64, Path)>,
}

impl Total {
    /// Counts an expression; an error where it is too expensive alone.
    pub(super) fn count(&mut self, what: &str, cost: u64, path: &Path, errors: &mut FieldErrors) {
        if cost > limits::ESTIMATED_PER_EXPRESSION {
            errors.forbidden(path, &excess(&format!("estimated {what} cost"), cost, limits::ESTIMATED_PER_EXPRESSION));
        }
        self.sum = self.sum.saturating_add(cost);
        if cost >= limits::ESTIMATED_PER_CRD / 100 {
            self.largest.push((cost, path.clone()));
            self.largest.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
            self.largest.truncate(NAMED_MAX);
        }
    }

    /// Where all together cost too much: those that cost most, and the schema.
    pub(super) fn check(&self, schema: &Path, errors: &mut FieldErrors) {
        if self.sum <= limits::ESTIMATED_PER_CRD {
            return;
        }
        let why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
        self.largest.iter().for_each(|(_, path)| errors.forbidden(path, why));
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.forbidden(schema, &excess(what, self.sum, limits::ESTIMATED_PER_CRD));
    }
}

fn excess(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = match factor {
        large if large > 100.0 => "more than 100x".to_owned(),
        small if small < 1.5 => format!("{small:.6}x"),
        some => format!("{some:.1}x"),
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where \
         arrays, maps, and strings are declared)"
    )
}

/// How often a place can stand in an object; None: nobody knows.
pub(super) type Cardinality = Option<u64>;

/// Of what is below a schema that stands `here` times.
pub(super) fn below(schema: &Value, here: Cardinality) -> Cardinality {
    let bound = |name: &str| schema.i64_at(name).map(|bound| bound.max(0).unsigned_abs());
    let has_rest = schema.get("additionalProperties").is_some_and(|rest| !rest.is_null());
    let factor = match schema.str_at("type") {
        "object" if has_rest => bound("maxProperties")?,
        "array" => bound("maxItems")?,
        _ => 1,
    };
    Some(here?.saturating_mul(factor))
}

/// Errors of forms come before those of expressions.
#[derive(Default)]
pub(super) struct Found {
    pub forms: FieldErrors,
    pub expressions: FieldErrors,
}

impl Found {
    pub(super) fn into_errors(self) -> impl Iterator<Item = FieldError> {
        self.forms.0.into_iter().chain(self.expressions.0)
    }
}
