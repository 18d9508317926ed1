//! Checks beyond types: constants that cannot be what they are used as, and literals of mixed types.

use std::collections::BTreeSet;

use crate::ast::{Call, Entry, Expr, Kind, Literal};
use crate::checker::{Checked, mismatch};
use crate::library::format::{self, Clause, Part};
use crate::library::{regex, time};
use crate::source::{Issues, Source};
use crate::types::Type;

/// Reports what is wrong with the constants of a checked expression.
pub(crate) fn validate(checked: &Checked, source: Source) -> Result<(), Box<Issues>> {
    let mut validator = Validator { checked, issues: Issues::new(source), told: BTreeSet::new() };
    validator.visit(&checked.tree.root, false);
    validator.issues.finish(())
}

struct Validator<'c> {
    checked: &'c Checked,
    issues: Issues,
    /// Nodes that have been told of: a list may stand at several places of a tree.
    told: BTreeSet<u32>,
}

impl Validator<'_> {
    /// `mixed`: within the arguments of `format`, which may be of any types.
    fn visit(&mut self, expr: &Expr, mixed: bool) {
        let mut inner_mixed = mixed;
        match &expr.kind {
            Kind::Call(call) => {
                self.call(expr, call);
                inner_mixed |= call.function == "format";
            }
            Kind::List(elements) if !mixed => {
                let types: Vec<_> =
                    elements.iter().map(|element| (&element.value, self.element_type(&element.value, element.optional))).collect();
                let odd = types.iter().find(|(_, ty)| !equivalent(&types[0].1, ty));
                if let Some((expr, ty)) = odd {
                    self.report(expr.id, mismatch(&types[0].1, ty));
                }
            }
            Kind::Map(entries) if !mixed => {
                let types = |entry: &Entry| (self.element_type(&entry.key, false), self.element_type(&entry.value, entry.optional));
                let mut odd = Vec::new();
                for (first, entry) in entries.iter().take(1).map(types).cycle().zip(entries).skip(1) {
                    let now = types(entry);
                    for (id, first, now) in [(entry.key.id, &first.0, &now.0), (entry.value.id, &first.1, &now.1)] {
                        if !equivalent(first, now) {
                            odd.push((id, mismatch(first, now)));
                        }
                    }
                }
                odd.into_iter().for_each(|(id, message)| self.report(id, message));
            }
            _ => {}
        }
        expr.children().into_iter().for_each(|child| self.visit(child, inner_mixed));
    }

    fn element_type(&self, expr: &Expr, optional: bool) -> Type {
        let ty = self.checked.type_of(expr);
        if optional { ty.as_optional().cloned().unwrap_or(Type::Dyn) } else { ty.clone() }
    }

    fn call(&mut self, expr: &Expr, call: &Call) {
        let constant = |at: usize| call.args.get(at).filter(|arg| arg.as_literal().is_some());
        let (arg, valid) = match call.function.as_str() {
            "duration" => (constant(0), constant(0).is_none_or(is_duration)),
            "timestamp" => (constant(0), constant(0).is_none_or(is_timestamp)),
            "matches" => {
                let arg = if call.target.is_some() { constant(0) } else { constant(1) };
                (arg, arg.is_none_or(|arg| arg.as_str().is_none_or(|text| regex::compile(text).is_ok())))
            }
            "format" => return self.format(expr, call),
            _ => return,
        };
        if let (Some(arg), false) = (arg, valid) {
            self.report(arg.id, format!("invalid {} argument", call.function));
        }
    }

    /// A constant format against the types of a list of arguments.
    fn format(&mut self, expr: &Expr, call: &Call) {
        let (Some(text), [Expr { kind: Kind::List(args), .. }]) = (call.target.as_ref().and_then(Expr::as_str), &call.args[..]) else {
            return;
        };
        let mut taken = 0;
        for part in format::clauses(text, args.len()) {
            match part {
                Ok(Part::Text(_)) => {}
                Ok(Part::Clause(clause)) => {
                    if let Some((odd, name)) = self.refused(clause, &args[taken].value) {
                        return self.report(odd, format::refusal(clause, &name));
                    }
                    taken += 1;
                }
                Err(wrong) => return self.report(expr.id, wrong),
            }
        }
        if args.len() > taken {
            let given = args.len();
            self.report(expr.id, format!("too many arguments supplied to string.format (expected {taken}, got {given})"));
        }
    }

    /// The node whose type the clause does not take, and the type's name.
    fn refused(&self, clause: Clause, arg: &Expr) -> Option<(u32, String)> {
        let ty = self.checked.type_of(arg);
        let fits = match clause {
            Clause::String => return self.refused_as_text(arg),
            Clause::Decimal | Clause::Octal => matches!(ty, Type::Int | Type::Uint),
            Clause::Fixed(_) | Clause::Scientific(_) => matches!(ty, Type::Double | Type::String),
            Clause::Binary => matches!(ty, Type::Int | Type::Uint | Type::Bool),
            Clause::Hex { .. } => matches!(ty, Type::Int | Type::Uint | Type::String | Type::Bytes),
        };
        (!fits && !ty.is_dyn()).then(|| (arg.id, ty.runtime_name().to_owned()))
    }

    fn refused_as_text(&self, arg: &Expr) -> Option<(u32, String)> {
        match (&arg.kind, self.checked.type_of(arg)) {
            (Kind::List(elements), _) => elements.iter().find_map(|element| self.refused_as_text(&element.value)),
            (Kind::Map(entries), _) => entries.iter().find_map(|entry| self.refused_as_text(&entry.value)),
            (_, Type::Opaque(name, _) | Type::Object(name)) => Some((arg.id, name.to_string())),
            _ => None,
        }
    }

    fn report(&mut self, id: u32, message: String) {
        if self.told.insert(id) {
            self.issues.report(self.checked.tree.offset(id), message);
        }
    }
}

fn is_duration(arg: &Expr) -> bool {
    arg.as_str().is_some_and(|text| time::parse_go_duration(text).is_some())
}

fn is_timestamp(arg: &Expr) -> bool {
    match arg.as_literal() {
        Some(Literal::String(text)) => time::parse_timestamp(text).is_some(),
        Some(Literal::Int(seconds)) => time::Time::from_seconds(*seconds).is_some(),
        _ => false,
    }
}

/// Whether two types are the same but for what is open in them.
fn equivalent(one: &Type, other: &Type) -> bool {
    match (one, other) {
        (Type::List(one), Type::List(other)) => equivalent(one, other),
        (Type::Map(one), Type::Map(other)) => equivalent(&one.0, &other.0) && equivalent(&one.1, &other.1),
        (Type::Opaque(name, params), Type::Opaque(their_name, theirs)) => {
            name == their_name && params.len() == theirs.len() && params.iter().zip(&**theirs).all(|(one, other)| equivalent(one, other))
        }
        (Type::Type(_), Type::Type(_)) => true,
        _ => one == other,
    }
}
