//! Protocols on upgraded connections.

use bytes::{Bytes, BytesMut};
use stream::spdy::frame::{Decoder, Encoder, Frame};
use stream::spdy::headers::Inflater;
use stream::websocket::{Channels, Encoding, channels};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::tungstenite::protocol::Role;

/// What a pipe holds: more than an input has.
const PIPE: usize = 1 << 20;

/// Runs a future on this thread, with a clock that jumps where everybody waits.
pub(crate) fn wait_for<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O can be made").block_on(future)
}

pub(crate) fn spdy(input: &[u8]) {
    let _ = Inflater::default().decode(input);
    let (mut decoder, mut rest) = (Decoder::default(), BytesMut::from(input));
    while let Ok(Some(frame)) = decoder.next(&mut rest) {
        assert_written_and_read(&frame);
    }
    wait_for(serve_spdy(input));
}

/// A frame that we would write, too, comes back.
fn assert_written_and_read(frame: &Frame) {
    if *frame == Frame::Unknown {
        return;
    }
    let mut wire = BytesMut::new();
    Encoder::default().put(frame, &mut wire);
    let again = Decoder::default().next(&mut wire).expect("what was written is read");
    assert_eq!(again.as_ref().map(std::mem::discriminant), Some(std::mem::discriminant(frame)));
}

async fn serve_spdy(input: &[u8]) {
    let (near, far) = tokio::io::duplex(PIPE);
    let (mut connection, drive) = stream::spdy::server(far);
    let accept = async {
        while let Some(stream) = connection.accept().await {
            drop(stream);
        }
    };
    tokio::join!(speak(near, input), drive, accept);
}

pub(crate) fn websocket(input: &[u8]) {
    for (role, encoding) in [(Role::Server, Encoding::Binary), (Role::Client, Encoding::Base64)] {
        wait_for(serve_websocket(input, role, encoding));
    }
}

async fn serve_websocket(input: &[u8], role: Role, encoding: Encoding) {
    let (near, far) = tokio::io::duplex(PIPE);
    let (Channels { tx, mut rx }, drive) = channels(far, role, encoding);
    let receive = async {
        while let Some(message) = rx.recv().await {
            let _: Bytes = message.data;
        }
        drop(tx);
    };
    tokio::join!(speak(near, input), drive, receive);
}

/// Says it all, then hangs up and reads what is answered.
async fn speak(mut near: DuplexStream, input: &[u8]) {
    let _ = near.write_all(input).await; // the other side may have hung up
    let _ = near.shutdown().await;
    let _ = near.read_to_end(&mut Vec::new()).await;
}
