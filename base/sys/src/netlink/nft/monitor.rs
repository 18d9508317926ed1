//! Hearing of other people's changes to nftables: a flushed ruleset, a firewall that was started.

use std::io;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{DELETE_TABLE, NEW_CHAIN, NFGENMSG, SUBSYSTEM, TableFamily};
use crate::netlink::{Error, Family, Message, Result, Socket, string};

const GROUP_NFTABLES: u32 = 7;

/// What somebody did, as far as it may concern us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    TableGone {
        family: TableFamily,
        table: String,
    },
    /// A chain was made, or its policy changed.
    Chain {
        family: TableFamily,
        table: String,
    },
    /// There was more than could be kept: anything may have happened.
    Lost,
}

/// A subscription in the network namespace of the thread that opened it. Needs a tokio runtime.
#[derive(Debug)]
pub struct Monitor {
    socket: AsyncFd<Socket>,
}

impl Monitor {
    pub fn open() -> Result<Self> {
        let socket = Socket::open(Family::Netfilter)?;
        socket.subscribe(GROUP_NFTABLES)?;
        // SAFETY: a Socket owns its descriptor, which stays the same open file while the AsyncFd owns the Socket.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }.map_err(io::Error::from)?;
        Ok(Self { socket })
    }

    /// Waits for changes; the list may be empty, where they were of other sorts.
    pub async fn events(&mut self) -> Result<Vec<Event>> {
        let mut ready = self.socket.readable_mut().await?;
        match ready.get_inner_mut().notifications() {
            Ok(messages) => {
                ready.clear_ready();
                Ok(messages.iter().filter_map(event).collect())
            }
            Err(Error::Overrun) => Ok(vec![Event::Lost]),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

fn event(message: &Message) -> Option<Event> {
    let table = message.attributes(NFGENMSG).find_kind(1).map(string)?;
    let family = TableFamily::of(*message.body.first()?);
    match message.kind.checked_sub(SUBSYSTEM << 8)? {
        DELETE_TABLE => Some(Event::TableGone { family, table }),
        NEW_CHAIN => Some(Event::Chain { family, table }),
        _ => None,
    }
}
