//! Other people's rules that would drop our packets: a FORWARD or INPUT policy of drop, as Docker's or a firewall's.
//!
//! In nftables every base chain of a hook must let a packet pass, so an accept of ours elsewhere does not help: the
//! accept must stand in the very chain that drops. It is written so that `iptables -S` still understands it, carries a
//! comment with the instance's name, and is removed again by the teardown.

use stdx::instance::Instance;
use sys::netlink::nft::{ForeignChain, HookPoint, Is, Rule, TableFamily};
use sys::netlink::{Family, Socket};

use crate::Error;

/// Chains whose policy drops what we need, as `family table/chain (hook)`, for `corten check`. They are answered by themselves;
/// see [`legacy_fix`] for the one that is not.
pub fn dropping_chains(instance: &Instance) -> Result<Vec<String>, Error> {
    let mut netfilter = Socket::open(Family::Netfilter)?;
    Ok(find(&mut netfilter, instance)?.iter().map(describe).collect())
}

/// The older iptables keep a table of their own that we cannot put a rule into without replacing all of it. Where its
/// FORWARD policy is drop: the commands that let pods through.
pub fn legacy_fix(instance: &Instance) -> Result<Option<String>, Error> {
    let path = std::path::PathBuf::from("/proc/thread-self/net/ip_tables_names");
    if !sys::netlink::legacy::forward_drops().map_err(|cause| Error::State { path, cause })? {
        return Ok(None);
    }
    let (base, prefix) = instance.pod_range();
    Ok(Some(format!("iptables-legacy -I FORWARD -s {base}/{prefix} -j ACCEPT; iptables-legacy -I FORWARD -d {base}/{prefix} -j ACCEPT")))
}

/// Puts an accept for this instance's pods at the head of each such chain; chains that have it stay untouched.
pub(crate) fn open_the_way(netfilter: &mut Socket, instance: &Instance) -> Result<(), Error> {
    for chain in find(netfilter, instance)? {
        let comment = comment(instance);
        let has = |rules: &[sys::netlink::nft::FoundRule]| rules.iter().any(|rule| rule.chain == chain.name && rule.comment == comment);
        if has(&netfilter.rules(chain.family, &chain.table)?) {
            continue;
        }
        tracing::info!(chain = describe(&chain), "its policy drops: inserting accepts for pods");
        for rule in accepts(&chain, instance) {
            netfilter.insert_rule(chain.family, &chain.table, &chain.name, &rule, &comment)?;
        }
    }
    Ok(())
}

/// Removes the accepts; returns the chains that had some.
pub(crate) fn close_the_way(netfilter: &mut Socket, instance: &Instance) -> Result<Vec<String>, Error> {
    let comment = comment(instance);
    let mut cleaned = Vec::new();
    // Also of chains that do not drop any more.
    for chain in netfilter.base_chains()?.into_iter().filter(|chain| is_candidate(chain, instance)) {
        let rules = netfilter.rules(chain.family, &chain.table)?;
        let ours: Vec<_> = rules.iter().filter(|rule| rule.chain == chain.name && rule.comment == comment).collect();
        for rule in &ours {
            netfilter.delete_rule(chain.family, &chain.table, &chain.name, rule.handle)?;
        }
        if !ours.is_empty() {
            cleaned.push(describe(&chain));
        }
    }
    Ok(cleaned)
}

fn find(netfilter: &mut Socket, instance: &Instance) -> Result<Vec<ForeignChain>, Error> {
    let all = netfilter.base_chains()?;
    Ok(all.into_iter().filter(|chain| chain.drops && is_candidate(chain, instance)).collect())
}

fn is_candidate(chain: &ForeignChain, instance: &Instance) -> bool {
    let ours = chain.family == TableFamily::Ip && chain.table == instance.table();
    let sees_ipv4 = matches!(chain.family, TableFamily::Ip | TableFamily::Inet);
    let on_our_way = matches!(chain.hook, HookPoint::Input | HookPoint::Forward | HookPoint::Output);
    sees_ipv4 && on_our_way && !ours
}

fn accepts(chain: &ForeignChain, instance: &Instance) -> Vec<Rule> {
    let start = || match chain.family {
        TableFamily::Inet => Rule::new().is_ipv4(0),
        _ => Rule::new(),
    };
    let from = || start().source_in(Is::Equal, instance.pod_range(), 0).counter().accept();
    let to = || start().destination_in(Is::Equal, instance.pod_range(), 0).counter().accept();
    match chain.hook {
        HookPoint::Input => vec![from()],
        HookPoint::Output => vec![to()],
        _ => vec![from(), to()],
    }
}

fn comment(instance: &Instance) -> String {
    format!("corten instance {}", instance.name)
}

fn describe(chain: &ForeignChain) -> String {
    let family = if chain.family == TableFamily::Inet { "inet" } else { "ip" };
    format!("{family} {}/{} ({:?})", chain.table, chain.name, chain.hook).to_lowercase()
}
