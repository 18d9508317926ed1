//! Host names of URLs as addresses: the hosts file, then the machine's name servers. glibc's resolver is of no use to a
//! static binary. Names are taken as they are written: there is no search list.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use env::Env;
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::net::UdpSocket;
use tokio::time::Instant;

const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// A server that is silent for so long is passed over.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
const SERVERS_MAX: usize = 3;
/// What callers without a deadline of their own wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
const MESSAGE_BYTES_MAX: usize = 4_096;

/// The addresses of `host`, at `port`. `host` may be an address itself, a v6 one in brackets.
pub(crate) async fn addresses(env: &Env, host: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, String> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let known = in_hosts(&tokio::fs::read_to_string(HOSTS).await.unwrap_or_default(), bare);
    let found = if known.is_empty() { ask(env, bare, deadline).await? } else { known };
    Ok(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

/// The addresses that a hosts file has for `host`; `localhost` is always known.
fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    let found: Vec<IpAddr> = lines
        .filter_map(|mut words| {
            let ip = words.next()?.parse().ok()?;
            words.any(|name| name.eq_ignore_ascii_case(host)).then_some(ip)
        })
        .collect();
    if found.is_empty() && host.eq_ignore_ascii_case("localhost") { vec![Ipv4Addr::LOCALHOST.into()] } else { found }
}

/// Asks the machine's servers in turn, for IPv4 and then for IPv6.
async fn ask(env: &Env, host: &str, deadline: Instant) -> Result<Vec<IpAddr>, String> {
    let failed = |why: &str| format!("dial tcp: lookup {host}: {why}");
    let name = Name::from_ascii(format!("{}.", host.trim_end_matches('.'))).map_err(|error| failed(&error.to_string()))?;
    let servers = servers(&tokio::fs::read_to_string(RESOLV_CONF).await.unwrap_or_default());
    let mut silence = failed("no server is named in /etc/resolv.conf");
    for server in servers {
        let by = deadline.min(env.instant() + SERVER_TIMEOUT);
        let both = async {
            let found = ask_one(env, server, &name, RecordType::A).await?;
            if found.is_empty() { ask_one(env, server, &name, RecordType::AAAA).await } else { Ok(found) }
        };
        match tokio::time::timeout_at(by, both).await {
            Ok(Ok(found)) if found.is_empty() => return Err(failed(&format!("no such host (asked {server})"))),
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) => silence = failed(&format!("on {server}: {error}")),
            Err(_) => silence = failed(&format!("on {server}: i/o timeout")),
        }
    }
    Err(silence)
}

fn servers(text: &str) -> Vec<SocketAddr> {
    let words = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    words.filter_map(|word| word.trim().parse::<IpAddr>().ok()).map(|ip| SocketAddr::new(ip, 53)).take(SERVERS_MAX).collect()
}

async fn ask_one(env: &Env, server: SocketAddr, name: &Name, kind: RecordType) -> io::Result<Vec<IpAddr>> {
    let id = u16::try_from(env.random_below(1 << 16)).unwrap_or_default();
    let mut question = Message::new(id, MessageType::Query, OpCode::Query);
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(name.clone(), kind));
    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?; // a port of its own for each question
    socket.connect(server).await?;
    socket.send(&question.to_vec().map_err(io::Error::other)?).await?;
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let answer = Message::from_vec(&buffer[..length]).ok().filter(|answer| answer.metadata.id == id);
        if let Some(answer) = answer.filter(|answer| answer.queries == question.queries) {
            return Ok(answer.answers.iter().filter_map(|record| ip(&record.data)).collect());
        }
    }
}

fn ip(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(a) => Some(a.0.into()),
        RData::AAAA(aaaa) => Some(aaaa.0.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_file_and_the_list_of_servers_are_read() {
        let hosts = "127.0.0.1 localhost\n10.0.0.1\tweb web.example.com # front\n::1 localhost\n";
        assert_eq!(in_hosts(hosts, "WEB.example.com"), ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(in_hosts(hosts, "localhost").len(), 2);
        assert_eq!(in_hosts("", "localhost"), [IpAddr::from(Ipv4Addr::LOCALHOST)]);
        assert!(in_hosts(hosts, "front").is_empty());
        let conf = "search a b\nnameserver 10.96.0.10\n  nameserver fd00::1\n# nameserver 1.1.1.1\n";
        assert_eq!(servers(conf).iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.96.0.10:53", "[fd00::1]:53"]);
    }
}
