//! WebSocket messages: as numbered channels (the first byte of each message), or as one stream of bytes.

use std::future::Future;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message as Wire, Utf8Bytes};

use crate::Io;

/// Go's copies send 32 KiB; base64 makes it a third more.
const MESSAGE_MAX: usize = 1 << 20;
const QUEUE_MAX: usize = 32;
const TUNNEL_BUFFER: usize = 64 << 10;
const READ_PIECE: usize = 32 << 10;

/// How a channel's number and bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Binary messages; the number is the first byte.
    Binary,
    /// Text messages; the number is the first digit, the rest is base64.
    Base64,
}

/// One message of one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub channel: u8,
    pub data: Bytes,
}

/// Both directions. Dropping the sender closes the connection in good order; the receiver ends with the peer's close.
pub struct Channels {
    pub tx: mpsc::Sender<Message>,
    pub rx: mpsc::Receiver<Message>,
}

/// The handshake is done already. Spawn the future: it is the connection.
pub fn channels(io: impl Io, role: Role, encoding: Encoding) -> (Channels, impl Future<Output = ()> + Send) {
    let (tx, out_rx) = mpsc::channel(QUEUE_MAX);
    let (in_tx, rx) = mpsc::channel(QUEUE_MAX);
    let drive = async move {
        let (sink, stream) = open(io, role).await.split();
        let (stop_tx, stop_rx) = mpsc::channel::<()>(1);
        let read = async move {
            read_messages(stream, in_tx, encoding).await;
            drop(stop_tx);
        };
        tokio::join!(read_until_written(read, write_messages(sink, out_rx, stop_rx, encoding)));
    };
    (Channels { tx, rx }, drive)
}

/// Bytes through binary messages, in either direction; message borders mean nothing.
pub fn tunnel(io: impl Io, role: Role) -> (DuplexStream, impl Future<Output = ()> + Send) {
    let (near, far) = tokio::io::duplex(TUNNEL_BUFFER);
    let drive = async move {
        let (mut sink, mut stream) = open(io, role).await.split();
        let (mut read, mut write) = tokio::io::split(far);
        let inward = async {
            while let Some(Ok(message)) = stream.next().await {
                let written = match message {
                    Wire::Binary(data) => write.write_all(&data).await,
                    Wire::Close(_) => break,
                    _ => Ok(()),
                };
                if written.is_err() {
                    break;
                }
            }
            let _ = write.shutdown().await;
        };
        let outward = async {
            let mut piece = vec![0; READ_PIECE];
            while let Ok(length @ 1..) = read.read(&mut piece).await {
                if sink.send(Wire::Binary(Bytes::copy_from_slice(&piece[..length]))).await.is_err() {
                    break;
                }
            }
            let _ = sink.send(normal_close()).await;
            let _ = sink.close().await;
        };
        tokio::select! {
            () = inward => {}
            () = outward => {}
        }
    };
    (near, drive)
}

async fn open<T: Io>(io: T, role: Role) -> WebSocketStream<T> {
    let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_MAX)).max_frame_size(Some(MESSAGE_MAX));
    WebSocketStream::from_raw_socket(io, role, Some(config)).await
}

/// Writing decides when it is over: what is queued when the peer closes is still sent if it can be.
async fn read_until_written(read: impl Future<Output = ()>, write: impl Future<Output = ()>) {
    tokio::pin!(read);
    tokio::pin!(write);
    tokio::select! {
        () = &mut write => {}
        () = &mut read => write.await,
    }
}

async fn read_messages<S>(mut stream: S, in_tx: mpsc::Sender<Message>, encoding: Encoding)
where
    S: futures::Stream<Item = Result<Wire, tokio_tungstenite::tungstenite::Error>> + Unpin,
{
    while let Some(Ok(wire)) = stream.next().await {
        let message = match wire {
            Wire::Binary(data) if encoding == Encoding::Binary => split(data),
            Wire::Text(text) if encoding == Encoding::Base64 => split_text(text.as_str()),
            // Some clients send text where binary is meant.
            Wire::Text(text) => split(Bytes::copy_from_slice(text.as_bytes())),
            Wire::Close(_) => return,
            _ => continue,
        };
        // A message that makes no sense ends the conversation.
        let Some(message) = message else { return };
        if in_tx.send(message).await.is_err() {
            // Nobody reads any more; pings and the close are still answered.
            while let Some(Ok(wire)) = stream.next().await {
                if wire.is_close() {
                    return;
                }
            }
            return;
        }
    }
}

fn split(mut data: Bytes) -> Option<Message> {
    if data.is_empty() {
        return None;
    }
    let channel = data.split_to(1)[0];
    Some(Message { channel, data })
}

fn split_text(text: &str) -> Option<Message> {
    let channel = text.bytes().next().filter(u8::is_ascii_digit)? - b'0';
    let data = STANDARD.decode(text.get(1..)?).ok()?;
    Some(Message { channel, data: data.into() })
}

async fn write_messages<S>(mut sink: S, mut out_rx: mpsc::Receiver<Message>, mut stop_rx: mpsc::Receiver<()>, encoding: Encoding)
where
    S: futures::Sink<Wire> + Unpin,
{
    loop {
        let next = tokio::select! {
            biased;
            next = out_rx.recv() => next,
            // The peer is gone: nothing can be sent any more.
            _ = stop_rx.recv() => None,
        };
        let Some(message) = next else { break };
        if sink.feed(wire(&message, encoding)).await.is_err() {
            return;
        }
        while let Ok(message) = out_rx.try_recv() {
            if sink.feed(wire(&message, encoding)).await.is_err() {
                return;
            }
        }
        if sink.flush().await.is_err() {
            return;
        }
    }
    let _ = sink.send(normal_close()).await;
    let _ = sink.close().await;
}

/// Code 1000. A close without a code reads as 1005, which kubectl takes for a broken stream.
fn normal_close() -> Wire {
    Wire::Close(Some(CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() }))
}

fn wire(message: &Message, encoding: Encoding) -> Wire {
    match encoding {
        Encoding::Binary => {
            let mut data = Vec::with_capacity(message.data.len() + 1);
            data.push(message.channel);
            data.extend_from_slice(&message.data);
            Wire::Binary(data.into())
        }
        Encoding::Base64 => Wire::Text(format!("{}{}", message.channel, STANDARD.encode(&message.data)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::spawn;

    fn message(channel: u8, text: &'static str) -> Message {
        Message { channel, data: Bytes::from_static(text.as_bytes()) }
    }

    #[tokio::test]
    async fn channels_in_both_encodings() {
        for encoding in [Encoding::Binary, Encoding::Base64] {
            let (a, b) = tokio::io::duplex(256);
            let ((mut client, drive_a), (mut server, drive_b)) = (channels(a, Role::Client, encoding), channels(b, Role::Server, encoding));
            spawn(drive_a);
            spawn(drive_b);
            client.tx.send(message(0, "in")).await.unwrap();
            assert_eq!(server.rx.recv().await.unwrap(), message(0, "in"));
            for index in 0..100 {
                server.tx.send(message(index % 5, "out")).await.unwrap();
                assert_eq!(client.rx.recv().await.unwrap(), message(index % 5, "out"));
            }
            server.tx.send(message(3, "last")).await.unwrap();
            drop(server);
            assert_eq!(client.rx.recv().await.unwrap(), message(3, "last"));
            assert_eq!(client.rx.recv().await, None);
        }
    }

    #[tokio::test]
    async fn a_tunnel_carries_bytes() {
        let (a, b) = tokio::io::duplex(256);
        let ((mut client, drive_a), (mut server, drive_b)) = (tunnel(a, Role::Client), tunnel(b, Role::Server));
        spawn(drive_a);
        spawn(drive_b);
        let sent = vec![3_u8; 200_000];
        let (_, got) = tokio::join!(
            async {
                client.write_all(&sent).await.unwrap();
                client.shutdown().await.unwrap();
            },
            async {
                let mut got = Vec::new();
                server.read_to_end(&mut got).await.unwrap();
                got
            }
        );
        assert_eq!(got.len(), sent.len());
    }

    #[tokio::test]
    async fn garbage_ends_the_connection_alone() {
        for garbage in [&[0xff; 20][..], &b"\x82\x00"[..], &b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff"[..]] {
            let (io, mut peer) = tokio::io::duplex(1024);
            let (mut server, drive) = channels(io, Role::Server, Encoding::Binary);
            spawn(drive);
            peer.write_all(garbage).await.unwrap();
            let end = tokio::time::timeout(std::time::Duration::from_secs(5), server.rx.recv()).await;
            assert_eq!(end.unwrap_or_else(|_| panic!("{garbage:?} is waited for")), None);
        }
    }
}
