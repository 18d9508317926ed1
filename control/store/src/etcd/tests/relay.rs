//! A way to etcd that can be cut and kept cut.

use std::sync::Arc;

use env::Env;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes connections on to a port of 127.0.0.1.
pub(super) struct Relay {
    pub(super) port: u16,
    /// The number of cuts so far, and whether connections are taken.
    state: Arc<watch::Sender<(u64, bool)>>,
}

impl Relay {
    pub(super) async fn to(port: u16, env: &Env) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let relay = Self { port: listener.local_addr().unwrap().port(), state: Arc::new(watch::Sender::new((0, true))) };
        let (state, tasks) = (Arc::clone(&relay.state), env.clone());
        env.spawn("relay", async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut state = state.subscribe();
                if !state.borrow_and_update().1 {
                    continue; // dropped: the other side sees its connection end
                }
                tasks.spawn("relayed", async move {
                    tokio::select! {
                        () = pass(client, port) => {}
                        _ = state.changed() => {}
                    }
                });
            }
        });
        relay
    }

    /// Ends every connection; new ones are taken.
    pub(super) fn cut(&self) {
        self.state.send_modify(|state| state.0 += 1);
    }

    /// Ends every connection and takes no more until [`Relay::mend`].
    pub(super) fn close(&self) {
        self.state.send_modify(|state| *state = (state.0 + 1, false));
    }

    pub(super) fn mend(&self) {
        self.state.send_modify(|state| state.1 = true);
    }
}

async fn pass(mut client: TcpStream, port: u16) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await; // how it ended is the other side's affair
}
