//! The node's own socket: what the command line asks of the running node (images). Root only, by the socket's folder.

use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use cli::{Failure, ImageRow, Kind};
use contract::{ErrorKind, Image, ImageConfig, Images};
use env::Env;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stdx::Instance;
use tokio::net::{UnixListener, UnixStream};

const BODY_MAX: usize = 64 << 10;

fn path(instance: &Instance) -> PathBuf {
    instance.run_dir().join("node.sock")
}

/// Serves until shutdown.
pub(crate) fn serve(instance: &Instance, images: Arc<dyn Images>, env: &Env) -> std::io::Result<()> {
    let path = path(instance);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let (shutdown, tasks) = (env.shutdown().clone(), env.clone());
    env.spawn("admin", async move {
        while let Some(Ok((stream, _))) = shutdown.run_until_cancelled(listener.accept()).await {
            let images = Arc::clone(&images);
            tasks.spawn("admin-connection", async move {
                let service = service_fn(move |request| answer(Arc::clone(&images), request));
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(())
}

async fn answer(images: Arc<dyn Images>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (code, body) = match act(&*images, request).await {
        Ok(value) => (200, value),
        Err(error) => {
            let code = match error.kind {
                ErrorKind::NotFound => 404,
                ErrorKind::Busy => 409,
                ErrorKind::Invalid | ErrorKind::Unsupported => 400,
                ErrorKind::Start | ErrorKind::Io => 500,
            };
            (code, json!({"error": error.message}))
        }
    };
    Ok(Response::builder().status(code).body(Full::new(Bytes::from(body.to_string()))).expect("a known status"))
}

async fn act(images: &dyn Images, request: Request<Incoming>) -> contract::Result<Value> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let body = Limited::new(request.into_body(), BODY_MAX)
        .collect()
        .await
        .map_err(|error| contract::Error::new(ErrorKind::Invalid, error.to_string()))?;
    let body: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    match (&method, path.as_str()) {
        (&Method::GET, "/images") => Ok(json!(images.list().await?.iter().map(row).collect::<Vec<_>>())),
        (&Method::POST, "/images/import") => {
            Ok(json!(row(&images.import(text("archive").as_ref(), text("name"), ImageConfig::default()).await?)))
        }
        (&Method::POST, "/images/load") => Ok(json!(images.load(text("archive").as_ref()).await?.iter().map(row).collect::<Vec<_>>())),
        (&Method::POST, "/images/remove") => images.remove(text("name")).await.map(|()| Value::Null),
        _ => Err(contract::Error::new(ErrorKind::NotFound, format!("nothing at {method} {path}"))),
    }
}

fn row(image: &Image) -> ImageRow {
    ImageRow { names: image.names.clone(), id: image.id.clone(), size: image.size, created: image.created }
}

/// Asks the running node.
pub(crate) async fn ask<T: DeserializeOwned>(instance: &Instance, method: &str, what: &str, body: &Value) -> Result<T, Failure> {
    let path = path(instance);
    let absent = |error: std::io::Error| {
        Failure::new(Kind::NotRunning, format!("the node does not answer at {}: {error}", path.display())).fix("start it with `corten up`")
    };
    let other = |error: &dyn std::fmt::Display| Failure::new(Kind::Other, format!("the node: {error}"));
    let stream = UnixStream::connect(&path).await.map_err(absent)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| other(&error))?;
    let request = Request::builder().method(method).uri(what).header("host", "node").body(Full::new(Bytes::from(body.to_string())));
    let exchange = async {
        let answer = sender.send_request(request.expect("a well-formed request")).await?;
        let code = answer.status().as_u16();
        Ok::<_, hyper::Error>((code, answer.into_body().collect().await?.to_bytes()))
    };
    let (code, bytes) = tokio::select! {
        answered = exchange => answered.map_err(|error| other(&error))?,
        ended = connection => return Err(other(&format!("the connection ended: {ended:?}"))),
    };
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| other(&error))?;
    if code != 200 {
        let kind = if code == 400 || code == 404 { Kind::Usage } else { Kind::Other };
        return Err(Failure::new(kind, value.get("error").and_then(Value::as_str).unwrap_or("unknown")));
    }
    serde_json::from_value(value).map_err(|error| other(&error))
}
