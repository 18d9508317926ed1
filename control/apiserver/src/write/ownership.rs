//! Who owns which fields after a write: the API's side of [`schema::apply`].
//!
//! Every write keeps `metadata.managedFields`: what it changed is its manager's. They are told after defaults and the kind's
//! own preparation, and before admission: what the server adds on its own account is nobody's. A binding and a delete tell
//! nothing; they leave the entries as they are.

use std::cell::OnceCell;

use kinds::{Descriptor, KindRef};
use schema::apply::{self, ApplyError, FieldSet, Kind, Place};
use schema::{DocExt, Facts, Status, Value, json, time};

use crate::core::Call;
use crate::{convert, failure};

/// Whose a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// The caller's manager owns what the change changes. The change is not shown managedFields: it need not copy them.
    Writer,
    /// The same, and the change sees managedFields, which it may change as well.
    Editor,
    /// The managedFields of the changed document are right as they are.
    Told,
}

/// Tells in a new document that its manager owns it.
pub(crate) async fn tell_new(call: &Call<'_>, doc: &mut Value) -> Result<(), Status> {
    let empty = Versions::of(call).empty(&call.kind.api_version());
    tell(call, &empty, doc).await
}

/// Tells in `new` who owns what, as it replaces `old`. An error where a conversion webhook has one.
pub(crate) async fn tell(call: &Call<'_>, old: &Value, new: &mut Value) -> Result<(), Status> {
    if !convert::may_ask(&call.kind) {
        tell_once(call, old, new);
        return Ok(());
    }
    let untold = new.clone();
    loop {
        tell_once(call, old, new);
        if !call.memo.fill(&call.core.cache).await? {
            return Ok(());
        }
        new.clone_from(&untold);
    }
}

fn tell_once(call: &Call<'_>, old: &Value, new: &mut Value) {
    if let Err(error) = write(call, |write| write.tell(old, new)) {
        // As the original: a write does not fail for its bookkeeping, which then is dropped rather than wrong.
        tracing::warn!(resource = %call.kind.qualified(), name = %call.target.name, %error, "managedFields are dropped");
    }
}

/// What applying `config` makes of `old`; None: of nothing. Good once the call's memo lacks nothing.
pub(crate) fn applied(call: &Call<'_>, old: Option<&Value>, config: &Value) -> Result<Value, Status> {
    let empty = Versions::of(call).empty(&call.kind.api_version());
    write(call, |write| write.apply(old.unwrap_or(&empty), config, call.options.force)).map_err(|error| refused(&error))
}

pub(crate) fn refused(error: &ApplyError) -> Status {
    match error {
        ApplyError::Conflict(conflicts) => conflicts.to_status(),
        ApplyError::BadRequest(why) => Status::bad_request(why),
        ApplyError::Shape(why) => failure::plain(why),
    }
}

/// The manager that this call writes as.
pub(crate) fn manager<'a>(call: &Call<'a>) -> &'a str {
    &call.options.field_manager
}

fn write<T>(call: &Call<'_>, run: impl FnOnce(&apply::Write<'_>) -> T) -> T {
    let versions = Versions::of(call);
    run(&apply::Write {
        kind: &versions,
        api_version: &call.kind.api_version(),
        name: &call.kind.kind,
        manager: manager(call),
        subresource: &call.target.subresource,
        ignored: &ignored(&call.kind, &call.target.subresource),
        now: &time::format(call.core.env.now()),
    })
}

/// The fields that an endpoint does not write. Updates need them little, since the kind's preparation has put them back by
/// then; an apply names fields that it does not get.
fn ignored(kind: &Descriptor, subresource: &str) -> FieldSet {
    let all_but = |written: &[&str]| {
        let fields = Facts::builtin().get(kind.ty).fields.iter().map(|field| field.name);
        fields.filter(|name| !written.contains(name)).map(|name| vec![name]).collect::<Vec<_>>()
    };
    let mut paths = match subresource {
        "status" if kind.custom.is_some() => vec![vec!["metadata"], vec!["spec"]],
        "" if kind.has_status => vec![vec!["status"]],
        "" => Vec::new(),
        "status" | "approval" => all_but(&["metadata", "status"]),
        _ => all_but(&["metadata", "spec"]),
    };
    match (&*kind.group, &*kind.kind, subresource) {
        ("apps", "Deployment", "status") => paths.push(vec!["metadata", "labels"]),
        ("", "Pod", "status") => {
            paths.push(vec!["metadata", "deletionTimestamp"]);
            paths.push(vec!["metadata", "ownerReferences"]);
        }
        _ => {}
    }
    FieldSet::of_fields(&paths.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// The kind of a call in all its served versions.
struct Versions<'a> {
    call: &'a Call<'a>,
    /// Asked for only by entries of another version than the call's.
    others: OnceCell<Vec<KindRef>>,
}

impl<'a> Versions<'a> {
    fn of(call: &'a Call<'a>) -> Self {
        Self { call, others: OnceCell::new() }
    }

    fn at(&self, api_version: &str) -> Option<&KindRef> {
        let own = &self.call.kind;
        if own.api_version() == api_version {
            return Some(own);
        }
        let of_kind = || {
            let table = self.call.core.registry.table();
            table.rows().iter().filter(|row| row.storage_prefix == own.storage_prefix && row.kind == own.kind).cloned().collect()
        };
        self.others.get_or_init(of_kind).iter().find(|row| row.api_version() == api_version)
    }
}

impl Kind for Versions<'_> {
    fn shape(&self, api_version: &str) -> Option<Place<'_>> {
        let kind = self.at(api_version)?;
        Some(kind.custom.as_ref().map_or(Place::Object(kind.ty), |custom| Place::Custom(custom.shape())))
    }

    fn convert(&self, doc: &Value, api_version: &str) -> Option<Value> {
        let wanted = self.at(api_version)?;
        let from = self.at(doc.str_at("apiVersion"))?;
        if std::sync::Arc::ptr_eq(from, wanted) {
            return Some(doc.clone());
        }
        if convert::may_ask(wanted) {
            return self.call.memo.find(doc, wanted);
        }
        Some(convert::at_once(from, wanted, &self.call.stored_kind(), doc.clone()))
    }

    fn empty(&self, api_version: &str) -> Value {
        json!({"apiVersion": api_version, "kind": self.call.kind.kind})
    }

    fn prints_structs(&self) -> bool {
        self.call.kind.custom.is_none()
    }
}
