//! A place in a schema as expressions see it: its type's name, its typed schema, the sizes of what is below.

use std::sync::Arc;

use expressions::env::Sizes;
use expressions::schema::escape::escaped;
use expressions::{Schema, Type};

#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The typed schema that this place is in, and the way there.
    root: Arc<Schema>,
    steps: Vec<Step>,
    /// Of the types that were declared for it.
    name: String,
}

#[derive(Clone, Debug)]
enum Step {
    Property(Box<str>),
    Items,
    Values,
}

impl Place {
    /// Its types are declared as `name`.
    pub(super) fn root(root: &Arc<Schema>, name: &str) -> Self {
        Self { root: Arc::clone(root), steps: Vec::new(), name: name.to_owned() }
    }

    /// None where no identifier can spell the property: it stands in no type.
    pub(super) fn property(&self, name: &str) -> Option<Self> {
        let identifier = escaped(name)?;
        Some(self.below(Step::Property(name.into()), &identifier))
    }

    pub(super) fn items(&self) -> Self {
        self.below(Step::Items, "@idx")
    }

    pub(super) fn values(&self) -> Self {
        self.below(Step::Values, "@elem")
    }

    fn below(&self, step: Step, name: &str) -> Self {
        let steps = self.steps.iter().cloned().chain([step]).collect();
        Self { root: Arc::clone(&self.root), steps, name: format!("{}.{name}", self.name) }
    }

    pub(super) fn typed(&self) -> Option<&Schema> {
        self.steps.iter().try_fold(&*self.root, |schema, step| match step {
            Step::Property(name) => schema.property(name),
            Step::Items => schema.items(),
            Step::Values => schema.values(),
        })
    }

    /// None where expressions cannot name what is here.
    pub(super) fn ty(&self) -> Option<Type> {
        self.typed()?.type_named(&self.name)
    }
}

impl Sizes for Place {
    fn max_size(&self, path: &[String]) -> Option<u64> {
        self.typed()?.max_size(path)
    }
}
