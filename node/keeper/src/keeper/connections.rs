//! Who is connected, and what waits to be sent to them.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, EventFlags};
use serde::Serialize;
use sys::seqpacket;

use super::{Source, watch};

/// Names a connection; 0 is nobody.
pub(super) type Token = u64;

/// A reader that leaves more than this lying is gone or broken; exits are kept and told again when it comes back.
const WAITING_MAX: usize = 4096;

pub(super) struct Connections {
    listener: OwnedFd,
    all: HashMap<Token, Connection>,
    last: Token,
}

struct Connection {
    socket: OwnedFd,
    waiting: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    closed: bool,
}

impl Connections {
    pub(super) fn new(listener: OwnedFd) -> Self {
        Self { listener, all: HashMap::new(), last: 0 }
    }

    pub(super) fn accept(&mut self, epoll: &OwnedFd) {
        while let Ok(Some(socket)) = seqpacket::accept(&self.listener) {
            // The folder is root's alone; this holds even if someone opened it up.
            if !seqpacket::peer(&socket).is_ok_and(|(_, uid)| uid == 0) {
                continue;
            }
            self.last += 1;
            if watch(epoll, socket.as_fd(), Source::Connection(self.last)).is_ok() {
                self.all.insert(self.last, Connection { socket, waiting: VecDeque::new(), closed: false });
            }
        }
    }

    /// The next message; None when there is none now.
    pub(super) fn receive(&mut self, token: Token) -> Option<seqpacket::Message> {
        let connection = self.all.get_mut(&token)?;
        match seqpacket::receive(&connection.socket) {
            Ok(message) if !message.is_end() => Some(message),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
            Ok(_) | Err(_) => {
                connection.closed = true;
                None
            }
        }
    }

    pub(super) fn is_closed(&self, token: Token) -> bool {
        self.all.get(&token).is_some_and(|connection| connection.closed)
    }

    pub(super) fn is_open(&self, token: Token) -> bool {
        self.all.contains_key(&token)
    }

    pub(super) fn remove(&mut self, token: Token) {
        self.all.remove(&token);
    }

    pub(super) fn send(&mut self, epoll: &OwnedFd, token: Token, message: &impl Serialize, fds: Vec<OwnedFd>) {
        let Some(connection) = self.all.get_mut(&token) else { return };
        let bytes = serde_json::to_vec(message).expect("messages are plain data");
        connection.waiting.push_back((bytes, fds));
        if connection.waiting.len() > WAITING_MAX {
            connection.waiting.clear();
            // The loop hears of it as of any other end.
            let _ = rustix::net::shutdown(&connection.socket, rustix::net::Shutdown::Both);
        }
        self.flush(epoll, token);
    }

    pub(super) fn broadcast(&mut self, epoll: &OwnedFd, message: &impl Serialize) {
        let tokens: Vec<Token> = self.all.keys().copied().collect();
        for token in tokens {
            self.send(epoll, token, message, Vec::new());
        }
    }

    /// Sends what the socket takes; the rest goes when it is writable again.
    pub(super) fn flush(&mut self, epoll: &OwnedFd, token: Token) {
        let Some(connection) = self.all.get_mut(&token) else { return };
        while let Some((bytes, fds)) = connection.waiting.front() {
            let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            match seqpacket::send(&connection.socket, bytes, &borrowed) {
                Ok(()) => drop(connection.waiting.pop_front()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    connection.closed = true;
                    connection.waiting.clear();
                }
            }
        }
        let flags = if connection.waiting.is_empty() { EventFlags::IN } else { EventFlags::IN | EventFlags::OUT };
        let _ = epoll::modify(epoll, &connection.socket, Source::Connection(token).data(), flags);
    }
}
