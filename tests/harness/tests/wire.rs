//! An informer over TLS whose connection is cut again and again: nothing is lost, and nobody lists anew.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use apiserver::http::{self, Agents, Face, Limits, Listener};
use async_trait::async_trait;
use auth::certificate::ClientCertificates;
use auth::pki::Leaf;
use auth::{Authenticator, Pki, UserInfo};
use client::https::HttpsConfig;
use client::{Answer, Client, Https, Informer, Options, Request, Target, Transport, Verb};
use env::Env;
use schema::{Status, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Counts the lists on the way.
struct Counting {
    inner: Arc<dyn Transport>,
    lists: AtomicUsize,
}

#[async_trait]
impl Transport for Counting {
    async fn call(&self, request: Request) -> Result<Answer, Status> {
        self.lists.fetch_add(usize::from(request.verb == Verb::List), Ordering::Relaxed);
        self.inner.call(request).await
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Hands connections on to `to`, until `cut` fires: then all of them break at once, and new ones are taken again.
async fn relay(env: Env, socket: TcpListener, to: SocketAddr, mut cuts: tokio::sync::watch::Receiver<CancellationToken>) {
    while let Ok((mut near, _)) = socket.accept().await {
        let cut = cuts.borrow_and_update().clone();
        env.spawn("relayed", async move {
            let Ok(mut far) = TcpStream::connect(to).await else { return };
            cut.run_until_cancelled(tokio::io::copy_bidirectional(&mut near, &mut far)).await;
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_informer_outlives_its_connections() {
    let (env, dir) = (Env::real(), tempfile::tempdir().unwrap());
    let pki = Arc::new(Pki::ensure(dir.path(), &env).unwrap());
    let config = apiserver::Config { api_address: ([10, 0, 0, 1].into(), 6443), ..apiserver::Config::default() };
    let assembled = apiserver::assemble::assemble(store::Memory::new(), &env, config, pki.signing_key()).await.unwrap();
    let certificates = ClientCertificates::new(pki.ca(), &env).unwrap();
    let authenticator = Authenticator::new(certificates, Arc::clone(&assembled.tokens) as _, &env);
    let agents = Agents::new(pki.client_config(Some(&pki.leaf(&Leaf::api_server_to_agent()).unwrap())));
    let face = Face::new(Arc::clone(&assembled.core), authenticator, Arc::clone(&assembled.tokens), agents, "https://localhost");
    let server = Listener::new(&pki.leaf(&Leaf::api_server(&["localhost".into()])).unwrap(), Limits::default()).unwrap();
    let ((socket, server_address), (near, address)) = (listener().await, listener().await);
    env.spawn("listen", http::serve(face, server, socket));
    let (cut_tx, cut_rx) = tokio::sync::watch::channel(CancellationToken::new());
    let relaying = relay(env.clone(), near, server_address, cut_rx);
    let shutdown = env.shutdown().clone();
    env.spawn("relay", async move { shutdown.run_until_cancelled(relaying).await });

    let tls = Arc::new(pki.client_config(Some(&pki.leaf(&Leaf::admin()).unwrap())));
    let config = HttpsConfig { address, server_name: "localhost".try_into().unwrap(), tls, token: None, user_agent: "test".into() };
    let counting = Arc::new(Counting { inner: Https::new(config, &env), lists: AtomicUsize::new(0) });
    let informer = Informer::start(&env, Client::new(counting.clone()), Target::of("v1", "configmaps", ""), Options::default(), &[]);
    informer.synced().await;
    let mut changes = informer.changes();
    let admin = Client::new(assembled.core.transport(UserInfo::new("admin", &[auth::MASTERS, auth::AUTHENTICATED])));
    for round in 0..6 {
        let doc = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("map-{round}")}});
        admin.create(Target::of("v1", "configmaps", "default"), doc).await.unwrap();
        // Also in the midst of what is being told.
        cut_tx.send_replace(CancellationToken::new()).cancel();
        let seen = async { while changes.recv().await.unwrap().object().meta.name != format!("map-{round}") {} };
        tokio::time::timeout(Duration::from_secs(20), seen).await.expect("the change is told in the end");
    }
    assert_eq!(counting.lists.load(Ordering::Relaxed), 1, "it resumes where it was");
    assert_eq!(informer.store.len(), 6);
    env.stop(Duration::from_secs(5)).await;
}
