//! The parameters that a binding refers to: objects of any kind, read from the watch cache, so that what was written before the
//! request is what counts.

use std::borrow::Cow;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use client::Object;
use kinds::KindRef;
use schema::Value;

use super::case::printed;
use super::compiled::{Binding, ParamKind, ParamRef, Wanted};
use crate::admission::Admission;
use crate::admission::webhook::rules;
use crate::cache::item::Item;
use crate::{Core, convert};

/// One parameter.
#[derive(Clone)]
pub(super) struct Param {
    /// `namespace/name`
    pub key: String,
    pub value: Arc<Value>,
}

/// The parameter that a binding used last, decoded. Most bindings have one.
#[derive(Default)]
pub(super) struct Kept(ArcSwapOption<Decoded>);

struct Decoded {
    /// Of the document and of the kind: a custom kind's schema may have changed what it is read as.
    object: Arc<Object>,
    kind: KindRef,
    value: Arc<Value>,
}

/// `failed to find resource …` where nobody serves the kind of a policy's parameters.
pub(super) fn known(core: &Core, kind: Option<&ParamKind>) -> Result<Option<KindRef>, String> {
    let Some(wanted) = kind else { return Ok(None) };
    let found = core.registry().kind(&wanted.api_version, &wanted.kind);
    found.map(Some).ok_or_else(|| format!("failed to find resource referenced by paramKind: '{}'", go_kind(wanted)))
}

/// `apps/v1, Kind=Deployment`; the core group is `/v1`.
fn go_kind(kind: &ParamKind) -> String {
    let slash = if kind.api_version.contains('/') { "" } else { "/" };
    format!("{slash}{}, Kind={}", kind.api_version, kind.kind)
}

/// What a policy is to be evaluated with, one after the other: nothing at all, nothing in place of parameters, or each of them.
pub(super) async fn collect(request: &Admission<'_>, kind: Option<&KindRef>, binding: &Binding) -> Result<Vec<Option<Param>>, String> {
    let (Some(kind), Some(reference)) = (kind, &binding.param_ref) else { return Ok(vec![None]) };
    let namespace = namespace(request, kind, reference)?;
    let found = match &reference.wanted {
        Wanted::Name(name) => named(request.core, kind, namespace, name).into_iter().collect(),
        Wanted::Selected(Err(why)) => return Err(why.clone()),
        Wanted::Selected(Ok(selector)) => {
            let all = in_namespace(request.core, kind, namespace);
            all.into_iter().filter(|item| selector.matches(&item.object.meta.labels)).collect::<Vec<_>>()
        }
    };
    if found.is_empty() && reference.must_exist {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    let mut params = Vec::with_capacity(found.len());
    for item in found {
        params.push(Some(decoded(request.core, kind, item, &binding.kept).await?));
    }
    Ok(params)
}

/// Where the parameters are; `""` for those of the cluster.
fn namespace<'a>(request: &Admission<'a>, kind: &KindRef, reference: &'a ParamRef) -> Result<&'a str, String> {
    let own = reference.namespace.as_str();
    match (kind.is_namespaced(), own) {
        (false, "") => Ok(""),
        (false, _) => Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into()),
        (true, "") => match rules::namespace(request) {
            "" => Err("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".into()),
            of_request => Ok(of_request),
        },
        (true, named) => Ok(named),
    }
}

fn named(core: &Core, kind: &KindRef, namespace: &str, name: &str) -> Option<Arc<Item>> {
    core.cache.of(kind)?.get(&crate::core::key(kind, namespace, name))
}

fn in_namespace(core: &Core, kind: &KindRef, namespace: &str) -> Vec<Arc<Item>> {
    let Some(cache) = core.cache.of(kind) else { return Vec::new() };
    let (start, end) = crate::list::bounds(&kind.storage_prefix, namespace);
    let ring = cache.read();
    ring.range(&start, &end).map(|(_, item)| Arc::clone(item)).collect()
}

async fn decoded(core: &Core, kind: &KindRef, item: Arc<Item>, kept: &Kept) -> Result<Param, String> {
    let (key, object) = (item.object.meta.key(), Arc::clone(&item.object));
    let is_same = |held: &&Arc<Decoded>| Arc::ptr_eq(&held.object, &object) && Arc::ptr_eq(&held.kind, kind);
    if let Some(held) = kept.0.load().as_ref().filter(is_same) {
        return Ok(Param { key, value: Arc::clone(&held.value) });
    }
    let served = convert::object(&core.cache, kind, item).await.map_err(|status| status.message)?;
    let value = Arc::new(printed(Cow::Owned(served.value())));
    kept.0.store(Some(Arc::new(Decoded { object, kind: Arc::clone(kind), value: Arc::clone(&value) })));
    Ok(Param { key, value })
}
