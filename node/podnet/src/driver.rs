//! The driver: [`contract::PodNet`] over the kernel.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use contract::{PodAddress, PodNet};
use env::Env;
use sys::netlink::nft::{Element, Event, Monitor, TableFamily, Transaction};
use sys::netlink::{self, Batch, Family, Socket};
use sys::netns::Netns;
use tokio_util::sync::DropGuard;

use crate::addresses::Addresses;
use crate::{Config, Error, foreign, link, node, rules};

/// One per node and instance. Calls are short and blocking inside, so they run on the blocking pool, one at a time:
/// the kernel's own lock would serialise them anyway.
pub struct Driver {
    inner: Arc<Mutex<Inner>>,
    _stop: DropGuard,
}

struct Inner {
    config: Config,
    table: String,
    prefix: String,
    mtu: u32,
    route: Socket,
    netfilter: Socket,
    addresses: Addresses,
    /// Links that the guard's sets name: pod uid to link index and address.
    guarded: HashMap<String, (u32, Ipv4Addr)>,
}

impl Driver {
    /// Makes the node's link, routes, settings and rules in the calling thread's network namespace, and adopts the
    /// pod links that are there; a task of `env` puts back what others flush and answers policies of drop that come
    /// later. Blocks for a few milliseconds. Needs a tokio runtime.
    pub fn open(config: Config, env: &Env) -> Result<Self, Error> {
        // Before the first look, so that no change falls between.
        let monitor = Monitor::open()?;
        let (base, prefix) = config.instance.node_pod_range();
        let mut route = Socket::open(Family::Route)?;
        let netfilter = Socket::open(Family::Netfilter)?;
        let addresses = Addresses::load(&config.state_path(), base, prefix)?;
        node::ensure(&mut route, &config.instance)?;
        let mtu = match config.mtu {
            Some(mtu) => mtu,
            None => node::underlay_mtu(&mut route)?,
        };
        let (table, prefix) = (config.instance.table(), config.instance.link());
        let mut inner = Inner { config, table, prefix, mtu, route, netfilter, addresses, guarded: HashMap::new() };
        inner.adopt_links()?;
        inner.program_rules()?;
        foreign::open_the_way(&mut inner.netfilter, &inner.config.instance)?;
        if let Ok(Some(fix)) = foreign::legacy_fix(&inner.config.instance) {
            tracing::warn!(fix, "the older iptables drop forwarded packets: pods will not reach other pods until this is run");
        }
        let inner = Arc::new(Mutex::new(inner));
        let stop = env.shutdown().child_token();
        env.spawn("podnet-rules", stop.clone().run_until_cancelled_owned(mend(Arc::clone(&inner), monitor)));
        Ok(Self { inner, _stop: stop.drop_guard() })
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&mut Inner) -> Result<T, Error> + Send + 'static) -> contract::Result<T> {
        let inner = Arc::clone(&self.inner);
        let done = tokio::task::spawn_blocking(move || work(&mut inner.lock().expect("no holder of the driver panics")));
        Ok(done.await.map_err(|error| contract::Error::io("pod network", error))??)
    }
}

/// Answers what others do to nftables while we run.
async fn mend(inner: Arc<Mutex<Inner>>, mut monitor: Monitor) {
    loop {
        let events = match monitor.events().await {
            Ok(events) => events,
            Err(error) => return tracing::error!(%error, "changes of other people's rules are not seen any more"),
        };
        let inner = Arc::clone(&inner);
        let mended = tokio::task::spawn_blocking(move || inner.lock().expect("no holder of the driver panics").answer(&events)).await;
        if let Ok(Err(error)) = mended {
            tracing::warn!(%error, "rules of the pod network could not be put back");
        }
    }
}

#[async_trait]
impl PodNet for Driver {
    async fn ensure(&self, pod_uid: &str, netns: &Path) -> contract::Result<PodAddress> {
        let (uid, netns): (String, PathBuf) = (pod_uid.to_owned(), netns.to_path_buf());
        self.blocking(move |inner| inner.ensure(&uid, &netns)).await
    }

    async fn remove(&self, pod_uid: &str) -> contract::Result<()> {
        let uid = pod_uid.to_owned();
        self.blocking(move |inner| inner.remove(&uid)).await
    }

    async fn observe(&self) -> contract::Result<Vec<PodAddress>> {
        self.blocking(Inner::observe).await
    }
}

impl Inner {
    fn answer(&mut self, events: &[Event]) -> Result<(), Error> {
        let ours = |table: &str, family: TableFamily| table == self.table && family == TableFamily::Ip;
        let gone = |event: &Event| matches!(event, Event::TableGone { table, family } if ours(table, *family));
        let foreign = |event: &Event| matches!(event, Event::Chain { table, family } if !ours(table, *family));
        let lost = events.contains(&Event::Lost);
        let (mend, look) = (lost || events.iter().any(gone), lost || events.iter().any(foreign));
        if mend {
            self.program_rules()?;
        }
        if look {
            foreign::open_the_way(&mut self.netfilter, &self.config.instance)?;
        }
        Ok(())
    }

    fn ensure(&mut self, uid: &str, netns: &Path) -> Result<PodAddress, Error> {
        let netns = Netns::open(netns)?;
        let ip = self.addresses.assign(uid)?;
        let name = link::name(&self.prefix, ip);
        let link = match self.route.link(&name)? {
            Some(found) if found.alias == uid && link::ends_in(&netns, &found)? => found,
            found => {
                self.delete_stale(found)?;
                let made = link::create(&mut self.route, &name, ip, self.mtu, &netns)?;
                node::disable_ipv6(&name)?;
                made
            }
        };
        // The guard stands before the link can carry a packet.
        self.guard(uid, link.index, ip)?;
        link::configure_node_side(&mut self.route, &link, uid, ip, self.config.instance.node_ip())?;
        link::configure_pod_side(&netns, ip)?;
        link::settle(&mut self.route, &name)?;
        Ok(pod_address(uid, ip))
    }

    /// A link that still has the name: of a pod whose namespace somebody holds, or of an earlier sandbox of this pod.
    fn delete_stale(&mut self, found: Option<netlink::route::Link>) -> Result<(), Error> {
        let Some(found) = found else { return Ok(()) };
        let mut batch = Batch::new();
        batch.delete_link(found.index);
        match self.route.transact(&mut batch) {
            Err(error) if !error.is_absent() => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn remove(&mut self, uid: &str) -> Result<(), Error> {
        if let Some((index, ip)) = self.guarded.remove(uid) {
            self.unguard(index, ip)?;
        }
        self.addresses.release(uid)?;
        Ok(())
    }

    fn observe(&mut self) -> Result<Vec<PodAddress>, Error> {
        let links = self.pod_links()?;
        Ok(links
            .into_iter()
            .filter(|(uid, _, ip)| self.addresses.get(uid) == Some(*ip))
            .map(|(uid, _, ip)| pod_address(&uid, ip))
            .collect())
    }

    /// Pod uid, link index and address of every pod link of this instance.
    fn pod_links(&mut self) -> Result<Vec<(String, u32, Ipv4Addr)>, Error> {
        let links = self.route.links()?;
        let ours = links.into_iter().filter_map(|link| Some((link.alias, link.index, link::address(&self.prefix, &link.name)?)));
        Ok(ours.filter(|(uid, ..)| !uid.is_empty()).collect())
    }

    fn adopt_links(&mut self) -> Result<(), Error> {
        for (uid, index, ip) in self.pod_links()? {
            if !self.addresses.known {
                self.addresses.adopt(&uid, ip)?;
            }
            if self.addresses.get(&uid) == Some(ip) {
                self.guarded.insert(uid, (index, ip));
            }
        }
        Ok(())
    }

    fn guard(&mut self, uid: &str, index: u32, ip: Ipv4Addr) -> Result<(), Error> {
        let before = self.guarded.insert(uid.to_owned(), (index, ip));
        if before == Some((index, ip)) {
            return Ok(());
        }
        if let Some((index, ip)) = before {
            self.unguard(index, ip)?;
        }
        let mut transaction = Transaction::empty(&self.table);
        transaction.add(rules::LINKS, [&rules::link_element(index)]);
        transaction.add(rules::SOURCES, [&rules::source_element(index, ip)]);
        match transaction.commit(&mut self.netfilter) {
            // Somebody flushed the ruleset: put all of ours back.
            Err(error) if error.is_absent() => self.program_rules(),
            other => Ok(other?),
        }
    }

    fn unguard(&mut self, index: u32, ip: Ipv4Addr) -> Result<(), Error> {
        let mut transaction = Transaction::empty(&self.table);
        transaction.remove(rules::LINKS, [&rules::link_element(index)]);
        transaction.remove(rules::SOURCES, [&rules::source_element(index, ip)]);
        match transaction.commit(&mut self.netfilter) {
            Err(error) if !error.is_absent() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The whole of our rules, with the elements of all guarded links and no others.
    fn program_rules(&mut self) -> Result<(), Error> {
        let wanted_links: Vec<Element> = self.guarded.values().map(|(index, _)| rules::link_element(*index)).collect();
        let wanted_sources: Vec<Element> = self.guarded.values().map(|(index, ip)| rules::source_element(*index, *ip)).collect();
        let found_links = self.netfilter.set_elements(&self.table, rules::LINKS)?;
        let found_sources = self.netfilter.set_elements(&self.table, rules::SOURCES)?;
        let chains = rules::chains(&self.config.instance);
        Ok(self.netfilter.ensure_chains(&self.table, &rules::sets(), &chains, |transaction| {
            for (set, wanted, found) in [(rules::LINKS, &wanted_links, &found_links), (rules::SOURCES, &wanted_sources, &found_sources)] {
                transaction.remove(set, found.iter().filter(|element| !wanted.contains(element)));
                transaction.add(set, wanted.iter().filter(|element| !found.contains(element)));
            }
        })?)
    }
}

fn pod_address(uid: &str, ip: Ipv4Addr) -> PodAddress {
    PodAddress { pod_uid: uid.to_owned(), ips: vec![IpAddr::V4(ip)] }
}
