//! Calls as code wants to make them, over any [`Transport`].

use std::sync::Arc;

use schema::{Status, Value};

use crate::request::{Answer, Body, List, Options, Patch, Request, Response, Target, Verb, Watch};
use crate::{Object, Transport};

/// Cheap to clone.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
}

impl Client {
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport }
    }

    pub async fn call(&self, request: Request) -> Result<Answer, Status> {
        self.transport.call(request).await
    }

    pub async fn get(&self, target: Target) -> Result<Arc<Object>, Status> {
        self.object(Request { verb: Verb::Get, target, options: Options::default(), body: Body::None }).await
    }

    pub async fn list(&self, target: Target, options: Options) -> Result<List, Status> {
        match self.call(Request { verb: Verb::List, target, options, body: Body::None }).await?.response {
            Response::List(list) => Ok(list),
            _ => Err(Status::internal("a list was answered with something else")),
        }
    }

    pub async fn watch(&self, target: Target, options: Options) -> Result<Watch, Status> {
        match self.call(Request { verb: Verb::Watch, target, options, body: Body::None }).await?.response {
            Response::Watch(watch) => Ok(watch),
            _ => Err(Status::internal("a watch was answered with something else")),
        }
    }

    pub async fn create(&self, target: Target, doc: Value) -> Result<Arc<Object>, Status> {
        self.object(Request { verb: Verb::Create, target, options: Options::default(), body: Body::Value(doc) }).await
    }

    /// Full replacement; the document's resourceVersion guards it.
    pub async fn update(&self, target: Target, doc: Value) -> Result<Arc<Object>, Status> {
        self.object(Request { verb: Verb::Update, target, options: Options::default(), body: Body::Value(doc) }).await
    }

    pub async fn patch(&self, target: Target, kind: Patch, patch: &Value) -> Result<Arc<Object>, Status> {
        let body = Body::Patch { kind, bytes: serde_json::to_vec(patch).map_err(Status::internal)?.into() };
        self.object(Request { verb: Verb::Patch, target, options: Options::default(), body }).await
    }

    /// Ok also when the object stays for its finalizers or grace period.
    pub async fn delete(&self, target: Target, options: Options) -> Result<(), Status> {
        self.call(Request { verb: Verb::Delete, target, options, body: Body::None }).await.map(|_| ())
    }

    async fn object(&self, request: Request) -> Result<Arc<Object>, Status> {
        match self.call(request).await?.response {
            Response::Object { object, .. } => Ok(object),
            Response::Value { value, .. } => Object::from_value(&value),
            _ => Err(Status::internal("an object was answered with something else")),
        }
    }
}
