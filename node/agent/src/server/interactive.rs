//! exec and attach: the client's streams joined to a process's.

use std::sync::Arc;

use bytes::Bytes;
use contract::{Exec, ExecSpec, Streams, Terminal};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use schema::Status;
use stream::handshake::{self, Negotiated, Supported};
use stream::remote::{self, Input, Outcome, Output, ServerSession, TerminalSize, Wants};
use tokio::sync::mpsc;

use super::{Answer, running_id};
use crate::context::Context;
use crate::registry::PodEntry;

pub(super) fn exec(
    cx: &Arc<Context>,
    pod: &PodEntry,
    container: &str,
    spec: ExecSpec,
    wants: Wants,
    request: Request<Incoming>,
) -> Result<Answer, Status> {
    let id = running_id(pod, container)?;
    let runtime = Arc::clone(&cx.drivers.runtime);
    join(cx, wants, request, |session| async move {
        match runtime.exec(&id, &spec).await {
            Ok(Exec { streams, exit }) => pump(session, streams, async { exit.await.ok().map(|exit| exit.code) }).await,
            Err(error) => session.finish(&Outcome::Failure(format!("error executing command in container: {error}"))).await,
        }
    })
}

pub(super) fn attach(
    cx: &Arc<Context>,
    pod: &PodEntry,
    container: &str,
    wants: Wants,
    request: Request<Incoming>,
) -> Result<Answer, Status> {
    let id = running_id(pod, container)?;
    let runtime = Arc::clone(&cx.drivers.runtime);
    join(cx, wants, request, |session| async move {
        match runtime.attach(&id).await {
            Ok(streams) => pump(session, streams, std::future::ready(Some(0))).await,
            Err(error) => session.finish(&Outcome::Failure(format!("error attaching to container: {error}"))).await,
        }
    })
}

/// Agrees on a protocol and does `work` once the connection is a stream.
fn join<W, F>(cx: &Arc<Context>, wants: Wants, request: Request<Incoming>, work: W) -> Result<Answer, Status>
where
    W: FnOnce(ServerSession) -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let (negotiated, answer) = negotiate(&request, handshake::REMOTE)?;
    let env = cx.env.clone();
    cx.env.spawn("exec", async move {
        let shutdown = env.shutdown().clone();
        let talk = async {
            let io = match hyper::upgrade::on(request).await {
                Ok(upgraded) => TokioIo::new(upgraded),
                Err(error) => return tracing::debug!(%error, "upgrade not completed"),
            };
            let (session, driver) = remote::server(io, &negotiated, wants);
            let driver = env.spawn("exec connection", driver);
            match session.await {
                Ok(session) => work(session).await,
                Err(error) => tracing::debug!(%error, "streams of an exec not opened"),
            }
            // What is written last still has to leave.
            let _ = tokio::time::timeout(std::time::Duration::from_secs(5), driver).await;
        };
        shutdown.run_until_cancelled(talk).await;
    });
    Ok(answer)
}

/// The protocol and the 101, or the refusal.
pub(super) fn negotiate(request: &Request<Incoming>, supported: Supported) -> Result<(Negotiated, Answer), Status> {
    match handshake::negotiate(request.headers(), supported) {
        Ok(negotiated) => {
            let answer: Response<_> = negotiated.response().map(|()| Empty::<Bytes>::new().boxed_unsync());
            Ok((negotiated, answer))
        }
        Err(refusal) => {
            let reason = if refusal.status.as_u16() == 403 { "Forbidden" } else { "BadRequest" };
            Err(Status::failure(refusal.status.as_u16(), reason, refusal.message))
        }
    }
}

/// Passes bytes until the process has ended and all its output is out, or the client is gone (which ends an exec's process).
async fn pump(mut session: ServerSession, streams: Streams, exit: impl Future<Output = Option<i32>>) {
    let Streams { stdin, stdout, stderr, resize } = streams;
    let inputs = async {
        tokio::join!(feed(session.stdin.take(), stdin), sizes(session.resize.take(), resize));
        std::future::pending::<()>().await;
    };
    let outputs = async {
        tokio::join!(print(stdout, session.stdout.as_ref()), print(stderr, session.stderr.as_ref()));
        exit.await
    };
    let code = tokio::select! {
        code = outputs => Some(code),
        () = inputs => None,
        () = session.gone.wait() => None,
    };
    let outcome = match code {
        None => return,
        Some(Some(0)) => Outcome::Success,
        Some(Some(code)) => Outcome::ExitCode(code),
        Some(None) => Outcome::Failure("the end of the command was not seen".into()),
    };
    session.finish(&outcome).await;
}

/// The client's input; its end closes the process's.
async fn feed(from: Option<Input>, to: Option<mpsc::Sender<Bytes>>) {
    let (Some(mut from), Some(to)) = (from, to) else { return };
    while let Some(piece) = from.recv().await {
        if to.send(piece).await.is_err() {
            return;
        }
    }
}

async fn sizes(from: Option<mpsc::Receiver<TerminalSize>>, to: Option<mpsc::Sender<Terminal>>) {
    let (Some(mut from), Some(to)) = (from, to) else { return };
    while let Some(TerminalSize { width, height }) = from.recv().await {
        if to.send(Terminal { columns: width, rows: height }).await.is_err() {
            return;
        }
    }
}

/// Output that nobody asked for is read all the same, so that the process never blocks on it.
async fn print(mut from: mpsc::Receiver<Bytes>, to: Option<&Output>) {
    while let Some(piece) = from.recv().await {
        if let Some(to) = to
            && to.send(piece).await.is_err()
        {
            return;
        }
    }
}
