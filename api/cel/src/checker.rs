//! Static types: every node gets one, every name and call gets what it stands for.

use std::collections::HashMap;

use crate::ast::{Call, Expr, Fold, Id, Kind, Literal, Select, Struct, Tree, operators};
use crate::env::{Environment, Function, Overload};
use crate::source::{Issues, Source};
use crate::types::{Type, Unifier, most_general};

/// A checked expression.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) tree: Tree,
    /// By node.
    pub(crate) types: Vec<Type>,
    /// Calls: the function and the overloads that may fit, by node.
    pub(crate) calls: HashMap<Id, Resolved>,
    /// Identifiers that name a type rather than a variable.
    pub(crate) type_names: HashMap<Id, Type>,
}

#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    pub(crate) function: &'static str,
    pub(crate) overloads: Vec<&'static Overload>,
}

impl Checked {
    pub(crate) fn type_of(&self, expr: &Expr) -> &Type {
        &self.types[expr.id as usize]
    }
}

/// Checks the tree against the environment; names are replaced by what they resolve to.
pub(crate) fn check(mut tree: Tree, source: Source, environment: &Environment) -> Result<(Checked, Source), Box<Issues>> {
    let types = vec![Type::Error; tree.offsets.len()];
    let (calls, type_names) = (HashMap::new(), HashMap::new());
    let offsets = std::mem::take(&mut tree.offsets);
    let issues = Issues::new(source.clone());
    let mut checker = Checker { environment, offsets, scopes: Vec::new(), unifier: Unifier::default(), types, calls, type_names, issues };
    checker.check(&mut tree.root);
    let Checker { offsets, unifier, mut types, calls, type_names, issues, .. } = checker;
    types.iter_mut().for_each(|ty| *ty = unifier.substitute(ty, true));
    tree.offsets = offsets;
    issues.finish((Checked { tree, types, calls, type_names }, source))
}

struct Checker<'e> {
    environment: &'e Environment,
    offsets: Vec<u32>,
    /// Variables of folds, innermost last.
    scopes: Vec<(String, Type)>,
    unifier: Unifier,
    types: Vec<Type>,
    calls: HashMap<Id, Resolved>,
    type_names: HashMap<Id, Type>,
    issues: Issues,
}

impl Checker<'_> {
    fn check(&mut self, expr: &mut Expr) -> Type {
        let id = expr.id;
        let ty = match &mut expr.kind {
            Kind::Literal(literal) => literal_type(literal),
            Kind::Ident(_) => self.ident(expr),
            Kind::Select(_) => self.select(expr),
            Kind::Call(call) => self.call(id, call),
            Kind::List(elements) => {
                let mut joined = None;
                for element in elements {
                    let ty = self.check(&mut element.value);
                    let ty = if element.optional { self.unwrapped(&element.value, ty) } else { ty };
                    joined = Some(self.joined(joined, ty));
                }
                Type::list(joined.unwrap_or_else(|| self.unifier.new_variable()))
            }
            Kind::Map(_) => self.map(expr),
            Kind::Struct(made) => self.object(id, made),
            Kind::Fold(fold) => self.fold(fold),
            Kind::Nothing => Type::Error,
        };
        self.types[id as usize] = ty.clone();
        ty
    }

    fn ident(&mut self, expr: &mut Expr) -> Type {
        let Kind::Ident(name) = &mut expr.kind else { unreachable!("called for identifiers") };
        let absolute = name.strip_prefix('.');
        if absolute.is_none()
            && let Some((_, ty)) = self.scopes.iter().rev().find(|(local, _)| local == name)
        {
            return ty.clone();
        }
        let plain = absolute.unwrap_or(name);
        if let Some(ty) = self.environment.variable_type(plain) {
            return ty.clone();
        }
        if let Some(named) = self.environment.type_named(plain) {
            self.type_names.insert(expr.id, named.clone());
            return Type::type_of(named);
        }
        let message = undeclared(name);
        self.report(expr.id, message);
        Type::Error
    }

    fn select(&mut self, expr: &mut Expr) -> Type {
        if let Some(ty) = self.qualified(expr) {
            return ty;
        }
        let Kind::Select(select) = &mut expr.kind else { unreachable!("called for selections") };
        let Select { operand, field, presence } = &mut **select;
        let (field, presence) = (std::mem::take(field), *presence);
        let ty = self.field(expr.id, operand, &field, false);
        select.field = field;
        if presence { Type::Bool } else { self.unifier.substitute(&ty, false) }
    }

    /// `a.b.c` as the name of a variable or a type.
    fn qualified(&mut self, expr: &mut Expr) -> Option<Type> {
        let name = expr.qualified_name()?;
        let first = name.split('.').find(|part| !part.is_empty())?;
        if self.scopes.iter().any(|(local, _)| local == first) && !name.starts_with('.') {
            return None;
        }
        let plain = name.strip_prefix('.').unwrap_or(&name);
        let ty = match self.environment.variable_type(plain) {
            Some(ty) => ty.clone(),
            None => {
                let named = self.environment.type_named(plain)?;
                self.type_names.insert(expr.id, named.clone());
                Type::type_of(named)
            }
        };
        expr.kind = Kind::Ident(name);
        Some(ty)
    }

    fn field(&mut self, id: Id, operand: &mut Expr, field: &str, optional: bool) -> Type {
        let operand_type = self.check(operand);
        let operand_type = self.unifier.substitute(&operand_type, false);
        let unwrapped = operand_type.as_optional().cloned();
        let optional = optional || unwrapped.is_some();
        let target = unwrapped.unwrap_or(operand_type);
        let result = match &target {
            Type::Map(entry) => entry.1.clone(),
            Type::Object(name) => self.object_field(id, name, field),
            Type::Param(_) => {
                self.unifier.assignable(&Type::Dyn, &target);
                Type::Dyn
            }
            other => {
                if !other.is_dyn_or_error() {
                    self.report(id, format!("type '{other}' does not support field selection"));
                }
                Type::Dyn
            }
        };
        if optional { Type::optional(result) } else { result }
    }

    fn object_field(&mut self, id: Id, object: &str, field: &str) -> Type {
        let known = self.environment.object(object);
        if self.environment.is_closed(object) {
            self.report(id, format!("unexpected failed resolution of '{object}'"));
            return Type::Error;
        }
        let found = known.and_then(|known| known.fields.get(field).cloned().or_else(|| known.open.then_some(Type::Dyn)));
        found.unwrap_or_else(|| {
            self.report(id, format!("undefined field '{field}'"));
            Type::Error
        })
    }

    fn call(&mut self, id: Id, call: &mut Call) -> Type {
        if call.function == operators::OPTIONAL_SELECT {
            let field = call.args[1].as_str().unwrap_or_default().to_owned();
            self.types[call.args[1].id as usize] = Type::String;
            let ty = self.field(id, &mut call.args[0], &field, true);
            let overloads = self.environment.function(operators::OPTIONAL_SELECT).map(|function| &function.overloads[0]);
            self.calls.insert(id, Resolved { function: operators::OPTIONAL_SELECT, overloads: overloads.into_iter().collect() });
            return self.unifier.substitute(&ty, false);
        }
        call.args.iter_mut().for_each(|arg| {
            self.check(arg);
        });
        let namespaced = call.target.as_ref().and_then(Expr::qualified_name).map(|prefix| format!("{prefix}.{}", call.function));
        if let Some(function) = namespaced.and_then(|name| self.environment.function(&name)) {
            call.target = None;
            call.function = function.name.to_owned();
            return self.resolved(id, function, call);
        }
        if let Some(target) = &mut call.target {
            self.check(target);
        }
        match self.environment.function(&call.function) {
            Some(function) => {
                call.function = function.name.to_owned();
                self.resolved(id, function, call)
            }
            None => {
                self.report(id, undeclared(&call.function));
                Type::Error
            }
        }
    }

    fn resolved(&mut self, id: Id, function: &'static Function, call: &Call) -> Type {
        if matches!(function.name, operators::AND | operators::OR) {
            return self.logical(id, function, call);
        }
        let given: Vec<Type> = call.target.iter().chain(&call.args).map(|arg| self.types[arg.id as usize].clone()).collect();
        let mut result: Option<Type> = None;
        let mut fitting = Vec::new();
        for overload in function.overloads.iter().filter(|overload| overload.member == call.target.is_some()) {
            let (wanted, returned) = self.instance(overload);
            if !self.unifier.all_assignable(&given, &wanted) {
                continue;
            }
            fitting.push(overload);
            let returned = self.unifier.substitute(&returned, false);
            result = Some(match result {
                None => returned,
                Some(before) if before.is_dyn() || before == returned => before,
                Some(_) => Type::Dyn,
            });
        }
        let Some(result) = result else {
            let shown: Vec<String> = given.iter().map(|ty| self.unifier.substitute(ty, true).to_string()).collect();
            let signature = match (&call.target, shown.split_first()) {
                (Some(_), Some((receiver, args))) => format!("{receiver}.({})", args.join(", ")),
                _ => format!("({})", shown.join(", ")),
            };
            self.report(id, format!("found no matching overload for '{}' applied to '{signature}'", function.name));
            return Type::Error;
        };
        self.calls.insert(id, Resolved { function: function.name, overloads: fitting });
        result
    }

    /// `&&` and `||` tell which side is wrong.
    fn logical(&mut self, id: Id, function: &'static Function, call: &Call) -> Type {
        let mut fits = true;
        for arg in &call.args {
            let ty = self.types[arg.id as usize].clone();
            if !self.unifier.assignable(&ty, &Type::Bool) {
                self.report(arg.id, mismatch(&Type::Bool, &ty));
                fits = false;
            }
        }
        self.calls.insert(id, Resolved { function: function.name, overloads: function.overloads.iter().take(1).collect() });
        if fits { Type::Bool } else { Type::Error }
    }

    /// The signature with fresh variables for its own.
    fn instance(&mut self, overload: &Overload) -> (Vec<Type>, Type) {
        let mut fresh = HashMap::new();
        let wanted = overload.args.iter().map(|arg| self.refreshed(arg, &mut fresh)).collect();
        let returned = self.refreshed(&overload.result, &mut fresh);
        (wanted, returned)
    }

    fn refreshed(&mut self, ty: &Type, fresh: &mut HashMap<char, Type>) -> Type {
        match ty {
            Type::Param(crate::types::Param::Declared(letter)) => {
                fresh.entry(*letter).or_insert_with(|| self.unifier.new_variable()).clone()
            }
            Type::List(element) => Type::list(self.refreshed(element, fresh)),
            Type::Map(entry) => Type::map(self.refreshed(&entry.0, fresh), self.refreshed(&entry.1, fresh)),
            Type::Opaque(name, params) => Type::Opaque(name.clone(), params.iter().map(|param| self.refreshed(param, fresh)).collect()),
            Type::Type(Some(of)) => Type::type_of(self.refreshed(of, fresh)),
            other => other.clone(),
        }
    }

    fn map(&mut self, expr: &mut Expr) -> Type {
        let Kind::Map(entries) = &mut expr.kind else { unreachable!("called for maps") };
        let mut joined: Option<(Type, Type)> = None;
        for entry in entries {
            let key = self.check(&mut entry.key);
            let key = self.joined(joined.as_ref().map(|joined| joined.0.clone()), key);
            let value = self.check(&mut entry.value);
            let value = if entry.optional { self.unwrapped(&entry.value, value) } else { value };
            let value = self.joined(joined.map(|joined| joined.1), value);
            joined = Some((key, value));
        }
        let (key, value) = joined.unwrap_or_else(|| (self.unifier.new_variable(), self.unifier.new_variable()));
        Type::map(key, value)
    }

    fn object(&mut self, id: Id, made: &mut Struct) -> Type {
        let name = made.name.strip_prefix('.').unwrap_or(&made.name).to_owned();
        let ty = match self.environment.type_named(&name) {
            Some(Type::Object(_)) => Type::object(&name),
            Some(other) => {
                self.report(id, format!("'{}' is not a message type", other.runtime_name()));
                Type::Error
            }
            None => {
                let message = if self.environment.variable_type(&name).is_some() {
                    format!("'{name}' is not a type")
                } else {
                    undeclared(&made.name)
                };
                self.report(id, message);
                return Type::Error;
            }
        };
        for field in &mut made.fields {
            let given = self.check(&mut field.value);
            let given = if field.optional { self.unwrapped(&field.value, given) } else { given };
            let wanted = if ty == Type::Error { Type::Error } else { self.object_field(field.id, &name, &field.name) };
            if !self.unifier.assignable(&wanted, &given) {
                let field_name = &field.name;
                self.report(field.id, format!("expected type of field '{field_name}' is '{wanted}' but provided type is '{given}'"));
            }
        }
        made.name = name;
        ty
    }

    fn fold(&mut self, fold: &mut Fold) -> Type {
        let range = self.check(&mut fold.range);
        let accu = self.check(&mut fold.init);
        let range = self.unifier.substitute(&range, false);
        let (first, second) = self.range_types(&fold.range, &range, fold.var2.is_some());
        self.scopes.push((fold.accu.clone(), accu.clone()));
        let before = self.scopes.len();
        self.scopes.push((fold.var.clone(), first));
        if let Some(var2) = &fold.var2 {
            self.scopes.push((var2.clone(), second));
        }
        self.check_as(&mut fold.condition, &Type::Bool);
        self.check_as(&mut fold.step, &accu);
        self.scopes.truncate(before);
        let result = self.check(&mut fold.result);
        self.scopes.pop();
        self.unifier.substitute(&result, false)
    }

    /// The types of a fold's variables; the second is used only where there are two.
    fn range_types(&mut self, expr: &Expr, range: &Type, two: bool) -> (Type, Type) {
        match range {
            Type::List(element) if two => (Type::Int, (**element).clone()),
            Type::List(element) => ((**element).clone(), Type::Error),
            Type::Map(entry) => (**entry).clone(),
            Type::Dyn | Type::Error | Type::Param(_) => {
                self.unifier.assignable(&Type::Dyn, range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let message = format!("expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)");
                self.report(expr.id, message);
                (Type::Error, Type::Error)
            }
        }
    }

    fn check_as(&mut self, expr: &mut Expr, wanted: &Type) {
        let given = self.check(expr);
        if !self.unifier.assignable(wanted, &given) {
            self.report(expr.id, mismatch(wanted, &given));
        }
    }

    /// The type that both fit, dyn where there is none.
    fn joined(&mut self, before: Option<Type>, now: Type) -> Type {
        match before {
            None => now,
            Some(before) if self.unifier.assignable(&before, &now) => most_general(&before, &now),
            Some(_) => Type::Dyn,
        }
    }

    /// What an optional element holds.
    fn unwrapped(&mut self, expr: &Expr, ty: Type) -> Type {
        match ty.as_optional() {
            Some(held) => held.clone(),
            None if ty.is_dyn() => ty,
            None => {
                self.report(expr.id, mismatch(&Type::optional(ty.clone()), &ty));
                ty
            }
        }
    }

    fn report(&mut self, id: Id, message: String) {
        self.issues.report(self.offsets[id as usize], message);
    }
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}

fn undeclared(name: &str) -> String {
    format!("undeclared reference to '{name}' (in container '')")
}

pub(crate) fn mismatch(wanted: &Type, given: &Type) -> String {
    format!("expected type '{wanted}' but found '{given}'")
}
