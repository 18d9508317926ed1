//! What a client sees of a Service: requests one after another, each over a connection of its own, from inside the namespace.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::machine::Machine;

/// One request may take so long; a client would have given up.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two requests: a rate that leaves the machine to the cluster.
const PACE: Duration = Duration::from_millis(2);

pub(crate) struct ClientLoop {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Asked>,
}

/// What came of the requests.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) answered: usize,
    pub(crate) failed: Vec<FailedRequest>,
}

/// A request that was not answered.
#[derive(Debug)]
#[expect(dead_code, reason = "the error is read in the panic's text")]
pub(crate) struct FailedRequest {
    pub(crate) begun: Instant,
    pub(crate) error: String,
}

impl ClientLoop {
    /// Asks at `url` (`http://ADDRESS:PORT`) until stopped.
    pub(crate) fn start(machine: &Machine, url: &str) -> Self {
        let address: SocketAddr = url.strip_prefix("http://").unwrap_or(url).parse().expect("an address and a port");
        let (stop, namespace) = (Arc::new(AtomicBool::new(false)), machine.netns_path());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            enter(&namespace);
            let mut asked = Asked::default();
            while !stopped.load(Ordering::Relaxed) {
                let begun = Instant::now();
                match ask(address) {
                    Ok(()) => asked.answered += 1,
                    Err(error) => asked.failed.push(FailedRequest { begun, error: error.to_string() }),
                }
                std::thread::sleep(PACE);
            }
            asked
        });
        Self { stop, thread }
    }

    pub(crate) fn stop(self) -> Asked {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the loop ends")
    }
}

/// Moves this thread into a network namespace.
pub(crate) fn enter(namespace: &Path) {
    let namespace = std::fs::File::open(namespace).expect("the namespace is there");
    move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Network)).expect("root may enter it");
}

fn ask(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: hello\r\nconnection: close\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    let whole = page.starts_with("HTTP/1.1 200") && page.contains("pod: ");
    if whole { Ok(()) } else { Err(std::io::Error::other(format!("half an answer: {page:?}"))) }
}
