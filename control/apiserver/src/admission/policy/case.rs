//! A request as a policy sees it: its documents in the version that the policy's rule names, printed as upstream's types print
//! them, so that `has()` says of a member what it says there.

use std::borrow::Cow;
use std::sync::Arc;

use expressions::seam::ResourceQuestion;
use schema::apply::view;
use schema::{DocExt, Facts, Status, Value};

use crate::admission::Admission;
use crate::admission::expressions::{Answers, View, request_resource};
use crate::admission::webhook::review;
use crate::admission::webhook::rules::Place;
use crate::admission::webhook::subject::Subject;

/// The documents of a request at one place.
pub(super) struct Case {
    /// The object as it is.
    plain: Option<Value>,
    object: Option<Value>,
    old: Option<Value>,
    request: Value,
}

impl Case {
    pub(super) fn new(request: &Admission<'_>, place: &Place, subject: Subject<'_>) -> Self {
        let mut described = review::attributes(request, place);
        if request.generated {
            described.remove_at("name");
        }
        Self { plain: None, object: subject.new.map(printed), old: subject.old.map(printed), request: described }
    }

    /// The same for who changes the object: as it is, and as it is printed.
    pub(super) fn to_change(request: &Admission<'_>, place: &Place, mut subject: Subject<'_>) -> Self {
        let plain = subject.new.take().map(Cow::into_owned);
        let object = plain.as_ref().map(|plain| printed(Cow::Borrowed(plain)));
        Self { plain, object, ..Self::new(request, place, subject) }
    }

    pub(super) fn object(&self) -> Option<(&Value, &Value)> {
        self.plain.as_ref().zip(self.object.as_ref())
    }

    pub(super) fn set_object(&mut self, object: Value) {
        self.object = Some(printed(Cow::Borrowed(&object)));
        self.plain = Some(object);
    }

    pub(super) fn view<'a>(&'a self, world: &'a World, params: Option<&'a Value>, namespace: Option<&'a Value>) -> View<'a> {
        View {
            object: self.object.as_ref(),
            old_object: self.old.as_ref(),
            request: &self.request,
            namespace,
            params,
            answers: &world.answers,
            resource: &world.resource,
        }
    }
}

/// What all policies of one request share.
pub(super) struct World {
    answers: Arc<Answers>,
    resource: ResourceQuestion,
    /// `namespaceObject`, once somebody has asked for it.
    namespace: Option<Option<Value>>,
}

impl World {
    pub(super) fn new(request: &Admission<'_>) -> Self {
        let answers = Answers::new(request.core.authorizer(), request.user);
        Self { answers, resource: request_resource(request), namespace: None }
    }

    /// Reads `namespaceObject`. 404 where the namespace is gone.
    pub(super) fn need_namespace(&mut self, request: &Admission<'_>) -> Result<(), Status> {
        if self.namespace.is_none() {
            self.namespace = Some(namespace(request)?);
        }
        Ok(())
    }

    pub(super) fn namespace(&self) -> Option<&Value> {
        self.namespace.as_ref().and_then(Option::as_ref)
    }
}

/// None for what is of the cluster, as namespaces themselves are.
fn namespace(request: &Admission<'_>) -> Result<Option<Value>, Status> {
    if request.namespace.is_empty() || request.is("", "namespaces") {
        return Ok(None);
    }
    let key = format!("/namespaces/{}", request.namespace);
    let item = request.core.cache.kind("/namespaces/").and_then(|namespaces| namespaces.get(&key));
    let item = item.ok_or_else(|| Status::not_found("", "namespaces", request.namespace))?;
    let mut doc = printed(Cow::Owned(item.object.value()));
    doc.remove_at("metadata.managedFields");
    Ok(Some(doc))
}

/// A document of a built-in type as Go's types print it; any other as it is.
pub(super) fn printed(doc: Cow<'_, Value>) -> Value {
    match Facts::builtin().kind(doc.str_at("apiVersion"), doc.str_at("kind")) {
        Some(ty) => view::as_go(ty, &doc),
        None => doc.into_owned(),
    }
}
