use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use client::{Body, Options, Target, Verb};
use env::Env;
use futures::StreamExt;
use schema::{Status, Value, json};
use store::{Log, LogConfig, Memory, Store};

use super::*;
use crate::Config;
use crate::encryption::{Encrypted, Encryption};
use crate::settings::Settings;
use crate::tests::{Cluster, config_maps};

const PLAIN: &str = "nobody-may-read-this";

fn secrets() -> Target {
    Target::of("v1", "secrets", "default")
}

fn parse(resources: &[&str], providers: &[String]) -> Encryption {
    Encryption::parse(&config(resources, providers)).unwrap()
}

/// A server on `below` that writes by the first provider.
async fn server(below: &Arc<dyn Store>, resources: &[&str], providers: &[String]) -> (Cluster, Arc<Encrypted>) {
    let encrypted = Encrypted::new(Arc::clone(below), parse(resources, providers));
    let cluster = Cluster::on(Arc::clone(&encrypted) as _, Config::default()).await;
    let namespace = json!({"metadata": {"name": "default"}});
    let made = cluster.create(Target::of("v1", "namespaces", ""), namespace).await;
    assert!(made.is_ok() || made.unwrap_err().code == 409);
    (cluster, encrypted)
}

async fn make(cluster: &Cluster, name: &str) -> Value {
    cluster.create(secrets(), json!({"metadata": {"name": name}, "stringData": {"k": PLAIN}})).await.unwrap()
}

/// What lies under the key of a secret.
async fn stored(below: &Arc<dyn Store>, name: &str) -> String {
    let value = below.get(&format!("/secrets/default/{name}")).await.unwrap().unwrap().value;
    String::from_utf8_lossy(&value[..value.len().min(60)]).into_owned()
}

fn holds(folder: &Path, text: &str) -> bool {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().any(|path| if path.is_dir() { holds(&path, text) } else { contains(&std::fs::read(path).unwrap(), text) })
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn the_suite_passes_on_an_encrypted_store() {
    store::suite::run(|| Encrypted::new(Memory::new(), parse(&["*.*"], &[provider("aesgcm", "k", 1)])) as _).await;
}

#[tokio::test]
async fn the_log_holds_no_plain_text_and_a_new_process_reads_it() {
    for algorithm in ["aescbc", "aesgcm", "secretbox"] {
        let (dir, env) = (tempfile::tempdir().unwrap(), Env::real());
        let providers = [provider(algorithm, "key1", 1)];
        let made = {
            let below: Arc<dyn Store> = Log::open(dir.path(), &env, LogConfig::default()).unwrap();
            let (cluster, _) = server(&below, &["secrets"], &providers).await;
            cluster.config_map("plain-name", "x").await;
            let made = make(&cluster, "s").await;
            assert!(stored(&below, "s").await.starts_with(&format!("k8s:enc:{algorithm}:v1:key1:")));
            cluster.core.env().stop(Duration::from_secs(5)).await;
            env.stop(Duration::from_secs(5)).await;
            made
        };
        let encoded = STANDARD.encode(PLAIN);
        assert!(!holds(dir.path(), PLAIN) && !holds(dir.path(), &encoded[..16]), "{algorithm}");
        assert!(holds(dir.path(), "plain-name"), "what no rule speaks of is plain: the search finds what is there");
        let env = Env::real();
        let below: Arc<dyn Store> = Log::open(dir.path(), &env, LogConfig::default()).unwrap();
        let (cluster, _) = server(&below, &["secrets"], &providers).await;
        assert_eq!(cluster.get(secrets().named("s")).await.unwrap(), made, "resourceVersion and all");
        env.stop(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn keys_are_exchanged_by_writing_everything_once() {
    let below: Arc<dyn Store> = Memory::new();
    let (cluster, encrypted) = server(&below, &["secrets"], &["identity: {}".to_owned()]).await;
    let made = make(&cluster, "s").await;
    assert!(stored(&below, "s").await.starts_with("{\"apiVersion\""));
    let steps = [
        (vec![provider("aescbc", "one", 1), "identity: {}".to_owned()], "k8s:enc:aescbc:v1:one:"),
        (vec![provider("aesgcm", "two", 2), provider("aescbc", "one", 1)], "k8s:enc:aesgcm:v1:two:"),
        (vec![provider("aesgcm", "two", 3), provider("aesgcm", "two", 2)], "k8s:enc:aesgcm:v1:two:"),
        (vec!["identity: {}".to_owned(), provider("aesgcm", "two", 3)], "{\"apiVersion\""),
    ];
    let mut before = made;
    for (providers, prefix) in steps {
        encrypted.exchange(parse(&["secrets"], &providers));
        let read = cluster.get(secrets().named("s")).await.unwrap();
        assert_eq!(read, before, "every key that is named reads");
        before = cluster.update(secrets().named("s"), read.clone()).await.unwrap();
        assert_ne!(before["metadata"]["resourceVersion"], read["metadata"]["resourceVersion"], "what is stale is written again");
        assert!(stored(&below, "s").await.starts_with(prefix), "{prefix}");
        let again = cluster.update(secrets().named("s"), before.clone()).await.unwrap();
        assert_eq!(again, before, "what is not stale is left alone");
    }
}

fn refused(outcome: Result<Value, Status>) -> (u16, String, String) {
    let status = outcome.unwrap_err();
    (status.code, status.reason.to_string(), status.message)
}

#[tokio::test]
async fn a_wrong_key_is_a_500_for_what_it_hides_and_nothing_else() {
    let below: Arc<dyn Store> = Memory::new();
    let (cluster, _) = server(&below, &["secrets"], &[provider("secretbox", "right", 1)]).await;
    let made = make(&cluster, "s").await;
    drop(cluster);
    let (cluster, encrypted) = server(&below, &["secrets"], &[provider("secretbox", "right", 2)]).await;
    cluster.config_map("c", "x").await;
    let why = "output array was not large enough for encryption";
    let (get, list) = (
        format!("Internal error occurred: {why}"),
        format!("Internal error occurred: unable to transform key \"/registry/secrets/default/s\": {why}"),
    );
    let named = || secrets().named("s");
    let expected = |text: &str| (500, "InternalError".to_owned(), text.to_owned());
    assert_eq!(refused(cluster.get(named()).await), expected(&get));
    assert_eq!(refused(cluster.update(named(), made.clone()).await), expected(&get));
    assert_eq!(refused(cluster.patch(named(), client::Patch::Merge, json!({"data": {}})).await), expected(&get));
    assert_eq!(refused(cluster.delete(named(), Options::default()).await), expected(&get));
    let listed = cluster.list(secrets(), Options::default()).await.unwrap_err();
    assert_eq!((listed.code, listed.message.as_str()), (500, list.as_str()));
    let watched = cluster.call(Verb::Watch, secrets(), Options::default(), Body::None).await.err().unwrap();
    assert_eq!((watched.code, watched.message.as_str()), (500, list.as_str()));
    assert_eq!(refused(cluster.create(secrets(), json!({"metadata": {"name": "s"}})).await).0, 409);
    assert!(
        cluster.list(Target::of("v1", "secrets", "other"), Options::default()).await.unwrap().items.is_empty(),
        "other namespaces are told"
    );
    assert_eq!(cluster.list(config_maps(), Options::default()).await.unwrap().items.len(), 1);
    make(&cluster, "new").await;

    encrypted.exchange(parse(&["secrets"], &[provider("secretbox", "right", 2), provider("secretbox", "right", 1)]));
    let read = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            match cluster.get(named()).await {
                Ok(read) => return read,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    });
    assert_eq!(read.await.expect("the right key heals it"), made);
    assert_eq!(cluster.list(secrets(), Options::default()).await.unwrap().items.len(), 2);
}

#[tokio::test]
async fn without_a_configuration_encrypted_objects_are_said_to_be_so() {
    let below: Arc<dyn Store> = Memory::new();
    let (cluster, _) = server(&below, &["secrets"], &[provider("aesgcm", "k", 1)]).await;
    make(&cluster, "s").await;
    let plain = Cluster::on(Arc::clone(&below), Config::default()).await;
    let why = "Internal error occurred: identity transformer tried to read encrypted data";
    assert_eq!(refused(plain.get(secrets().named("s")).await), (500, "InternalError".to_owned(), why.to_owned()));
}

#[tokio::test]
async fn plain_objects_are_unreadable_where_no_provider_is_identity() {
    let below: Arc<dyn Store> = Memory::new();
    let (cluster, encrypted) = server(&below, &["configmaps"], &[provider("aesgcm", "k", 1)]).await;
    make(&cluster, "s").await;
    let cluster = Cluster::on(Arc::clone(&encrypted) as _, Config::default()).await;
    assert!(cluster.get(secrets().named("s")).await.is_ok());
    let (cluster, _) = server(&below, &["secrets"], &[provider("aesgcm", "k", 1)]).await;
    assert_eq!(refused(cluster.get(secrets().named("s")).await).2, "Internal error occurred: no matching prefix found");
    assert_eq!(cluster.list(secrets(), Options::default()).await.unwrap_err().code, 500);
    let (cluster, _) = server(&below, &["secrets"], &[provider("aesgcm", "k", 1), "identity: {}".to_owned()]).await;
    assert!(cluster.get(secrets().named("s")).await.is_ok());
}

#[tokio::test]
async fn a_server_that_cannot_read_its_own_roles_says_so_instead_of_waiting() {
    let (dir, env) = (tempfile::tempdir().unwrap(), Env::real());
    let pki = auth::Pki::ensure(dir.path(), &env).unwrap();
    let below: Arc<dyn Store> = Memory::new();
    let start = |byte| {
        let store = Encrypted::new(Arc::clone(&below), parse(&["*.*"], &[provider("secretbox", "k", byte)]));
        let (config, key) = (Config { api_address: ([10, 0, 0, 1].into(), 6443), ..Config::default() }, pki.signing_key());
        let env = &env;
        async move { crate::assemble::assemble(store, env, config, key).await.map(drop) }
    };
    start(1).await.unwrap();
    let why = tokio::time::timeout(Duration::from_secs(30), start(2)).await.expect("it does not wait").unwrap_err();
    assert!(why.message.contains("unable to transform key"), "{why}");
    env.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn watches_and_pages_of_the_past_show_documents() {
    let below: Arc<dyn Store> = Memory::new();
    let (cluster, _) = server(&below, &["secrets"], &[provider("aesgcm", "k", 1)]).await;
    let first = make(&cluster, "a").await;
    let at = first["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut changed = first.clone();
    changed["data"]["k"] = json!(STANDARD.encode("other"));
    let changed = cluster.update(secrets().named("a"), changed).await.unwrap();
    cluster.delete(secrets().named("a"), Options::default()).await.unwrap();
    let options = Options { resource_version: Some(at.clone()), ..Options::default() };
    let mut watch = cluster.client().watch(secrets(), options).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().object.value(), changed);
    assert_eq!(watch.next().await.unwrap().unwrap().object.value()["data"], changed["data"]);
    let exact = Options { resource_version: Some(at), resource_version_match: "Exact".into(), ..Options::default() };
    assert_eq!(cluster.list(secrets(), exact).await.unwrap().items[0].value(), first);
}

#[tokio::test]
async fn the_file_is_taken_again_when_it_changes_and_a_bad_one_changes_nothing() {
    let (dir, env) = (tempfile::tempdir().unwrap(), Env::real());
    let write = |text: &str| {
        std::fs::write(dir.path().join("new"), text).unwrap();
        std::fs::rename(dir.path().join("new"), dir.path().join("e.yaml")).unwrap();
    };
    let settings = "encryption-provider-config: e.yaml\nencryption-provider-config-automatic-reload: true\n";
    std::fs::write(dir.path().join("apiserver.yaml"), settings).unwrap();
    let load = || Settings::load(dir.path()).unwrap().store(Memory::new(), &env);
    assert!(load().err().unwrap().contains("e.yaml"));
    write("kind: x");
    assert!(load().err().unwrap().contains("error while parsing file"));
    write(&config(&["secrets"], &[provider("aescbc", "one", 1)]));
    let below: Arc<dyn Store> = Memory::new();
    let cluster = Cluster::on(Settings::load(dir.path()).unwrap().store(Arc::clone(&below), &env).unwrap(), Config::default()).await;
    cluster.create(Target::of("v1", "namespaces", ""), json!({"metadata": {"name": "default"}})).await.unwrap();
    make(&cluster, "a").await;
    assert!(stored(&below, "a").await.starts_with("k8s:enc:aescbc:v1:one:"));
    write("resources: broken");
    write(&config(&["secrets"], &[provider("aesgcm", "two", 2), provider("aescbc", "one", 1)]));
    let mut number = 0;
    let changed = async {
        loop {
            number += 1;
            let name = format!("n{number}");
            make(&cluster, &name).await;
            match stored(&below, &name).await {
                text if text.starts_with("k8s:enc:aesgcm:v1:two:") => return,
                text => assert!(text.starts_with("k8s:enc:aescbc:v1:one:"), "never plain: {text}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), changed).await.expect("the new file counts");
    assert!(cluster.get(secrets().named("a")).await.is_ok());
    env.stop(Duration::from_secs(5)).await;
}
