//! The process `control`: store, API server, controllers, scheduler. Its own uid, no capabilities.
//!
//! The API listens as soon as the store is loaded; controllers and the scheduler follow and speak to it in this process, each
//! under its own identity. A store that fails ends the process: the keeper starts it anew from what the store has.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use apiserver::aggregation::Trust;
use apiserver::http::metrics::Metrics;
use apiserver::http::{self, Agents, Face, Limits, Listener};
use apiserver::settings::Settings;
use apiserver::{Config, Core, assemble};
use auth::certificate::ClientCertificates;
use auth::pki::{self, Leaf};
use auth::{Authenticator, Pki, UserInfo};
use client::Client;
use env::Env;
use reconcile::{Informers, Manager};
use stdx::Instance;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::engine::{self, Engine};

/// How long requests may take to end when the process is asked to.
const STOP_GRACE: Duration = Duration::from_secs(3);

pub(crate) async fn run(instance: Instance) -> anyhow::Result<()> {
    let env = Env::real();
    let mut terminate = signal(SignalKind::terminate())?;
    let Engine { store, failed } = engine::open(&instance, &env).await?;
    let pki = Arc::new(Pki::ensure(&instance.control_dir().join("pki"), &env).context("keys")?);
    let settings = Settings::load(&instance.control_dir()).map_err(anyhow::Error::msg)?;
    let store = settings.store(store, &env).map_err(anyhow::Error::msg)?;
    let config = settings.configure(Config::new(&instance, IpAddr::V4(instance.node_ip()))).map_err(anyhow::Error::msg)?;
    let assembled = assemble::assemble(store, &env, config, pki.signing_key()).await.context("API server")?;
    settings.authorize(&assembled.authority, &env).map_err(anyhow::Error::msg)?;
    let face = serve(&instance, &env, &pki, &settings, &assembled).await?;
    let tokens = Client::new(assembled.core.transport(UserInfo::new("system:kube-controller-manager", &[auth::AUTHENTICATED])));
    assembled.legacy.keep_filled(&env, tokens, pki.ca());
    start_deciders(&env, &assembled.core, &pki, face.metrics());
    tracing::info!(port = instance.api_port(), revision = assembled.core.revision(), "the API server answers");
    tokio::select! {
        _ = terminate.recv() => {}
        error = failed => anyhow::bail!("store: {error}"),
    }
    env.stop(STOP_GRACE).await;
    Ok(())
}

async fn serve(
    instance: &Instance,
    env: &Env,
    pki: &Arc<Pki>,
    settings: &Settings,
    assembled: &assemble::Assembled,
) -> anyhow::Result<Arc<Face>> {
    let port = instance.api_port();
    let socket =
        TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await.with_context(|| format!("listen on port {port}"))?;
    let certificates = ClientCertificates::new(pki.ca(), env).map_err(anyhow::Error::msg)?;
    let tokens = Arc::clone(&assembled.tokens);
    let authenticator = Authenticator::new(certificates, Arc::clone(&assembled.reviewers) as _, env);
    let authenticator = settings.authenticator(authenticator, assembled, env).map_err(anyhow::Error::msg)?;
    let options = settings.options(env).map_err(anyhow::Error::msg)?;
    let agents = Agents::new(pki::live_client_config(pki.ca(), &pki.keep_fresh(Leaf::api_server_to_agent())?));
    let url = format!("https://{}:{port}", instance.node_ip());
    let face = Face::with_options(Arc::clone(&assembled.core), authenticator, tokens, agents, &url, options);
    aggregate(&face, assembled, pki)?;
    let leaf = Leaf::api_server(&server_names(instance));
    let listener = Listener::new(&pki.leaf(&leaf)?, Limits::default()).map_err(anyhow::Error::msg)?;
    listener.keep_fresh(env, Arc::clone(pki), leaf);
    let (relief, task_env) = (Arc::clone(face.relief()), env.clone());
    env.spawn("relief", async move { relief.run(&task_env, sys::memory::give_back).await });
    env.spawn("listen", http::serve(Arc::clone(&face), listener, socket));
    Ok(face)
}

/// Other API servers know us by a certificate of their own authority.
fn aggregate(face: &Face, assembled: &assemble::Assembled, pki: &Arc<Pki>) -> anyhow::Result<()> {
    let leaf = Leaf::front_proxy();
    let trust = Trust {
        client_ca: pki.ca().to_owned(),
        front_proxy_ca: pki.front_proxy_ca().to_owned(),
        front_proxy_name: leaf.common_name.clone(),
    };
    face.aggregation().set_identity(pki.keep_fresh(leaf)?);
    face.aggregation().start(&assembled.core, trust);
    Ok(())
}

/// Every name and address under which the API server is reached.
pub(crate) fn server_names(instance: &Instance) -> Vec<String> {
    let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"]
        .map(str::to_owned);
    let addresses =
        [IpAddr::from(Ipv4Addr::LOCALHOST), instance.node_ip().into(), instance.kubernetes_ip().into()].map(|ip| ip.to_string());
    names.into_iter().chain(addresses).collect()
}

/// Controllers and the scheduler: clients of the core like everybody else. What they count is printed with the server's own.
pub(crate) fn start_deciders(env: &Env, core: &Arc<Core>, pki: &Arc<Pki>, metrics: &Metrics) {
    let client_of = |user: UserInfo| Client::new(core.transport(user));
    let informers = Informers::new(env, client_of(UserInfo::new("system:kube-controller-manager", &[auth::AUTHENTICATED])));
    let for_controllers = Arc::clone(core);
    let identity = move |user: &str| Client::new(for_controllers.transport(auth::controller_user(user.rsplit(':').next().unwrap_or(user))));
    let manager = Manager::new(env, informers.clone(), Arc::new(identity));
    controllers::start(&manager, &controllers::Config { root_ca: pki.ca().to_owned(), signer: Some(Arc::clone(pki)) });
    let scheduler = client_of(UserInfo::new("system:kube-scheduler", &[auth::AUTHENTICATED]));
    let scheduling = scheduler::Metrics::default();
    metrics.extend(|registry| {
        manager.metrics().register(registry);
        scheduling.register(registry);
    });
    env.spawn("scheduler", scheduler::run(env.clone(), scheduler, informers, scheduling));
}

#[cfg(test)]
mod tests {
    use client::{Options, Target};
    use futures::StreamExt;
    use http_body_util::BodyExt;
    use schema::{DocExt, Value, json};

    use super::*;

    async fn printed(metrics: &Metrics, core: &Core) -> String {
        let bytes = metrics.answer(core).into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn is_unschedulable(doc: &Value) -> bool {
        doc.items_at("status.conditions").iter().any(|one| one.str_at("type") == "PodScheduled" && one.str_at("reason") == "Unschedulable")
    }

    #[tokio::test]
    async fn the_servers_metrics_show_the_work_of_controllers_and_scheduler() {
        let (dir, env) = (tempfile::tempdir().unwrap(), Env::real());
        let pki = Arc::new(Pki::ensure(dir.path(), &env).unwrap());
        let config = Config { api_address: ([10, 0, 0, 1].into(), 6443), ..Config::default() };
        let core = assemble::assemble(store::Memory::new(), &env, config, pki.signing_key()).await.unwrap().core;
        let metrics = Metrics::new();
        start_deciders(&env, &core, &pki, &metrics);

        let admin = Client::new(core.transport(auth::loopback_user()));
        let pods = Target::of("v1", "pods", "default");
        let pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let account = Target::of("v1", "serviceaccounts", "default");
        let from_start = || Options { resource_version: Some("0".into()), ..Options::default() };
        admin.watch(account, from_start()).await.unwrap().next().await.expect("no pod before its account").unwrap();
        admin.create(pods.clone(), pod).await.unwrap();
        let mut events = admin.watch(pods, from_start()).await.unwrap();
        while !is_unschedulable(&events.next().await.unwrap().unwrap().object.value()) {}

        let text = printed(&metrics, &core).await;
        for row in controllers::ALL {
            let line = format!("workqueue_adds_total{{name={:?}}}", row.name);
            assert!(text.contains(&line), "{line} in {text}");
        }
        for line in [
            r#"scheduler_schedule_attempts_total{profile="default-scheduler",result="unschedulable"} 1"#,
            "apiserver_storage_revision",
            r#"workqueue_work_duration_seconds_count{name="namespace-controller"}"#,
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        env.stop(Duration::from_secs(5)).await;
    }
}
