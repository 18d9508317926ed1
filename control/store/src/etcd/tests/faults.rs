//! What etcd and the way to it can do to us: killed, paused, compacted, full, cut off, emptied, strangers' certificates.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};

use super::relay::Relay;
use super::*;
use crate::contract::WatchStream;
use crate::etcd_server::ServerTls;

/// Puts `/k/<n>` until etcd has acknowledged `count` of them, whatever fails in between; returns what was acknowledged.
async fn put_stubbornly(store: &Etcd, from: usize, count: usize) -> Vec<(String, Revision)> {
    let mut acknowledged = Vec::new();
    let mut number = from;
    while acknowledged.len() < count {
        number += 1;
        let key = format!("/k/{number:06}");
        if let Ok(done) = store.txn(Txn { guards: vec![], ops: vec![put_op(&key, "x")] }).await {
            acknowledged.push((key, done.revision));
        }
    }
    acknowledged
}

/// Reads until `last`; every revision once, in order, none left out.
async fn read_all(watch: &mut WatchStream, last: Revision) -> Vec<(String, Revision)> {
    let mut told = Vec::new();
    let mut at = Revision(0);
    while at < last {
        for event in &*tokio::time::timeout(PATIENCE, next(watch)).await.expect("the watch goes on") {
            assert!(event.revision > at, "{:?} after {at:?}", event.revision);
            told.push((event.key.to_string(), event.revision));
        }
        at = told.last().unwrap().1;
    }
    told
}

fn assert_told(told: &[(String, Revision)], acknowledged: &[(String, Revision)]) {
    for write in acknowledged {
        assert!(told.contains(write), "{write:?} was acknowledged and not told");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_etcd_loses_nothing_acknowledged_and_watches_go_on() {
    let Some(mut server) = EtcdServer::plain() else { return };
    let store = open(config(&server)).await;
    let mut watch = store.watch("/", Revision(0)).await.unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let writing = put_stubbornly(&store, round * 100_000, 200);
        let killing = async {
            while store.revision().0 < 600 * round as u64 / 3 + 50 {
                tokio::task::yield_now().await;
            }
            tokio::task::block_in_place(|| {
                server.kill();
                server.run();
            });
        };
        acknowledged.extend(tokio::join!(writing, killing).0);
    }
    let told = read_all(&mut watch, store.current().await.unwrap()).await;
    assert_told(&told, &acknowledged);
    for (key, revision) in acknowledged {
        assert_eq!(store.get(&key).await.unwrap().map(|entry| entry.modified), Some(revision), "{key}");
    }
}

#[tokio::test]
async fn a_paused_etcd_is_said_to_be_silent_and_goes_on_where_it_was() {
    let Some(server) = EtcdServer::plain() else { return };
    let store = open(EtcdConfig { deadline: Duration::from_millis(500), ..config(&server) }).await;
    let mut watch = store.watch("/", Revision(0)).await.unwrap();
    let mut acknowledged = put_stubbornly(&store, 0, 10).await;
    server.pause();
    let uncertain = store.txn(Txn { guards: vec![], ops: vec![put_op("/paused", "x")] }).await.unwrap_err();
    assert!(matches!(&uncertain, StoreError::Uncertain(why) if why.contains("did not answer within 500ms")), "{uncertain}");
    assert!(matches!(store.current().await, Err(StoreError::Unavailable(_))), "nobody knows what is newest");
    assert_eq!(store.get("/k/000001").await.unwrap().unwrap().modified, Revision(1), "reads of the picture go on");
    server.resume();
    acknowledged.extend(put_stubbornly(&store, 1_000, 10).await);
    let told = read_all(&mut watch, acknowledged.last().unwrap().1).await;
    assert_told(&told, &acknowledged);
}

#[tokio::test]
async fn a_watch_that_is_cut_again_and_again_tells_every_event_once() {
    let Some(server) = EtcdServer::plain() else { return };
    let env = Env::real();
    let relay = Relay::to(server.port(), &env).await;
    let store = open(EtcdConfig::new(vec![format!("http://127.0.0.1:{}", relay.port)])).await;
    let other = open(config(&server)).await;
    let mut watch = store.watch("/", Revision(0)).await.unwrap();
    for round in 0..10 {
        for n in 0..20 {
            put(&*other, &format!("/r{round}/{n}"), "x").await;
            if n == 10 {
                relay.cut();
            }
        }
    }
    let told = read_all(&mut watch, Revision(200)).await;
    assert_eq!(told.len(), 200);
    assert!(told.iter().zip(1..).all(|((_, at), want)| *at == Revision(want)), "no gap, nothing twice");
}

#[tokio::test]
async fn compacted_under_us_watchers_are_told_only_if_something_changed() {
    let Some(server) = EtcdServer::plain() else { return };
    let env = Env::real();
    let relay = Relay::to(server.port(), &env).await;
    let store = open(EtcdConfig::new(vec![format!("http://127.0.0.1:{}", relay.port)])).await;
    let other = open(config(&server)).await;
    for n in 1..=5 {
        put(&*store, "/a", &n.to_string()).await;
    }
    let mut watch = store.watch("/", store.revision()).await.unwrap();

    // Keys of others alone: etcd forgets beyond where we are, and nobody here has to notice.
    relay.close();
    raw_put(&other, "/elsewhere", "1").await;
    raw_put(&other, "/elsewhere", "2").await;
    compact_raw(&other).await;
    relay.mend();
    store.current().await.unwrap();
    put(&*other, "/b", "1").await;
    assert_eq!(&*next(&mut watch).await[0].key, "/b");

    // Ours too: what happened in between nobody can tell, so watchers list again.
    relay.close();
    put(&*other, "/a", "7").await;
    delete(&*other, "/b").await;
    let last = put(&*other, "/c", "1").await.revision;
    compact_raw(&other).await;
    relay.mend();
    let end = tokio::time::timeout(PATIENCE, futures::StreamExt::next(&mut watch)).await.unwrap();
    assert!(matches!(end, Some(Err(StoreError::Lagged))), "{end:?}");
    assert_eq!((store.current().await.unwrap(), store.oldest()), (last, last));
    assert!(matches!(store.watch("/", Revision(5)).await.err(), Some(StoreError::Compacted { .. })));
    let now = store.range("/", "0", None, 0).await.unwrap();
    let now: Vec<_> = now.entries.iter().map(|entry| (&*entry.key, entry.value.clone())).collect();
    assert_eq!(now, [("/a", "7".into()), ("/c", "1".into())]);
    let mut watch = store.watch("/", last).await.unwrap();
    put(&*other, "/a", "8").await;
    assert_eq!(next(&mut watch).await[0].previous.as_deref(), Some(&b"7"[..]));
}

/// Forgets all history, as somebody else might.
async fn compact_raw(store: &Etcd) {
    let newest = format_entry(&store.replica.channel, &store.replica.layout).await.unwrap().header.revision;
    let _: HeaderOnly = store.replica.channel.call(COMPACT, &CompactRequest(newest)).await.unwrap();
}

#[tokio::test]
async fn a_full_etcd_refuses_writes_in_words_and_nothing_else() {
    let Some(server) = EtcdServer::start(&["--quota-backend-bytes=3000000"], None) else { return };
    let store = open(config(&server)).await;
    put(&*store, "/first", "x").await;
    let large = "x".repeat(200_000);
    let mut full = None;
    for n in 0..100 {
        if let Err(error) = store.txn(Txn { guards: vec![], ops: vec![put_op(&format!("/large/{n}"), &large)] }).await {
            full = Some(error);
            break;
        }
    }
    let full = full.expect("a quota of 3 MB ends before 20 MB");
    assert!(matches!(full, StoreError::NoSpace(_)), "{full}");
    let text = full.to_string();
    assert!(text.contains("database space exceeded") && text.contains("etcdctl alarm disarm"), "{text}");
    assert!(store.current().await.is_ok() && store.get("/first").await.unwrap().is_some(), "reads go on");
    let before = store.revision();
    assert!(delete(&*store, "/large/0").await.revision > before, "deletes make room");
    let again = open(config(&server)).await;
    assert!(again.get("/first").await.unwrap().is_some(), "a full etcd can be opened");
}

#[tokio::test]
async fn a_dead_member_is_passed_over_and_one_that_falls_silent_is_left() {
    let Some(server) = EtcdServer::plain() else { return };
    let env = Env::real();
    let (first, second) = (Relay::to(server.port(), &env).await, Relay::to(server.port(), &env).await);
    let dead = {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.local_addr().unwrap().port()
    };
    let urls = [dead, first.port, second.port].map(|port| format!("http://127.0.0.1:{port}"));
    let store = open(EtcdConfig::new(urls.to_vec())).await;
    let mut watch = store.watch("/", Revision(0)).await.unwrap();
    put(&*store, "/a", "1").await;
    first.close();
    store.current().await.unwrap();
    put(&*store, "/a", "2").await;
    second.close();
    first.mend();
    store.current().await.unwrap();
    put(&*store, "/a", "3").await;
    for want in ["1 create /a=1", "2 update /a=2 was 1", "3 update /a=3 was 2"] {
        assert_eq!(outline(&next(&mut watch).await), [want]);
    }
}

#[tokio::test]
async fn an_etcd_that_is_not_there_is_said_so() {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let refused = Etcd::open(EtcdConfig::new(vec![format!("http://{free}")]), &Env::real()).await.err().unwrap();
    let text = refused.to_string();
    assert!(text.starts_with(&format!("etcd cannot be used: {free}: ")) && text.contains("refused"), "{text}");
}

#[tokio::test]
async fn another_etcd_in_the_same_place_stops_the_store() {
    let Some(mut server) = EtcdServer::plain() else { return };
    let store = open(config(&server)).await;
    for _ in 0..5 {
        put(&*store, "/a", "x").await;
    }
    server.kill();
    server.wipe();
    server.run();
    let why = tokio::time::timeout(PATIENCE, store.failed()).await.unwrap().to_string();
    assert!(why.contains("was at 7 before: it was put back from a backup"), "{why}");
    assert!(matches!(store.txn(Txn { guards: vec![], ops: vec![put_op("/a", "y")] }).await, Err(StoreError::Failed(_))));
}

#[tokio::test]
async fn an_emptied_etcd_stops_the_store() {
    let Some(server) = EtcdServer::plain() else { return };
    let (store, other) = (open(config(&server)).await, open(config(&server)).await);
    put(&*store, "/a", "x").await;
    let delete = TxnRequest { success: vec![RequestOp::Delete(store.replica.layout.format_key())], ..TxnRequest::default() };
    let _: TxnResponse = other.replica.channel.call(TXN, &delete).await.unwrap();
    let why = tokio::time::timeout(PATIENCE, store.failed()).await.unwrap().to_string();
    assert!(why.contains("its format key was deleted"), "{why}");
}

/// An authority, and certificates of it in files.
struct Authority(CertifiedIssuer<'static, KeyPair>, PathBuf);

impl Authority {
    fn new(dir: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let path = dir.join(format!("{name}.crt"));
        fs::write(&path, issuer.pem()).unwrap();
        Self(issuer, path)
    }

    /// Certificate and key of 127.0.0.1.
    fn issue(&self, dir: &Path, name: &str) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let paths = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
        fs::write(&paths.0, certificate.pem()).unwrap();
        fs::write(&paths.1, key.serialize_pem()).unwrap();
        paths
    }
}

#[tokio::test]
async fn only_the_right_certificates_open_an_etcd_with_tls() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new(dir.path(), "ours"), Authority::new(dir.path(), "theirs"));
    let (certificate, key) = ours.issue(dir.path(), "server");
    let tls = ServerTls { certificate, key, client_ca: ours.1.clone() };
    let Some(server) = EtcdServer::start(&[], Some(&tls)) else { return };
    let (right, wrong) = (ours.issue(dir.path(), "client"), theirs.issue(dir.path(), "stranger"));
    let with = |ca: &PathBuf, identity| EtcdConfig { tls: Some(TlsFiles { ca: ca.clone(), identity }), ..config(&server) };

    let store = open(with(&ours.1, Some(right.clone()))).await;
    put(&*store, "/a", "1").await;
    let refused = [
        (with(&theirs.1, Some(right.clone())), "invalid peer certificate"),
        (with(&ours.1, Some(wrong)), "etcd may want a client certificate of its own authority"),
        (with(&ours.1, None), "etcd may want a client certificate of its own authority"),
        (with(&dir.path().join("absent.crt"), None), "absent.crt"),
        (with(&right.1, None), "client.key: no certificate in it"),
        (config(&server), "https needs the authority of etcd's certificate"),
    ];
    for (config, want) in refused {
        let text = Etcd::open(config, &Env::real()).await.err().unwrap().to_string();
        assert!(text.starts_with("etcd cannot be used: ") && text.contains(want), "{text}");
    }
    put(&*store, "/a", "2").await;
}
