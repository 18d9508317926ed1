//! Where a cluster keeps its state: in its own log, or in an etcd.
//!
//! `up --store` chooses once, before the first start. The choice and copies of the certificates lie with `control`, which
//! reads them at every start: `<root>/control/store.json`, `<root>/control/etcd/`. State is never moved from one to the other.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use cli::{Failure, Kind, StoreArgs};
use env::Env;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use stdx::Instance;
use store::{Etcd, EtcdConfig, Log, LogConfig, Store, StoreError, TlsFiles};

use crate::host::{folder, give};

/// What is recorded; nothing is the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Choice {
    endpoints: Vec<String>,
    prefix: String,
    /// Copies of the caller's files, by these names in [`certificates`].
    ca: bool,
    identity: bool,
}

/// A store that runs, and what tells when it does no more.
pub(crate) struct Engine {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) failed: BoxFuture<'static, StoreError>,
}

/// Opens what was chosen.
pub(crate) async fn open(instance: &Instance, env: &Env) -> anyhow::Result<Engine> {
    if let Some(choice) = recorded(instance).map_err(|failure| anyhow::anyhow!(failure.what))? {
        let etcd = Etcd::open(choice.config(instance), env).await?;
        let watched = Arc::clone(&etcd);
        return Ok(Engine { store: etcd, failed: Box::pin(async move { watched.failed().await }) });
    }
    let log = Log::open(&log_dir(instance), env, LogConfig::default()).context("store")?;
    if let Some(repair) = log.repair() {
        tracing::warn!(?repair, "the store was repaired");
    }
    let watched = Arc::clone(&log);
    Ok(Engine { store: log, failed: Box::pin(async move { watched.failed().await }) })
}

/// Records the choice of `up --store`, after etcd has answered. Without one, what was chosen before stays.
pub(crate) async fn choose(instance: &Instance, args: &StoreArgs) -> Result<(), Failure> {
    let Some(asked) = &args.store else { return Ok(()) };
    let current = recorded(instance)?;
    let choice = parse(asked, args)?;
    let has_log = log_dir(instance).exists();
    let moved = |from: &str| {
        Failure::new(Kind::Usage, format!("this cluster keeps its state in {from}; it is not moved to another store"))
            .fix("leave --store away, or choose another --instance, or remove the state with `corten reset`")
    };
    match (&current, &choice) {
        (None, None) => return Ok(()),
        (None, Some(_)) if has_log => return Err(moved(&log_dir(instance).display().to_string())),
        (Some(before), None) => return Err(moved(&before.name())),
        (Some(before), Some(now)) if before.prefix != now.prefix => return Err(moved(&before.name())),
        _ => {}
    }
    let choice = choice.expect("the log was told apart above");
    Etcd::probe(choice.config_from(args)).await.map_err(|error| {
        Failure::new(Kind::Machine, error)
            .fix("see that etcd runs, that this machine reaches it, and the certificates of --store-ca, --store-cert, --store-key")
    })?;
    record(instance, &choice, args)
}

/// What a reset leaves, since others may use it too.
pub(crate) fn left_behind(instance: &Instance) -> Result<Option<String>, Failure> {
    let told = |choice: Choice| {
        format!(
            "what the cluster wrote to {} stays there: other servers may use it; see `etcdctl del --prefix {}`",
            choice.name(),
            choice.prefix
        )
    };
    recorded(instance).map(|choice| choice.map(told))
}

fn parse(asked: &str, args: &StoreArgs) -> Result<Option<Choice>, Failure> {
    let wrong = |why: &str| {
        Failure::new(Kind::Usage, format!("--store {asked:?}: {why}"))
            .fix("say --store log, or --store etcd=https://10.0.0.1:2379,https://10.0.0.2:2379")
    };
    if asked == "log" {
        return Ok(None);
    }
    let endpoints = asked.strip_prefix("etcd=").ok_or_else(|| wrong("there is no such store"))?;
    let endpoints: Vec<String> = endpoints.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect();
    if endpoints.is_empty() {
        return Err(wrong("no endpoint"));
    }
    if args.store_cert.is_some() != args.store_key.is_some() {
        return Err(wrong("--store-cert and --store-key belong together"));
    }
    if !args.store_prefix.starts_with('/') || args.store_prefix.trim_end_matches('/').is_empty() {
        return Err(wrong("--store-prefix must begin with / and name something"));
    }
    let prefix = args.store_prefix.trim_end_matches('/').to_owned();
    Ok(Some(Choice { endpoints, prefix, ca: args.store_ca.is_some(), identity: args.store_cert.is_some() }))
}

impl Choice {
    fn name(&self) -> String {
        format!("etcd at {}, below {}", self.endpoints.join(", "), self.prefix)
    }

    fn with(&self, tls: Option<TlsFiles>) -> EtcdConfig {
        let folders = apiserver::folders::upstream();
        EtcdConfig { tls, prefix: self.prefix.clone(), folders, ..EtcdConfig::new(self.endpoints.clone()) }
    }

    /// With our copies of the certificates.
    fn config(&self, instance: &Instance) -> EtcdConfig {
        let dir = certificates(instance);
        let identity = self.identity.then(|| (dir.join("client.crt"), dir.join("client.key")));
        self.with(self.ca.then(|| TlsFiles { ca: dir.join("ca.crt"), identity }))
    }

    /// With the caller's files.
    fn config_from(&self, args: &StoreArgs) -> EtcdConfig {
        let identity = args.store_cert.clone().zip(args.store_key.clone());
        self.with(args.store_ca.clone().map(|ca| TlsFiles { ca, identity }))
    }
}

fn record(instance: &Instance, choice: &Choice, args: &StoreArgs) -> Result<(), Failure> {
    let dir = certificates(instance);
    folder(&dir, 0o700)?;
    for (from, name) in [(&args.store_ca, "ca.crt"), (&args.store_cert, "client.crt"), (&args.store_key, "client.key")] {
        if let Some(from) = from {
            let bytes = fs::read(from).map_err(|error| Failure::io(from, error))?;
            write(&dir.join(name), &bytes)?;
        }
    }
    give(&dir)?;
    let text = serde_json::to_vec_pretty(choice).expect("a choice is JSON");
    write(&choice_file(instance), &text)?;
    give(&choice_file(instance))
}

/// Whole or not at all, for its owner alone.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::io(path, error);
    let fresh = path.with_extension("new");
    fs::write(&fresh, bytes).map_err(failed)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    fs::rename(&fresh, path).map_err(failed)
}

fn recorded(instance: &Instance) -> Result<Option<Choice>, Failure> {
    let path = choice_file(instance);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| Failure::io(&path, error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::io(&path, error)),
    }
}

fn log_dir(instance: &Instance) -> PathBuf {
    instance.control_dir().join("store")
}

fn choice_file(instance: &Instance) -> PathBuf {
    instance.control_dir().join("store.json")
}

fn certificates(instance: &Instance) -> PathBuf {
    instance.control_dir().join("etcd")
}

#[cfg(test)]
mod tests {
    use store::etcd_server::EtcdServer;

    use super::*;

    fn args(store: &str) -> StoreArgs {
        StoreArgs { store: Some(store.into()), store_prefix: "/registry".into(), ..StoreArgs::default() }
    }

    fn instance(dir: &Path) -> Instance {
        let instance = Instance::new("engine", Some(dir)).unwrap();
        fs::create_dir_all(instance.control_dir()).unwrap();
        instance
    }

    #[test]
    fn what_is_no_store_is_refused_in_words() {
        for (asked, want) in [("sqlite", "no such store"), ("etcd=", "no endpoint"), ("etcd", "no such store")] {
            let failure = parse(asked, &args(asked)).unwrap_err();
            assert!(failure.what.contains(want), "{}", failure.what);
        }
        assert_eq!(parse("log", &args("log")).unwrap(), None);
        let half = StoreArgs { store_cert: Some("a".into()), ..args("etcd=https://a:1") };
        assert!(parse("etcd=https://a:1", &half).unwrap_err().what.contains("belong together"));
    }

    #[tokio::test]
    async fn an_etcd_that_does_not_answer_is_refused_and_not_recorded() {
        let dir = tempfile::tempdir().unwrap();
        let instance = instance(dir.path());
        let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let failure = choose(&instance, &args(&format!("etcd=http://127.0.0.1:{port}"))).await.unwrap_err();
        assert!(failure.what.starts_with(&format!("etcd cannot be used: 127.0.0.1:{port}: ")), "{}", failure.what);
        assert_eq!((failure.kind, recorded(&instance).unwrap()), (Kind::Machine, None));
    }

    #[tokio::test]
    async fn the_choice_is_made_once_and_opened_ever_after() {
        let Some(server) = EtcdServer::plain() else { return };
        if !rustix::process::geteuid().is_root() {
            return; // files are given to the control process's user
        }
        let dir = tempfile::tempdir().unwrap();
        let (instance, env) = (instance(dir.path()), Env::real());
        let asked = args(&format!("etcd={}", server.url()));
        for _ in 0..2 {
            choose(&instance, &asked).await.unwrap();
        }
        let engine = open(&instance, &env).await.unwrap();
        let put = store::Op::Put { key: "/a".into(), value: "1".into(), rv_at: None, ttl_seconds: None };
        engine.store.txn(store::Txn { guards: Vec::new(), ops: vec![put] }).await.unwrap();
        let again = open(&instance, &env).await.unwrap();
        assert!(again.store.get("/a").await.unwrap().is_some());
        let elsewhere = StoreArgs { store_prefix: "/other".into(), ..asked };
        for other in [args("log"), elsewhere] {
            let failure = choose(&instance, &other).await.unwrap_err();
            assert!(failure.what.contains("it is not moved to another store"), "{}", failure.what);
        }
    }
}
