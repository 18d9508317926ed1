//! Budgets, in units of cost: upstream's figures.

/// What one evaluation may cost.
pub const PER_CALL: u64 = 1_000_000;

/// What all rules of one custom resource, or all expressions of one policy's binding, may cost for one request.
pub const PER_REQUEST: u64 = 10_000_000;

/// What the match conditions of one webhook or one binding may cost for one request.
pub const MATCH_CONDITIONS: u64 = 2_500_000;

/// What one rule of a schema may be estimated to cost, its place in lists counted.
pub const ESTIMATED_PER_EXPRESSION: u64 = 10_000_000;

/// What all rules of one CRD may be estimated to cost.
pub const ESTIMATED_PER_CRD: u64 = 100_000_000;

/// The longest message that a `messageExpression` may give, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 5 * 1024;
