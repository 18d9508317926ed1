//! The demo image `corten.local/hello`: a small web server that says which pod, node and version answered.
//!
//! It is this very binary, so an example runs with nothing but the binary. Configuration comes from the environment, as a
//! container's does: `POD_NAME`, `NODE_NAME`, `GREETING`, `PORT` (8080).

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Between being told to end and closing the door: whoever still sends requests here has not heard yet.
const LAME_DUCK: Duration = Duration::from_secs(1);

/// What the page says.
struct Page {
    greeting: String,
    pod: String,
    node: String,
}

pub(crate) fn run() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(serve()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::out::talk(format!("hello: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> anyhow::Result<()> {
    let (page, port) = configuration()?;
    let listener = TcpListener::bind(("0.0.0.0", port)).await?;
    cli::out::line(format!("hello from {} on port {port}", page.pod));
    let page = Arc::new(page);
    let env = env::Env::real();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut last_call = std::pin::pin!(None);
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            _ = terminate.recv(), if last_call.is_none() => {
                last_call.set(Some(tokio::time::sleep(LAME_DUCK)));
                continue;
            }
            () = async { last_call.as_mut().as_pin_mut().expect("asked only when there is one").await }, if last_call.is_some() => break,
        };
        let page = Arc::clone(&page);
        let shutdown = env.shutdown().clone();
        env.spawn("hello-connection", async move {
            let answer = service_fn(move |request| answer(Arc::clone(&page), request));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => {}
                () = shutdown.cancelled() => {
                    // Finish the answer under way, then close.
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
        });
    }
    drop(listener);
    env.stop(Duration::from_secs(5)).await;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a container's configuration is its environment")]
fn configuration() -> anyhow::Result<(Page, u16)> {
    let text = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let port = text("PORT", "8080");
    let port = port.parse().map_err(|_| anyhow::anyhow!("PORT {port:?} is no port number"))?;
    Ok((
        Page { greeting: text("GREETING", "Hello from Corten"), pod: text("POD_NAME", &hostname), node: text("NODE_NAME", "unknown") },
        port,
    ))
}

async fn answer(page: Arc<Page>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, text) = match request.uri().path() {
        "/healthz" => (200, "ok\n".to_owned()),
        "/" => (200, format!("{}\npod: {}\nnode: {}\nversion: {}\n", page.greeting, page.pod, page.node, env!("CARGO_PKG_VERSION"))),
        path => (404, format!("nothing at {path}\n")),
    };
    let response =
        Response::builder().status(status).header("content-type", "text/plain; charset=utf-8").body(Full::new(Bytes::from(text)));
    Ok(response.expect("a constant header and a known status"))
}
