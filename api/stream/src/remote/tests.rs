//! Both ends against each other, over every carrier and version.

use tokio::io::duplex;

use super::*;
use crate::handshake::Negotiated;
use crate::testing::spawn;

fn carriers() -> Vec<Negotiated> {
    let websocket = ["v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", ""];
    let spdy = ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
    let websocket = websocket.into_iter().map(|protocol| Negotiated::WebSocket { protocol: protocol.into(), accept: String::new() });
    websocket.chain(spdy.into_iter().map(|protocol| Negotiated::Spdy { protocol: protocol.into() })).collect()
}

async fn pair(carrier: &Negotiated, wants: Wants) -> (ClientSession, ServerSession) {
    let (a, b) = duplex(512);
    let ((client, drive_a), (server, drive_b)) = (client(a, carrier, wants), server(b, carrier, wants));
    spawn(drive_a);
    spawn(drive_b);
    let (client, server) = tokio::join!(client, server);
    (client.unwrap(), server.unwrap())
}

async fn read_all(input: &mut Input) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(piece) = input.recv().await {
        all.extend_from_slice(&piece);
    }
    all
}

#[tokio::test]
async fn streams_and_outcome_over_every_carrier() {
    for carrier in carriers() {
        let wants = Wants { stdin: true, stdout: true, stderr: true, tty: false };
        let (mut client, mut server) = pair(&carrier, wants).await;
        client.stdin.as_ref().unwrap().send("question".into()).await.unwrap();
        assert_eq!(server.stdin.as_mut().unwrap().recv().await.unwrap(), "question", "{carrier:?}");
        let big = Bytes::from(vec![b'x'; 300_000]);
        let serve = async {
            server.stdout.as_ref().unwrap().send(big.clone()).await.unwrap();
            server.stderr.as_ref().unwrap().send("oops".into()).await.unwrap();
            server.finish(&Outcome::ExitCode(3)).await;
        };
        let (mut stdout, mut stderr) = (client.stdout.take().unwrap(), client.stderr.take().unwrap());
        let ((), out, err) = tokio::join!(serve, read_all(&mut stdout), read_all(&mut stderr));
        assert_eq!((out.len(), err.as_slice()), (300_000, &b"oops"[..]), "{carrier:?}");
        let outcome = client.outcome.await.unwrap();
        match carrier {
            Negotiated::WebSocket { ref protocol, .. } | Negotiated::Spdy { ref protocol } if Version::of(protocol).has_status => {
                assert_eq!(outcome, Outcome::ExitCode(3), "{carrier:?}");
            }
            _ => assert!(matches!(outcome, Outcome::Failure(text) if text.contains("exit status 3")), "{carrier:?}"),
        }
    }
}

#[tokio::test]
async fn a_terminal_has_sizes_and_no_standard_error() {
    for carrier in carriers() {
        let protocol = match &carrier {
            Negotiated::WebSocket { protocol, .. } | Negotiated::Spdy { protocol } => protocol.clone(),
        };
        if matches!(carrier, Negotiated::Spdy { .. }) && !Version::of(&protocol).has_resize || protocol == "channel.k8s.io" {
            continue;
        }
        let (client, mut server) = pair(&carrier, Wants { stdin: true, stdout: true, stderr: false, tty: true }).await;
        let size = TerminalSize { width: 80, height: 24 };
        client.resize(size).await.unwrap();
        assert_eq!(server.resize.as_mut().unwrap().recv().await, Some(size), "{carrier:?}");
        server.finish(&Outcome::Success).await;
        assert_eq!(client.outcome.await.unwrap(), Outcome::Success);
    }
}

#[tokio::test]
async fn closing_standard_input_reaches_the_process() {
    for carrier in [&carriers()[0], &carriers()[5]] {
        let (mut client, mut server) = pair(carrier, Wants { stdin: true, stdout: true, ..Wants::default() }).await;
        let stdin = client.stdin.take().unwrap();
        stdin.send("last".into()).await.unwrap();
        stdin.finish().await;
        assert_eq!(read_all(server.stdin.as_mut().unwrap()).await, b"last", "{carrier:?}");
        server.finish(&Outcome::Success).await;
    }
}

/// Go's clients take the end of standard input's other direction for the end of the command, and send no more.
#[tokio::test]
async fn standard_input_over_spdy_stays_open_until_the_end() {
    let (a, b) = duplex(512);
    let wants = Wants { stdin: true, stdout: true, ..Wants::default() };
    let carrier = Negotiated::Spdy { protocol: "v4.channel.k8s.io".into() };
    let ((peer, drive_a), (server, drive_b)) = (spdy::client(a), server(b, &carrier, wants));
    spawn(drive_a);
    spawn(drive_b);
    let open = |name: &'static str| peer.open(spdy::Headers::of(&[("streamType", name)]));
    let (_error, mut stdin, mut stdout) = (open("error").await.unwrap(), open("stdin").await.unwrap(), open("stdout").await.unwrap());
    let server = server.await.unwrap();
    server.stdout.as_ref().unwrap().send("ready".into()).await.unwrap();
    assert_eq!(stdout.reader.recv().await.unwrap(), "ready");
    assert!(futures::poll!(std::pin::pin!(stdin.reader.recv())).is_pending(), "nothing says that the command has ended");
    server.finish(&Outcome::Success).await;
    assert_eq!(stdin.reader.recv().await, None);
}

#[tokio::test]
async fn a_vanished_client_is_noticed() {
    for carrier in [&carriers()[0], &carriers()[5]] {
        let (a, b) = duplex(512);
        let wants = Wants { stdin: true, stdout: true, ..Wants::default() };
        let ((client, drive_a), (server, drive_b)) = (client(a, carrier, wants), server(b, carrier, wants));
        let driver = spawn(drive_a);
        spawn(drive_b);
        let (client, server) = tokio::join!(client, server);
        let mut server = server.unwrap();
        drop(client);
        driver.abort();
        server.gone.wait().await;
        assert_eq!(server.stdin.as_mut().unwrap().recv().await, None);
    }
}

#[test]
fn outcomes_survive_the_wire() {
    for outcome in [Outcome::Success, Outcome::ExitCode(137), Outcome::Failure("Internal error occurred: x".into())] {
        let back = Outcome::parse(outcome.to_status().to_string().as_bytes());
        match (&outcome, &back) {
            (Outcome::Failure(_), Outcome::Failure(text)) => assert!(text.contains("Internal error occurred")),
            _ => assert_eq!(outcome, back),
        }
    }
    assert_eq!(Outcome::parse(b"plain words"), Outcome::Failure("plain words".into()));
}

#[test]
fn queries_of_both_sides() {
    let wants = |query: &[(&'static str, &'static str)]| Wants::from_query(query.iter().copied());
    assert_eq!(wants(&[("stdin", "true"), ("stdout", "1"), ("tty", "false")]), Ok(Wants { stdin: true, stdout: true, ..Wants::default() }));
    assert_eq!(wants(&[("output", "1"), ("error", "1"), ("tty", "1")]), Ok(Wants { stdout: true, tty: true, ..Wants::default() }));
    assert!(wants(&[("tty", "1")]).is_err());
}
