//! Label and field selectors of a list or watch, made ready for one kind.

use std::sync::Arc;

use kinds::{Descriptor, KindRef};
use schema::{FieldSelector, LabelSelector, Status};

use crate::cache::item::Item;

/// What a list or watch wants to see. The default one sees everything.
pub struct Selector {
    labels: LabelSelector,
    terms: Vec<Term>,
    served: KindRef,
    /// Fields of items are looked up in the stored version where it is the served one.
    is_stored: bool,
}

#[derive(Clone)]
struct Term {
    field: Field,
    equal: bool,
    value: String,
}

#[derive(Clone, Copy)]
enum Field {
    Name,
    Namespace,
    /// Index in the descriptor's fields.
    Own(usize),
}

impl Selector {
    /// Parses both selectors. 400 where one is malformed or the kind has no such field.
    pub fn parse(served: &KindRef, stored: &KindRef, labels: &str, fields: &str) -> Result<Self, Status> {
        let labels = LabelSelector::parse(labels).map_err(|error| Status::bad_request(error.0))?;
        let fields = FieldSelector::parse(fields).map_err(|error| Status::bad_request(error.0))?;
        let terms = fields.terms.into_iter().map(|term| {
            let field = field_of(served, &term.field)?;
            Ok(Term { field, equal: term.equal, value: term.value })
        });
        let terms = terms.collect::<Result<_, Status>>()?;
        Ok(Self { labels, terms, served: Arc::clone(served), is_stored: Arc::ptr_eq(served, stored) || served.custom.is_some() })
    }

    /// What of it can be said of objects in any version: what names and namespaces they have.
    pub fn of_any_version(&self) -> Self {
        let known = |term: &&Term| matches!(term.field, Field::Name | Field::Namespace);
        let terms = self.terms.iter().filter(known).cloned().collect();
        Self { labels: LabelSelector::default(), terms, served: Arc::clone(&self.served), is_stored: self.is_stored }
    }

    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.terms.is_empty()
    }

    pub fn matches(&self, item: &Item) -> bool {
        self.terms.iter().all(|term| (self.value_equals(&term.field, item, &term.value)) == term.equal)
            && (self.labels.is_everything() || self.labels.matches(&item.object.meta.labels))
    }

    fn value_equals(&self, field: &Field, item: &Item, value: &str) -> bool {
        match field {
            Field::Name => item.object.meta.name == value,
            Field::Namespace => item.object.meta.namespace == value,
            Field::Own(index) if self.is_stored => item.field(&self.served, *index) == value,
            Field::Own(index) => {
                let doc = self.served.strategy.from_stored(item.object.value());
                (self.served.fields[*index].1)(&doc) == value
            }
        }
    }

    /// The one object that the selector can match, if it names it.
    pub fn name(&self) -> Option<&str> {
        self.exact(|field| matches!(field, Field::Name))
    }

    /// The one namespace that the selector can match, if it names it.
    pub fn namespace(&self) -> Option<&str> {
        self.exact(|field| matches!(field, Field::Namespace))
    }

    /// The value that the kind's own field `name` must have, if the selector says so.
    pub fn own(&self, name: &str) -> Option<&str> {
        self.exact(|field| matches!(field, Field::Own(index) if self.served.fields[*index].0 == name))
    }

    fn exact(&self, is: impl Fn(&Field) -> bool) -> Option<&str> {
        self.terms.iter().find(|term| term.equal && is(&term.field)).map(|term| term.value.as_str())
    }
}

fn field_of(kind: &Descriptor, name: &str) -> Result<Field, Status> {
    let own_fields = !kind.fields.is_empty();
    match name {
        "metadata.name" => Ok(Field::Name),
        "metadata.namespace" if kind.is_namespaced() || (!own_fields && kind.custom.is_none()) => Ok(Field::Namespace),
        _ => match kind.fields.iter().position(|(field, _)| *field == name) {
            Some(index) => Ok(Field::Own(index)),
            None => Err(Status::bad_request(unknown_field(kind, name, own_fields))),
        },
    }
}

/// Upstream words it by how the kind declares its fields.
fn unknown_field(kind: &Descriptor, name: &str, own_fields: bool) -> String {
    match kind.kind.as_ref() {
        "Job" => format!("field label {name:?} not supported for batchv1.Job"),
        "CronJob" => format!("field label {name:?} not supported for \"CronJob\""),
        _ if kind.custom.is_some() => format!("field label not supported: {name}"),
        _ if own_fields => format!("field label not supported: {name}"),
        _ => format!("{name:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""),
    }
}
