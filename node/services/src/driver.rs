//! The driver: [`contract::Services`] over nftables.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use contract::{ServiceSpec, Services};
use env::Env;
use sys::netlink::conntrack::Which;
use sys::netlink::nft::{Chain, Element, Event, Monitor, TableFamily, Transaction};
use sys::netlink::{Family, Socket};
use tokio_util::sync::DropGuard;

use crate::front::{self, FrontKey};
use crate::layout::{self, Class, SetId};
use crate::state::{Changes, Stale, State, Wanted};
use crate::{Config, Error};

/// Elements of one transaction: more would hold the kernel's lock for longer than a packet may wait (10,000 take 40 ms).
const PORTION: usize = 10_000;

/// One per node and instance. A change is tens of microseconds of blocking work, so it runs on the blocking pool.
pub struct Driver {
    inner: Arc<Mutex<Inner>>,
    _stop: DropGuard,
}

struct Inner {
    config: Config,
    table: String,
    netfilter: Socket,
    state: State,
    /// A transaction failed half known: compare with the kernel before the next.
    doubtful: bool,
    /// The state says everything that is wanted.
    replaced: bool,
}

impl Driver {
    /// Works in the calling thread's network namespace. Touches nothing yet: the first [`Services::replace`] compares
    /// with what the kernel has from the last run. A task of `env` puts back what others flush. Needs a tokio runtime.
    pub fn open(config: Config, env: &Env) -> Result<Self, Error> {
        let monitor = Monitor::open()?;
        let netfilter = Socket::open(Family::Netfilter)?;
        let table = config.instance.table();
        let inner = Inner { config, table, netfilter, state: State::default(), doubtful: true, replaced: false };
        let inner = Arc::new(Mutex::new(inner));
        let stop = env.shutdown().child_token();
        env.spawn("services-rules", stop.clone().run_until_cancelled_owned(mend(Arc::clone(&inner), monitor)));
        Ok(Self { inner, _stop: stop.drop_guard() })
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&mut Inner) -> Result<T, Error> + Send + 'static) -> contract::Result<T> {
        let inner = Arc::clone(&self.inner);
        let done = tokio::task::spawn_blocking(move || work(&mut inner.lock().expect("no holder of the driver panics")));
        Ok(done.await.map_err(|error| contract::Error::io("services", error))??)
    }
}

/// Puts the table back when somebody flushes it: a firewall's restart must not end the services.
async fn mend(inner: Arc<Mutex<Inner>>, mut monitor: Monitor) {
    loop {
        let events = match monitor.events().await {
            Ok(events) => events,
            Err(error) => return tracing::error!(%error, "flushes of the services' rules are not seen any more"),
        };
        let inner = Arc::clone(&inner);
        let mended = tokio::task::spawn_blocking(move || inner.lock().expect("no holder of the driver panics").answer(&events)).await;
        if let Ok(Err(error)) = mended {
            tracing::warn!(%error, "services could not be put back");
        }
    }
}

#[async_trait]
impl Services for Driver {
    async fn ensure(&self, service: ServiceSpec) -> contract::Result<()> {
        self.blocking(move |inner| {
            let wanted = inner.wanted(&service)?;
            inner.change(&front::name(&service), Some(wanted))
        })
        .await
    }

    async fn remove(&self, namespace: &str, name: &str) -> contract::Result<()> {
        let name = format!("{namespace}/{name}");
        self.blocking(move |inner| inner.change(&name, None)).await
    }

    async fn replace(&self, services: Vec<ServiceSpec>) -> contract::Result<()> {
        self.blocking(move |inner| inner.replace(&services)).await
    }
}

impl Inner {
    fn answer(&mut self, events: &[Event]) -> Result<(), Error> {
        let gone = |event: &Event| matches!(event, Event::TableGone { table, family: TableFamily::Ip } if *table == self.table);
        // Before the first `replace` nothing is wanted yet; comparing now would remove what the last run left working.
        if self.replaced && events.iter().any(gone) {
            tracing::warn!(table = self.table, "somebody flushed our rules: putting them back");
            return self.resync();
        }
        Ok(())
    }

    fn wanted(&self, service: &ServiceSpec) -> Result<Wanted, Error> {
        let instance = &self.config.instance;
        Ok(Wanted { fronts: front::fronts(service, instance)?, hairpins: front::local_addresses(service, instance) })
    }

    fn change(&mut self, name: &str, wanted: Option<Wanted>) -> Result<(), Error> {
        if self.doubtful {
            self.state.want(name, wanted);
            return self.resync();
        }
        let mut changes = self.state.change(name, wanted);
        match self.commit(&mut changes) {
            Ok(()) => Ok(()),
            Err(error) => {
                // Somebody flushed the ruleset, or answers were lost: the kernel tells what is there.
                tracing::warn!(service = name, %error, "a change was refused: comparing with the kernel");
                self.resync()
            }
        }
    }

    fn replace(&mut self, services: &[ServiceSpec]) -> Result<(), Error> {
        let mut state = State::default();
        let mut faults = Vec::new();
        for service in services {
            match self.wanted(service) {
                Ok(wanted) => drop(state.want(&front::name(service), Some(wanted))),
                // One bad service must not keep the others from being served.
                Err(error) => faults.push(error),
            }
        }
        self.state = state;
        self.replaced = true;
        self.resync()?;
        faults.into_iter().next().map_or(Ok(()), Err)
    }

    /// Makes the kernel what the state wants, by a dump of it.
    fn resync(&mut self) -> Result<(), Error> {
        self.doubtful = true;
        self.ensure_frame()?;
        let mut dump = HashMap::new();
        for set in SetId::ALL {
            dump.insert(set, self.netfilter.set_elements(&self.table, set.name())?);
        }
        for mut portion in self.state.difference(&dump, PORTION) {
            self.commit(&mut portion)?;
        }
        self.doubtful = false;
        Ok(())
    }

    /// Sets, chains and classes, as far as they are not right already.
    fn ensure_frame(&mut self) -> Result<(), Error> {
        let instance = &self.config.instance;
        let classes = self.state.wanted_classes();
        let chains: Vec<Chain> =
            layout::chains(instance).into_iter().chain(classes.iter().filter_map(|class| class.chain(instance))).collect();
        let mut add: Vec<(&str, Element)> = Vec::new();
        let mut remove = Vec::new();
        for set in layout::CLASS_SETS {
            let found = self.netfilter.set_elements(&self.table, set)?;
            let wanted = classes.iter().filter(|class| class.set() == set).map(|class| class.element());
            for element in wanted.filter(|element| !found.contains(element)) {
                remove.extend(found.iter().filter(|other| other.key == element.key).map(|other| (set, other.clone())));
                add.push((set, element));
            }
        }
        self.netfilter.ensure_chains(&self.table, &layout::sets(), &chains, |transaction| {
            remove.iter().for_each(|(set, element)| transaction.remove(set, [element]));
            add.iter().for_each(|(set, element)| transaction.add(set, [element]));
        })?;
        self.state.classes = classes.into_iter().collect();
        Ok(())
    }

    fn commit(&mut self, changes: &mut Changes) -> Result<(), Error> {
        if !changes.is_empty() {
            let mut transaction = Transaction::empty(&self.table);
            let new_classes = changes.classes.iter().filter(|class| !self.state.classes.contains(class));
            for class in new_classes {
                add_class(&mut transaction, *class, &self.config);
            }
            for (set, elements) in &changes.remove {
                transaction.remove(set.name(), elements);
            }
            for (set, elements) in &changes.add {
                transaction.add(set.name(), elements);
            }
            transaction.commit(&mut self.netfilter)?;
        }
        self.state.done(changes);
        for stale in std::mem::take(&mut changes.stale) {
            self.drop_stale(stale);
        }
        Ok(())
    }

    /// Without this a UDP client that keeps its port would go on sending to the endpoint that left.
    fn drop_stale(&mut self, stale: Stale) {
        let (key, target) = match stale {
            Stale::Translated(key, target) => (key, Some((target.ip, target.port))),
            Stale::Untranslated(key) => (key, None),
        };
        let (ip, port) = match key {
            FrontKey::Address(ip, _, port) => (Some(ip), port),
            FrontKey::NodePort(_, port) => (None, port),
        };
        let which = Which { sent_to: ip, sent_to_port: port, answered_by: target };
        if let Err(error) = self.netfilter.drop_connections(layout::protocol_number(key.protocol()), which) {
            tracing::warn!(?key, %error, "stale connection tracking entries could not be dropped: clients may hang until they time out");
        }
    }
}

fn add_class(transaction: &mut Transaction<'_>, class: Class, config: &Config) {
    if let Some(chain) = class.chain(&config.instance) {
        transaction.chain(&chain);
        // It may be there from an earlier run, with the rules of an older build.
        transaction.clear_chain(&chain.name);
        transaction.rules(&chain);
    }
    transaction.add(class.set(), [&class.element()]);
}
