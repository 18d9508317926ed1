//! Lifecycle hooks: exec, httpGet, tcpSocket (nothing is done, as upstream), sleep.

use std::time::Duration;

use contract::ExecSpec;
use kinds::core::{Container, HttpGetAction, LifecycleHandler};

use crate::context::Context;
use crate::execute;
use crate::http_get;

/// Where a hook acts.
pub(crate) struct Target<'a> {
    pub container: &'a Container,
    pub id: &'a str,
    pub pod_ip: Option<&'a str>,
}

/// Runs until the hook is done; the caller bounds the time.
pub(crate) async fn run(cx: &Context, handler: &LifecycleHandler, target: &Target<'_>) -> Result<(), String> {
    if let Some(exec) = &handler.exec {
        let spec = ExecSpec { argv: exec.command.clone(), ..ExecSpec::default() };
        let result = execute::capture(&cx.drivers, target.id, &spec).await?;
        return if result.code == 0 {
            Ok(())
        } else {
            Err(format!("command {:?} exited with {}: {}", exec.command, result.code, result.text))
        };
    }
    if let Some(get) = &handler.http_get {
        return http(get, target).await;
    }
    if let Some(sleep) = &handler.sleep {
        cx.env.sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or_default())).await;
    }
    Ok(())
}

/// Only the connection counts, not the answer's code.
async fn http(get: &HttpGetAction, target: &Target<'_>) -> Result<(), String> {
    let url = http_get::Url::of(get, target.container, target.pod_ip.unwrap_or("127.0.0.1"))?;
    let headers = http_get::headers(get, "kube-lifecycle/1.37");
    match http_get::get(&url, &headers).await {
        Err(_) if url.is_https => {
            // Upstream falls back to plain HTTP where TLS fails.
            http_get::get(&http_get::Url { is_https: false, ..url }, &headers).await.map(|_| ())
        }
        other => other.map(|_| ()),
    }
}
