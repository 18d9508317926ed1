//! What an expression may cost before any document is seen: a range from the least to the most.
//!
//! Which rules a CRD may hold depends on these figures, so they are upstream's to the last unit, its oddities included.

mod calls;

use std::collections::HashMap;

use crate::ast::{Call, Expr, Fold, Id, Kind, Literal, operators};
use crate::checker::Checked;
use crate::cost;
use crate::env::Environment;
use crate::types::Type;

/// From the least to the most; sums and products saturate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Range {
    pub min: u64,
    pub max: u64,
}

impl Range {
    pub(crate) const UNKNOWN: Self = Self { min: 0, max: u64::MAX };

    pub(crate) const fn fixed(amount: u64) -> Self {
        Self { min: amount, max: amount }
    }

    fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    fn scaled(self, factor: f64) -> Self {
        // A float beyond the range saturates when it is cast.
        let scale = |amount: u64| (amount as f64 * factor).ceil() as u64;
        Self { min: scale(self.min), max: scale(self.max) }
    }

    fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// The estimate of a checked expression.
pub(crate) fn estimate(checked: &Checked, environment: &Environment) -> Range {
    let mut estimator =
        Estimator { checked, environment, paths: HashMap::new(), locals: Vec::new(), sizes: HashMap::new(), entries: HashMap::new() };
    estimator.cost(&checked.tree.root)
}

/// The sizes of a container's keys and values.
#[derive(Debug, Clone, Copy)]
struct EntrySize {
    is_list: bool,
    key: Range,
    value: Range,
}

impl EntrySize {
    fn union(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        let (one, other) = (one?, other?);
        Some(Self { is_list: one.is_list, key: one.key.union(other.key), value: one.value.union(other.value) })
    }
}

#[derive(Debug, Clone)]
struct Local<'c> {
    name: &'c str,
    path: Vec<String>,
    size: Option<Range>,
    entry: Option<EntrySize>,
}

struct Estimator<'c> {
    checked: &'c Checked,
    environment: &'c Environment,
    /// Where in the documents a node points, by node.
    paths: HashMap<Id, Vec<String>>,
    locals: Vec<Local<'c>>,
    sizes: HashMap<Id, Range>,
    entries: HashMap<Id, EntrySize>,
}

/// What a call sees of its receiver and its arguments.
struct Part<'c> {
    expr: &'c Expr,
    ty: &'c Type,
    path: Vec<String>,
    size: Option<Range>,
}

impl Part<'_> {
    fn size(&self) -> Range {
        self.size.unwrap_or(Range::UNKNOWN)
    }
}

const NAME: Range = Range::fixed(1);

impl<'c> Estimator<'c> {
    fn cost(&mut self, expr: &'c Expr) -> Range {
        match &expr.kind {
            Kind::Literal(_) | Kind::Nothing => Range::default(),
            Kind::Ident(name) => {
                let path = self.local(name).map_or_else(|| vec![name.clone()], |local| local.path.clone());
                self.paths.insert(expr.id, path);
                NAME
            }
            Kind::Select(select) => {
                let operand = self.cost(&select.operand);
                if select.presence {
                    return operand;
                }
                let mut path = self.path(&select.operand);
                path.push(select.field.clone());
                self.paths.insert(expr.id, path);
                let counted = matches!(self.checked.type_of(&select.operand), Type::Map(_) | Type::Object(_) | Type::Param(_));
                if counted { operand.plus(NAME) } else { operand }
            }
            Kind::Call(call) => self.call(expr, call),
            Kind::List(elements) => {
                let values: Vec<&Expr> = elements.iter().map(|element| &element.value).collect();
                let sum = self.sum(&values);
                let value = self.sizes_of(&values);
                self.entries.insert(expr.id, EntrySize { is_list: true, key: Range::fixed(1), value });
                sum.plus(Range::fixed(cost::LIST))
            }
            Kind::Map(entries) => {
                let (mut sum, mut keys, mut values) = (Range::default(), Vec::new(), Vec::new());
                for entry in entries {
                    sum = sum.plus(self.cost(&entry.key)).plus(self.cost(&entry.value));
                    keys.push(&entry.key);
                    values.push(&entry.value);
                }
                let (key, value) = (self.sizes_of(&keys), self.sizes_of(&values));
                self.entries.insert(expr.id, EntrySize { is_list: false, key, value });
                sum.plus(Range::fixed(cost::MAP))
            }
            Kind::Struct(made) => {
                let values: Vec<&Expr> = made.fields.iter().map(|field| &field.value).collect();
                self.sum(&values).plus(Range::fixed(cost::OBJECT))
            }
            Kind::Fold(fold) if is_binding(fold) => self.binding(expr, fold),
            Kind::Fold(fold) => self.fold(expr, fold),
        }
    }

    fn sum(&mut self, exprs: &[&'c Expr]) -> Range {
        exprs.iter().fold(Range::default(), |sum, expr| sum.plus(self.cost(expr)))
    }

    /// From the smallest to the largest; nothing has size zero.
    fn sizes_of(&mut self, exprs: &[&'c Expr]) -> Range {
        let all = exprs.iter().map(|expr| self.size(expr).unwrap_or(Range::UNKNOWN));
        all.reduce(Range::union).unwrap_or_default()
    }

    fn call(&mut self, expr: &'c Expr, call: &'c Call) -> Range {
        if call.function == "dyn" {
            let cost = self.cost(&call.args[0]).plus(NAME);
            self.copy_sizes(expr, &call.args[0]);
            return cost;
        }
        let (mut args, mut costs) = (Vec::new(), Vec::new());
        for arg in &call.args {
            costs.push(self.cost(arg));
            args.push(self.part(arg));
        }
        let Some(resolved) = self.checked.calls.get(&expr.id) else { return Range::default() };
        let (receiver_cost, receiver) = match &call.target {
            Some(target) => (self.cost(target), Some(self.part(target))),
            None => (Range::default(), None),
        };
        let mut total: Option<Range> = None;
        let mut size: Option<Range> = None;
        for overload in &resolved.overloads {
            let (cost, result) = self.overload(expr, resolved.function, overload.id, receiver.as_ref(), &args, &costs);
            total = Some(total.map_or(cost, |total| total.union(cost)));
            size = match (size, result) {
                (Some(before), Some(now)) => Some(before.union(now)),
                (before, now) => before.or(now),
            };
            if let (operators::INDEX, Some(container)) = (resolved.function, call.args.first())
                && let Some(below) = index_path(overload.id)
            {
                size = self.entry(container).map(|entry| entry.value);
                let mut path = self.path(container);
                path.push(below.into());
                self.paths.insert(expr.id, path);
            }
            size = size.or_else(|| self.size(expr));
        }
        self.set_size(expr, size);
        receiver_cost.plus(total.unwrap_or_default())
    }

    fn fold(&mut self, expr: &'c Expr, fold: &'c Fold) -> Range {
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        self.push_value(&fold.accu, &fold.init);
        let before = self.locals.len();
        match &fold.var2 {
            Some(var2) => {
                self.push_element(&fold.var, &fold.range, true);
                self.push_element(var2, &fold.range, false);
            }
            None => {
                let is_list = self.is_list(&fold.range);
                self.push_element(&fold.var, &fold.range, !is_list);
            }
        }
        let turn = self.cost(&fold.condition);
        let turn = self.cost(&fold.step).plus(turn);
        self.locals.truncate(before);
        sum = sum.plus(self.cost(&fold.result));
        self.locals.pop();
        let turns = self.size(&fold.range).unwrap_or(Range::UNKNOWN);
        match fold.init.kind {
            Kind::Literal(_) => {
                let size = self.size(&fold.init);
                self.set_size(expr, size);
            }
            Kind::List(_) | Kind::Map(_) => {
                self.set_size(expr, Some(turns));
                if let Some(entry) = self.entry(&fold.step) {
                    self.entries.insert(expr.id, entry);
                }
            }
            _ => {}
        }
        sum.plus(turns.times(turn))
    }

    fn binding(&mut self, expr: &'c Expr, fold: &'c Fold) -> Range {
        let before = self.cost(&fold.range).plus(self.cost(&fold.init));
        self.push_value(&fold.accu, &fold.init);
        let sum = before.plus(self.cost(&fold.result));
        self.locals.pop();
        self.copy_sizes(expr, &fold.result);
        sum
    }

    fn push_value(&mut self, name: &'c str, expr: &'c Expr) {
        let local = Local { name, path: self.path(expr), size: self.size(expr), entry: self.entry(expr) };
        self.locals.push(local);
    }

    /// A fold's variable: the keys of its range, or the values.
    fn push_element(&mut self, name: &'c str, range: &'c Expr, keys: bool) {
        let entry = self.entry(range);
        let size = entry.map(|entry| if keys { entry.key } else { entry.value });
        let below = match (self.is_list(range), keys) {
            (true, true) => "@indices",
            (true, false) => "@items",
            (false, true) => "@keys",
            (false, false) => "@values",
        };
        let mut path = self.path(range);
        path.push(below.into());
        self.locals.push(Local { name, path, size, entry: None });
    }

    fn is_list(&self, range: &Expr) -> bool {
        self.entry(range).map_or_else(|| matches!(self.checked.type_of(range), Type::List(_)), |entry| entry.is_list)
    }

    fn local(&self, name: &str) -> Option<&Local<'c>> {
        self.locals.iter().rev().find(|local| local.name == name)
    }

    fn path(&self, expr: &Expr) -> Vec<String> {
        let local = expr.as_ident().and_then(|name| self.local(name));
        local.map_or_else(|| self.paths.get(&expr.id).cloned().unwrap_or_default(), |local| local.path.clone())
    }

    fn part(&mut self, expr: &'c Expr) -> Part<'c> {
        let mut path = self.path(expr);
        if path.first().is_some_and(|root| root == crate::ast::ACCUMULATOR) {
            path.clear();
        }
        Part { expr, ty: self.checked.type_of(expr), path, size: self.size(expr) }
    }

    fn set_size(&mut self, expr: &Expr, size: Option<Range>) {
        if let Some(size) = size {
            self.sizes.insert(expr.id, size);
        }
    }

    fn copy_sizes(&mut self, to: &Expr, from: &'c Expr) {
        let size = self.size(from);
        self.set_size(to, size);
        if let Some(entry) = self.entry(from) {
            self.entries.insert(to.id, entry);
        }
    }

    fn size(&mut self, expr: &Expr) -> Option<Range> {
        if let Some(known) = self.sizes.get(&expr.id) {
            return Some(*known);
        }
        if let Some(size) = written_size(expr) {
            return Some(Range::fixed(size));
        }
        if let Some(max) = self.document_size(&self.path(expr)) {
            let size = Range { min: 0, max };
            self.sizes.insert(expr.id, size);
            return Some(size);
        }
        if is_scalar(self.checked.type_of(expr)) {
            return Some(Range::fixed(1));
        }
        expr.as_ident().and_then(|name| self.local(name)).and_then(|local| local.size)
    }

    fn document_size(&self, path: &[String]) -> Option<u64> {
        (!path.is_empty()).then(|| self.environment.sizes.as_ref()?.max_size(path)).flatten()
    }

    fn entry(&self, expr: &Expr) -> Option<EntrySize> {
        let known = self.entries.get(&expr.id).copied();
        known.or_else(|| expr.as_ident().and_then(|name| self.local(name)).and_then(|local| local.entry))
    }
}

fn is_binding(fold: &Fold) -> bool {
    let over_nothing = matches!(&fold.range.kind, Kind::List(elements) if elements.is_empty());
    over_nothing && fold.condition.as_literal() == Some(&Literal::Bool(false))
}

fn index_path(overload: &str) -> Option<&'static str> {
    match overload {
        "index_list" => Some("@items"),
        "index_map" => Some("@values"),
        _ => None,
    }
}

/// The size that the text itself tells.
fn written_size(expr: &Expr) -> Option<u64> {
    match &expr.kind {
        Kind::Literal(Literal::String(text)) => Some(text.chars().count() as u64),
        Kind::Literal(Literal::Bytes(bytes)) => Some(bytes.len() as u64),
        Kind::Literal(_) => Some(1),
        Kind::List(elements) => Some(elements.len() as u64),
        Kind::Map(entries) => Some(entries.len() as u64),
        _ => None,
    }
}

fn is_scalar(ty: &Type) -> bool {
    match ty {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => true,
        other => other.as_optional().is_some_and(is_scalar),
    }
}
