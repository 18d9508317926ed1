//! The policy of the older iptables' filter table (`iptables-legacy`), which nftables knows nothing of. Read only: the
//! table can only be replaced as a whole, so putting a rule into it is left to its owner.

use std::io;
use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};

const GET_INFO: i32 = 64;
const GET_ENTRIES: i32 = 65;
const NAME: usize = 32;
const HOOKS: usize = 5;
const FORWARD: usize = 2;
/// `struct ipt_getinfo`: name, valid hooks, entry and policy offset of each hook, number of entries, size.
const INFO: usize = NAME + 4 * (1 + HOOKS + HOOKS + 2);
/// `struct ipt_get_entries`: name and size, aligned to eight.
const ENTRIES_HEADER: usize = 40;
/// Within `struct ipt_entry`.
const TARGET_OFFSET: usize = 88;
/// Behind `struct xt_entry_target`.
const VERDICT: usize = 32;
/// As a verdict stands in the table: `-NF_DROP - 1`.
const DROP: i32 = -1;

/// Whether its FORWARD chain has a policy of drop, in the calling thread's network namespace. False where there is no such table.
pub fn forward_drops() -> io::Result<bool> {
    // Asking for the table would create it; this file names only those that are in use.
    let tables = std::fs::read_to_string("/proc/thread-self/net/ip_tables_names").or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(String::new()),
        _ => Err(error),
    })?;
    if !tables.lines().any(|table| table == "filter") {
        return Ok(false);
    }
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::RAW))?;
    let info = get(&socket, GET_INFO, named(INFO))?;
    let number = |at: usize| info.get(at..at + 4).map_or(0, |bytes| u32::from_ne_bytes(bytes.try_into().expect("four bytes")));
    let policy_at = number(NAME + 4 * (1 + HOOKS + FORWARD)) as usize;
    let size = number(INFO - 4);
    let mut request = named(ENTRIES_HEADER + size as usize);
    request[NAME..NAME + 4].copy_from_slice(&size.to_ne_bytes());
    let table = get(&socket, GET_ENTRIES, request)?;
    Ok(verdict(table.get(ENTRIES_HEADER + policy_at..).unwrap_or_default()) == Some(DROP))
}

fn verdict(entry: &[u8]) -> Option<i32> {
    let target = usize::from(u16::from_ne_bytes(entry.get(TARGET_OFFSET..TARGET_OFFSET + 2)?.try_into().ok()?));
    let bytes = entry.get(target + VERDICT..target + VERDICT + 4)?;
    Some(i32::from_ne_bytes(bytes.try_into().ok()?))
}

fn named(length: usize) -> Vec<u8> {
    let mut out = vec![0u8; length];
    out[..6].copy_from_slice(b"filter");
    out
}

fn get(socket: &impl AsRawFd, option: i32, mut buffer: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut length = buffer.len() as u32;
    // SAFETY: pointer and length describe `buffer`, which the kernel reads the table's name from and fills up to that length.
    let done = unsafe { libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_IP, option, buffer.as_mut_ptr().cast(), &raw mut length) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(buffer) }
}
