//! The core on the memory store (and on an etcd: on_etcd.rs), with the real kinds and authorization on.

mod admission;
mod apply;
mod create;
mod custom;
mod delete;
mod golden;
mod lists;
mod matrix;
pub(crate) mod on_etcd;
mod ownership;
mod patch;
mod policies;
mod protection;
mod quota;
mod review;
mod service;
mod sub;
mod update;
mod watches;
mod webhooks;

use std::sync::Arc;

use auth::UserInfo;
use client::{Answer, Body, Bytes, Client, List, Object, Options, Patch, Request, Response, Target, Verb};
use env::Env;
use schema::{Status, Value, json};
use store::Store;

use crate::{Config, Core};

/// An API server of its own for one test.
pub(crate) struct Cluster {
    pub core: Arc<Core>,
    pub store: Arc<dyn Store>,
    pub admin: UserInfo,
}

impl Cluster {
    /// With nothing but the namespaces `default` and `other`.
    pub(crate) async fn bare() -> Self {
        Self::with(Config::default()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let cluster = Self::on(on_etcd::fresh_store().await, config).await;
        for name in ["default", "other"] {
            cluster.create(Target::of("v1", "namespaces", ""), json!({"metadata": {"name": name}})).await.unwrap();
        }
        cluster
    }

    /// On a store that may hold something already.
    pub(crate) async fn on(store: Arc<dyn Store>, config: Config) -> Self {
        let core = Core::new(Arc::clone(&store), Env::sim(7), config, auth::Chain::new(Vec::new()), kinds::all().to_vec());
        core.load().await.unwrap();
        Self { core, store, admin: UserInfo::new("admin", &[auth::MASTERS]) }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.core.transport(self.admin.clone()))
    }

    pub(crate) async fn call(&self, verb: Verb, target: Target, options: Options, body: Body) -> Result<Answer, Status> {
        self.core.call(&self.admin, Request { verb, target, options, body }).await
    }

    pub(crate) async fn create(&self, target: Target, doc: Value) -> Result<Value, Status> {
        object(self.call(Verb::Create, target, Options::default(), Body::Value(doc)).await?)
    }

    pub(crate) async fn update(&self, target: Target, doc: Value) -> Result<Value, Status> {
        object(self.call(Verb::Update, target, Options::default(), Body::Value(doc)).await?)
    }

    pub(crate) async fn get(&self, target: Target) -> Result<Value, Status> {
        object(self.call(Verb::Get, target, Options::default(), Body::None).await?)
    }

    pub(crate) async fn patch(&self, target: Target, kind: Patch, patch: Value) -> Result<Value, Status> {
        let body = Body::Patch { kind, bytes: Bytes::from(patch.to_string()) };
        object(self.call(Verb::Patch, target, Options::default(), body).await?)
    }

    /// Server-side apply by `manager`.
    pub(crate) async fn apply(&self, target: Target, manager: &str, force: bool, config: Value) -> Result<Value, Status> {
        let body = Body::Patch { kind: Patch::Apply, bytes: Bytes::from(config.to_string()) };
        object(self.call(Verb::Patch, target, Options { force, ..by(manager) }, body).await?)
    }

    pub(crate) async fn delete(&self, target: Target, options: Options) -> Result<Value, Status> {
        object(self.call(Verb::Delete, target, options, Body::None).await?)
    }

    pub(crate) async fn list(&self, target: Target, options: Options) -> Result<List, Status> {
        Ok(self.core.list(&self.admin, &target, &options).await?.1)
    }

    /// A config map `name` in `default` with one label.
    pub(crate) async fn config_map(&self, name: &str, label: &str) -> Value {
        self.create(config_maps(), json!({"metadata": {"name": name, "labels": {"app": label}}, "data": {"k": "v"}})).await.unwrap()
    }
}

pub(crate) fn config_maps() -> Target {
    Target::of("v1", "configmaps", "default")
}

pub(crate) fn pods() -> Target {
    Target::of("v1", "pods", "default")
}

pub(crate) fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"automountServiceAccountToken": false, "containers": [{"name": "c", "image": "i"}]}})
}

/// The default account of `default`, which a controller makes elsewhere.
pub(crate) async fn with_account(cluster: &Cluster) {
    cluster.create(Target::of("v1", "serviceaccounts", "default"), json!({"metadata": {"name": "default"}})).await.unwrap();
}

/// The options of a write by `manager`.
pub(crate) fn by(manager: &str) -> Options {
    Options { field_manager: manager.into(), ..Options::default() }
}

/// `manager Operation [subresource]: {fields}` of each entry.
pub(crate) fn owners(doc: &Value) -> Vec<String> {
    let entries = schema::DocExt::items_at(doc, "metadata.managedFields").iter();
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let named = |entry: &Value| format!("{} {} {}", text(entry, "manager"), text(entry, "operation"), text(entry, "subresource"));
    entries.map(|entry| format!("{}: {}", named(entry).trim_end(), entry["fieldsV1"])).collect()
}

pub(crate) fn object(answer: Answer) -> Result<Value, Status> {
    match answer.response {
        Response::Object { object, .. } => Ok(object.value()),
        Response::Value { value, .. } => Ok(value),
        Response::List(_) | Response::Watch(_) => panic!("a collection is no object"),
    }
}

pub(crate) fn names(items: &[Arc<Object>]) -> Vec<&str> {
    items.iter().map(|object| object.meta.name.as_str()).collect()
}
