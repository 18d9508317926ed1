//! Which type may stand where another is wanted, finding out type variables on the way.
//!
//! A failed attempt leaves nothing behind: bindings are journalled and taken back, so that long expressions cost no copies.

use super::{Param, Type};

/// The bindings of an expression's type variables.
#[derive(Debug, Default)]
pub(crate) struct Unifier {
    bound: Vec<Option<Type>>,
    journal: Vec<(u32, Option<Type>)>,
}

impl Unifier {
    pub(crate) fn new_variable(&mut self) -> Type {
        self.bound.push(None);
        Type::Param(Param::Free(self.bound.len() as u32 - 1))
    }

    /// Whether `from` may stand for `to`; binds variables where it may.
    pub(crate) fn assignable(&mut self, to: &Type, from: &Type) -> bool {
        self.attempt(|unifier| unifier.accepts(to, from))
    }

    pub(crate) fn all_assignable(&mut self, to: &[Type], from: &[Type]) -> bool {
        self.attempt(|unifier| unifier.accepts_all(to.iter(), from.iter()))
    }

    /// Every bound variable replaced; unbound ones by dyn where `free_to_dyn`.
    pub(crate) fn substitute(&self, ty: &Type, free_to_dyn: bool) -> Type {
        let each = |ty: &Type| self.substitute(ty, free_to_dyn);
        match ty {
            Type::Param(param) => match self.find(*param) {
                Some(found) => each(found),
                None if free_to_dyn => Type::Dyn,
                None => ty.clone(),
            },
            Type::List(element) => Type::list(each(element)),
            Type::Map(entry) => Type::map(each(&entry.0), each(&entry.1)),
            Type::Opaque(name, params) => Type::Opaque(name.clone(), params.iter().map(each).collect()),
            Type::Type(Some(of)) => Type::type_of(each(of)),
            other => other.clone(),
        }
    }

    fn attempt(&mut self, check: impl FnOnce(&mut Self) -> bool) -> bool {
        self.journal.clear();
        let fits = check(self);
        if !fits {
            while let Some((number, before)) = self.journal.pop() {
                self.bound[number as usize] = before;
            }
        }
        fits
    }

    fn find(&self, param: Param) -> Option<&Type> {
        if let Param::Free(number) = param { self.bound[number as usize].as_ref() } else { None }
    }

    fn bind(&mut self, param: Param, ty: Type) {
        if let Param::Free(number) = param {
            let before = self.bound[number as usize].replace(ty);
            self.journal.push((number, before));
        }
    }

    fn accepts(&mut self, to: &Type, from: &Type) -> bool {
        if let Type::Param(param) = from {
            let (fits, was_bound) = self.stands_for(to, *param, from);
            if fits || was_bound {
                return fits;
            }
        }
        if let Type::Param(param) = to {
            return self.stands_for(from, *param, to).0;
        }
        match (to, from) {
            (Type::Dyn | Type::Error, _) | (_, Type::Dyn | Type::Error) => true,
            (Type::Null, other) | (other, Type::Null) => {
                matches!(other, Type::Null | Type::Opaque(..) | Type::Object(_) | Type::Duration | Type::Timestamp)
            }
            (Type::Type(_), Type::Type(_)) => true,
            (Type::List(to), Type::List(from)) => self.accepts(to, from),
            (Type::Map(to), Type::Map(from)) => self.accepts(&to.0, &from.0) && self.accepts(&to.1, &from.1),
            (Type::Opaque(to, wanted), Type::Opaque(from, given)) => to == from && self.accepts_all(wanted.iter(), given.iter()),
            _ => to == from,
        }
    }

    fn accepts_all<'t>(&mut self, to: impl ExactSizeIterator<Item = &'t Type>, from: impl ExactSizeIterator<Item = &'t Type>) -> bool {
        to.len() == from.len() && to.zip(from).all(|(to, from)| self.accepts(to, from))
    }

    /// Whether the variable may be `ty`, and whether it was bound before.
    fn stands_for(&mut self, ty: &Type, param: Param, variable: &Type) -> (bool, bool) {
        if ty == variable {
            return (true, true);
        }
        if let Some(bound) = self.find(param).cloned() {
            if *ty == bound {
                return (true, true);
            }
            if !self.accepts(ty, &bound) {
                return (false, true);
            }
            let general = most_general(ty, &bound);
            if self.not_within(variable, &general) {
                self.bind(param, general);
            }
            return (true, true);
        }
        let free = self.not_within(variable, ty);
        if free {
            self.bind(param, ty.clone());
        }
        (free, false)
    }

    fn not_within(&self, variable: &Type, ty: &Type) -> bool {
        if variable == ty {
            return false;
        }
        match ty {
            Type::Param(param) => self.find(*param).is_none_or(|bound| self.not_within(variable, bound)),
            _ => ty.params().into_iter().all(|param| self.not_within(variable, param)),
        }
    }
}

/// The more general of two types that fit each other.
pub(crate) fn most_general(one: &Type, other: &Type) -> Type {
    if no_more_specific(one, other) { one.clone() } else { other.clone() }
}

fn no_more_specific(one: &Type, other: &Type) -> bool {
    match (one, other) {
        (Type::Dyn | Type::Param(_), _) => true,
        (_, Type::Dyn | Type::Param(_)) => false,
        (Type::Opaque(name, params), Type::Opaque(their_name, theirs)) => {
            name == their_name
                && params.len() == theirs.len()
                && params.iter().zip(&**theirs).all(|(one, other)| no_more_specific(one, other))
        }
        (Type::List(one), Type::List(other)) => no_more_specific(one, other),
        (Type::Map(one), Type::Map(other)) => no_more_specific(&one.0, &other.0) && no_more_specific(&one.1, &other.1),
        (Type::Type(_), Type::Type(_)) => true,
        _ => one == other,
    }
}
