//! The watcher over scripted informers and a driver that only notes what it is told.

use std::sync::Mutex;

use async_trait::async_trait;
use client::{Answer, Client, List, Options, Request, Response, Target, Transport, Verb, WatchEvent, WatchKind};
use futures::StreamExt;
use schema::{Status, Value, json};
use tokio::sync::mpsc;

use super::*;

/// Lists once; then its watch says what the test sends.
struct Script {
    listed: Vec<Arc<Object>>,
    events: Mutex<Option<mpsc::UnboundedReceiver<WatchEvent>>>,
}

#[async_trait]
impl Transport for Script {
    async fn call(&self, request: Request) -> Result<Answer, Status> {
        let response = match request.verb {
            Verb::List => Response::List(List {
                items: self.listed.clone(),
                resource_version: "10".into(),
                continue_token: String::new(),
                remaining: None,
            }),
            _ => match self.events.lock().unwrap().take() {
                Some(events) => Response::Watch(Box::pin(futures::stream::unfold(events, |mut events| async {
                    events.recv().await.map(|event| (Ok(event), events))
                }))),
                None => Response::Watch(futures::stream::pending().boxed()),
            },
        };
        Ok(Answer { response, warnings: Vec::new() })
    }
}

#[derive(Default)]
struct Notes {
    calls: Mutex<Vec<String>>,
    failures: Mutex<usize>,
    seen: tokio::sync::Notify,
}

impl Notes {
    fn note(&self, call: String) -> contract::Result<()> {
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return Err(contract::Error::io("scripted", "failure"));
        }
        self.calls.lock().unwrap().push(call);
        self.seen.notify_one();
        Ok(())
    }

    async fn wait_for(&self, count: usize) -> Vec<String> {
        while self.calls.lock().unwrap().len() < count {
            self.seen.notified().await;
        }
        self.calls.lock().unwrap().clone()
    }
}

#[async_trait]
impl Services for Notes {
    async fn ensure(&self, service: ServiceSpec) -> contract::Result<()> {
        let endpoints: usize = service.ports.iter().map(|port| port.endpoints.len()).sum();
        self.note(format!("ensure {}/{} with {endpoints}", service.namespace, service.name))
    }

    async fn remove(&self, namespace: &str, name: &str) -> contract::Result<()> {
        self.note(format!("remove {namespace}/{name}"))
    }

    async fn replace(&self, services: Vec<ServiceSpec>) -> contract::Result<()> {
        self.note(format!("replace {}", services.len()))
    }
}

fn informer(
    env: &Env,
    listed: Vec<Value>,
    indexes: &[(&'static str, client::informer::IndexFn)],
) -> (Arc<Informer>, mpsc::UnboundedSender<WatchEvent>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let listed = listed.iter().map(|value| Object::from_value(value).unwrap()).collect();
    let script = Script { listed, events: Mutex::new(Some(receiver)) };
    (Informer::start(env, Client::new(Arc::new(script)), Target::of("v1", "things", ""), Options::default(), indexes), sender)
}

fn service(name: &str, revision: u64) -> Value {
    json!({"metadata": {"namespace": "d", "name": name, "resourceVersion": revision.to_string()}, "spec": {"clusterIP": "10.96.0.5", "ports": [{"port": 80, "protocol": "TCP"}]}})
}

fn slice(service: &str, revision: u64, endpoints: &[&str]) -> Value {
    let endpoints: Vec<Value> = endpoints.iter().map(|ip| json!({"addresses": [ip]})).collect();
    json!({
        "metadata": {"namespace": "d", "name": format!("{service}-x"), "resourceVersion": revision.to_string(), "labels": {SERVICE_NAME_LABEL: service}},
        "addressType": "IPv4", "ports": [{"name": "", "port": 8080, "protocol": "TCP"}], "endpoints": endpoints,
    })
}

fn event(kind: WatchKind, value: &Value) -> WatchEvent {
    WatchEvent { kind, object: Object::from_value(value).unwrap() }
}

#[tokio::test(start_paused = true)]
async fn only_what_differs_reaches_the_driver_and_failures_are_tried_again() {
    let env = Env::sim(1);
    let (services, service_events) = informer(&env, vec![service("web", 5)], &[]);
    let (slices, slice_events) = informer(&env, vec![slice("web", 6, &["10.0.0.1"])], &[(BY_SERVICE, service_of_slice)]);
    let notes = Arc::new(Notes::default());
    let mut ready = start(&env, "n1", notes.clone(), services, slices);
    ready.wait_for(|ready| *ready).await.unwrap();
    assert_eq!(notes.wait_for(1).await, ["replace 1"]);

    // The same endpoints again are no change.
    slice_events.send(event(WatchKind::Modified, &slice("web", 11, &["10.0.0.1"]))).unwrap();
    *notes.failures.lock().unwrap() = 2;
    slice_events.send(event(WatchKind::Modified, &slice("web", 12, &["10.0.0.1", "10.0.0.2"]))).unwrap();
    assert_eq!(notes.wait_for(2).await[1..], ["ensure d/web with 2"]);

    service_events.send(event(WatchKind::Added, &service("api", 13))).unwrap();
    assert_eq!(notes.wait_for(3).await[2..], ["ensure d/api with 0"]);
    service_events.send(event(WatchKind::Deleted, &service("web", 14))).unwrap();
    assert_eq!(notes.wait_for(4).await[3..], ["remove d/web"]);
}
