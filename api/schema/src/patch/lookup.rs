//! How a field merges: the part of the facts that strategic merge patches look at.

use crate::TypeId;
use crate::facts::{Arity, Facts, Field, Shape};

/// A place in the type of a document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    arity: Arity,
    shape: Shape,
}

/// How a field is patched.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Strategy {
    /// Lists are merged; maps are anyway.
    pub(super) merge: bool,
    pub(super) replace: bool,
    pub(super) retain_keys: bool,
    /// Empty where the elements are scalars.
    pub(super) merge_key: &'static str,
}

impl Place {
    pub(super) fn root(ty: TypeId) -> Self {
        Self { arity: Arity::One, shape: Shape::Object(ty) }
    }

    /// The field `name` of the struct at this place.
    pub(super) fn member(self, name: &str) -> Result<(Self, Strategy), String> {
        let Some(field) = self.field(name)? else {
            let text = "unable to find api field in struct";
            return Err(format!("{text} {} for the json field {name:?}", self.struct_name()));
        };
        let strategy = Strategy {
            merge: field.patch_merge,
            replace: field.patch_replace,
            retain_keys: field.retain_keys,
            merge_key: field.merge_key.unwrap_or_default(),
        };
        Ok((Self { arity: field.arity, shape: field.shape }, strategy))
    }

    /// The element of the list `name` of the struct at this place.
    pub(super) fn element(self, name: &str) -> Result<(Self, Strategy), String> {
        let (place, strategy) = self.member(name)?;
        match place.arity {
            Arity::List => Ok((Self { arity: Arity::One, shape: place.shape }, strategy)),
            _ => Err(format!("expected slice or array type, but got: {}", self.kind())),
        }
    }

    fn field(self, name: &str) -> Result<Option<&'static Field>, String> {
        match (self.arity, self.shape) {
            (Arity::One, Shape::Object(ty)) => {
                let fields = Facts::builtin().get(ty);
                let folded = || fields.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
                Ok(fields.field(name).or_else(folded))
            }
            _ if self.kind() == "struct" => Ok(None),
            _ => Err(format!("merging an object in json but data type is not struct, instead is: {}", self.kind())),
        }
    }

    fn struct_name(self) -> &'static str {
        match self.shape {
            Shape::Object(ty) => Facts::builtin().get(ty).name.rsplit('.').next().unwrap_or_default(),
            Shape::Quantity => "Quantity",
            Shape::Time => "Time",
            Shape::MicroTime => "MicroTime",
            Shape::IntOrString => "IntOrString",
            Shape::FieldsV1 => "FieldsV1",
            Shape::Duration => "Duration",
            _ => "RawExtension",
        }
    }

    /// Go's kind of the type at this place.
    pub(super) fn kind(self) -> &'static str {
        match (self.arity, self.shape) {
            (Arity::List, _) => "slice",
            (Arity::Map | Arity::MapOfList, _) => "map",
            (_, Shape::String) => "string",
            (_, Shape::Int32) => "int32",
            (_, Shape::Int64) => "int64",
            (_, Shape::Number) => "float64",
            (_, Shape::Bool) => "bool",
            (_, Shape::Bytes) => "slice",
            _ => "struct",
        }
    }
}
