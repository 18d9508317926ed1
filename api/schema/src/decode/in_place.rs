//! The walk of [`super::typed`] over an already decoded value, in place: every write of our own components and every
//! patched document takes this way, and most of what it sees is canonical already. Whatever is not plainly so is taken
//! out and walked as any other source.

use super::source::{Tree, too_deep};
use super::typed::{Step, Walk, go_name, zero};
use super::{DEPTH_MAX, DecodeError};
use crate::facts::{Arity, Field, Shape, Type};
use crate::{Map, TypeId, Value};

/// Whether a value stays: a null one is an absent one.
type Kept = Result<bool, DecodeError>;

/// A document of type `ty`. A null document is an empty one.
pub(super) fn document(ty: TypeId, mut value: Value) -> Result<Walk, DecodeError> {
    let mut walk = Walk::new();
    let kept = walk.object_in_place(ty, &mut value, 0)?;
    walk.value = if kept { value } else { Value::Object(Map::new()) };
    Ok(walk)
}

impl Walk {
    fn object_in_place(&mut self, ty: TypeId, value: &mut Value, depth: usize) -> Kept {
        let one = self.facts.get(ty);
        match value {
            Value::Null => Ok(false),
            Value::Object(members) => self.members_in_place(one, members, depth + 1).map(|()| true),
            other => {
                self.mismatched(word(other), &go_name(one.name));
                Ok(false)
            }
        }
    }

    fn members_in_place(&mut self, one: &'static Type, members: &mut Map<String, Value>, depth: usize) -> Result<(), DecodeError> {
        bounded(depth)?;
        let mut failed = None;
        // Members and fields are both sorted: what has been passed need not be searched again.
        let mut passed = 0;
        members.retain(|name, value| {
            let rest = &one.fields[passed..];
            let Ok(at) = rest.binary_search_by(|field| field.name.cmp(name)) else {
                self.report("unknown", name);
                return false;
            };
            passed += at + 1;
            let field = &rest[at];
            self.path.push(Step::Field { owner: one.name, name: field.name });
            let kept = self.field_in_place(field, value, depth);
            self.path.pop();
            kept.unwrap_or_else(|error| {
                failed.get_or_insert(error);
                false
            })
        });
        failed.map_or(Ok(()), Err)
    }

    fn field_in_place(&mut self, field: &Field, value: &mut Value, depth: usize) -> Kept {
        match (field.arity, value) {
            (Arity::One, value) => self.one_in_place(field.shape, value, depth),
            (_, Value::Null) => Ok(false),
            (Arity::List, Value::Array(elements)) => self.list_in_place(field.shape, elements, depth + 1).map(|()| true),
            (Arity::Map, Value::Object(members)) => self.map_in_place(field.shape, members, depth + 1).map(|()| true),
            (_, value) => self.aside(value, depth, |walk, tree| walk.field(field, tree)),
        }
    }

    fn list_in_place(&mut self, shape: Shape, elements: &mut [Value], depth: usize) -> Result<(), DecodeError> {
        bounded(depth)?;
        for (at, element) in elements.iter_mut().enumerate() {
            self.path.push(Step::Index(at));
            if !self.one_in_place(shape, element, depth)? {
                *element = zero(shape);
            }
            self.path.pop();
        }
        Ok(())
    }

    fn map_in_place(&mut self, shape: Shape, members: &mut Map<String, Value>, depth: usize) -> Result<(), DecodeError> {
        bounded(depth)?;
        // Nothing below a scalar is reported, so its key need not be remembered.
        let remembers = matches!(shape, Shape::Object(_));
        for (name, value) in members.iter_mut() {
            if remembers {
                self.path.push(Step::Key(name.clone()));
            }
            if !self.one_in_place(shape, value, depth)? {
                *value = zero(shape);
            }
            if remembers {
                self.path.pop();
            }
        }
        Ok(())
    }

    fn one_in_place(&mut self, shape: Shape, value: &mut Value, depth: usize) -> Kept {
        match (shape, &*value) {
            (Shape::Object(ty), _) => self.object_in_place(ty, value, depth),
            (Shape::String | Shape::IntOrString, Value::String(_)) | (Shape::Bool, Value::Bool(_)) | (Shape::Int64, Value::Number(_))
                if shape != Shape::Int64 || value.is_i64() =>
            {
                Ok(true)
            }
            (Shape::Int32 | Shape::IntOrString, Value::Number(number))
                if number.as_i64().is_some_and(|wide| i32::try_from(wide).is_ok()) =>
            {
                Ok(true)
            }
            (Shape::Quantity, _) => self.aside(value, depth, |walk, tree| walk.one(shape, tree)),
            (_, Value::Null) => Ok(false),
            (Shape::Any | Shape::FieldsV1, free) => bounded(depth + super::depth_of(free)).map(|()| true),
            _ => self.aside(value, depth, |walk, tree| walk.one(shape, tree)),
        }
    }

    /// Takes the value out, walks it as a source, and puts what came of it back.
    fn aside(
        &mut self,
        value: &mut Value,
        depth: usize,
        walk: impl FnOnce(&mut Self, &mut Tree) -> Result<Option<Value>, DecodeError>,
    ) -> Kept {
        let walked = walk(self, &mut Tree::below(value.take(), depth))?;
        let kept = walked.is_some();
        *value = walked.unwrap_or_default();
        Ok(kept)
    }
}

fn bounded(depth: usize) -> Result<(), DecodeError> {
    if depth > DEPTH_MAX { Err(too_deep()) } else { Ok(()) }
}

/// The word in Go's type errors.
fn word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
