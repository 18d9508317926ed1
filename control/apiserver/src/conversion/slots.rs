//! What a cached object is in other versions, and who makes that just now.
//!
//! ```text
//! nobody asked ──claim──► under way ──fulfil──► made (until webhook or schema change)
//!                             └──failed, or given up──► nobody asked
//! ```

use std::sync::{Arc, Mutex};

use kinds::Text;
use schema::Status;
use tokio::sync::watch;

use crate::cache::item::Item;

/// What is made of an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Conversion {
    pub version: Text,
    /// [`kinds::custom::Custom::conversion_id`]
    pub id: u64,
}

/// Beside an object; at most one slot for each version.
#[derive(Default)]
pub(crate) struct Slots(Mutex<Vec<(Conversion, Slot)>>);

type Outcome = Option<Result<Arc<Item>, Status>>;

enum Slot {
    Made(Arc<Item>),
    UnderWay(watch::Receiver<Outcome>),
}

/// What a claim comes to.
pub(crate) enum Claimed {
    Made(Arc<Item>),
    Mine(Claim),
    Others(Wait),
}

/// The duty to make it; dropped, somebody else may claim it.
pub(crate) struct Claim {
    item: Arc<Item>,
    conversion: Conversion,
    told: watch::Sender<Outcome>,
}

/// For what another one makes.
pub(crate) struct Wait(watch::Receiver<Outcome>);

impl Slots {
    pub(crate) fn claim(item: &Arc<Item>, conversion: Conversion) -> Claimed {
        let mut slots = item.slots().lock();
        if let Some((_, slot)) = slots.iter().find(|(of, _)| *of == conversion) {
            match slot {
                Slot::Made(made) => return Claimed::Made(Arc::clone(made)),
                // Who gave up leaves nobody to wait for.
                Slot::UnderWay(told) if told.has_changed().is_ok() => return Claimed::Others(Wait(told.clone())),
                Slot::UnderWay(_) => {}
            }
        }
        slots.retain(|(of, _)| of.version != conversion.version);
        let (told, wait) = watch::channel(None);
        slots.push((conversion.clone(), Slot::UnderWay(wait)));
        drop(slots);
        Claimed::Mine(Claim { item: Arc::clone(item), conversion, told })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Conversion, Slot)>> {
        self.0.lock().expect("no holder of slots panics")
    }

    /// Sets or empties the slot, unless another version of the webhook has it by now.
    fn settle(&self, conversion: &Conversion, made: Option<Arc<Item>>) {
        let mut slots = self.lock();
        let Some(at) = slots.iter().position(|(of, _)| of == conversion) else { return };
        match made {
            Some(made) => slots[at].1 = Slot::Made(made),
            None if matches!(slots[at].1, Slot::UnderWay(_)) => drop(slots.remove(at)),
            None => {}
        }
    }
}

impl Claimed {
    pub(crate) fn made(self) -> Option<Arc<Item>> {
        match self {
            Self::Made(item) => Some(item),
            _ => None,
        }
    }
}

impl Claim {
    pub(crate) fn item(&self) -> &Item {
        &self.item
    }

    pub(crate) fn fulfil(self, made: Arc<Item>) {
        self.item.slots().settle(&self.conversion, Some(Arc::clone(&made)));
        self.told.send_replace(Some(Ok(made)));
    }

    pub(crate) fn fail(self, status: &Status) {
        self.item.slots().settle(&self.conversion, None);
        self.told.send_replace(Some(Err(status.clone())));
    }
}

impl Wait {
    /// Resolves when it is made, or nobody makes it any more; the failure of whoever tried.
    pub(crate) async fn ended(mut self) -> Result<(), Status> {
        match self.0.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.as_ref().map_or(Ok(()), |outcome| outcome.as_ref().map(|_| ()).map_err(Clone::clone)),
            Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use schema::json;

    use super::*;

    fn item(name: &str) -> Arc<Item> {
        Item::of(client::Object::from_value(&json!({"metadata": {"name": name}})).unwrap())
    }

    fn at(id: u64) -> Conversion {
        Conversion { version: "v2".into(), id }
    }

    #[tokio::test]
    async fn one_makes_it_and_all_who_wait_hear_of_it() {
        let (stored, made) = (item("a"), item("b"));
        let Claimed::Mine(claim) = Slots::claim(&stored, at(1)) else { panic!("nobody else is here") };
        let Claimed::Others(wait) = Slots::claim(&stored, at(1)) else { panic!("it is under way") };
        claim.fail(&Status::bad_request("no"));
        assert_eq!(wait.ended().await.unwrap_err().message, "no");
        let Claimed::Mine(claim) = Slots::claim(&stored, at(1)) else { panic!("a failure is not kept") };
        let Claimed::Others(wait) = Slots::claim(&stored, at(1)) else { panic!("it is under way") };
        claim.fulfil(Arc::clone(&made));
        wait.ended().await.unwrap();
        assert!(Slots::claim(&stored, at(1)).made().is_some_and(|kept| Arc::ptr_eq(&kept, &made)));
        assert!(matches!(Slots::claim(&stored, at(2)), Claimed::Mine(_)), "another webhook makes it anew");
    }

    #[tokio::test]
    async fn who_gives_up_leaves_the_work_to_others() {
        let stored = item("a");
        let Claimed::Mine(claim) = Slots::claim(&stored, at(1)) else { panic!("nobody else is here") };
        let Claimed::Others(wait) = Slots::claim(&stored, at(1)) else { panic!("it is under way") };
        drop(claim);
        wait.ended().await.unwrap();
        assert!(matches!(Slots::claim(&stored, at(1)), Claimed::Mine(_)));
    }
}
