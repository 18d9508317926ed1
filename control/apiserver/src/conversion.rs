//! Conversion webhooks of custom kinds (`spec.conversion`): programs outside that make documents of one version out of
//! another's.
//!
//! ```text
//! cached objects ─► claims ─► chunks ─► ConversionReview ─► checked ─► metadata restored ─► pruned
//!                       └ somebody converts this one already: wait for what comes of it
//! ```
//! An object in the cache is converted once for each version that is read, and what came of it is kept beside it until the
//! object, the webhook or the schema changes: a thousand watchers cost one call. Nobody holds a lock while a program is
//! asked; what is sent at once is bounded in objects and bytes, and so is what is under way. A webhook may change labels,
//! annotations and everything outside of `metadata`, and nothing else: the rest is what it was, whatever it answers.
//! Errors speak upstream's sentences. A request that needs a webhook that fails is answered 500; nothing else waits for it.

mod memo;
mod review;
mod slots;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use kinds::KindRef;
use kinds::custom::Webhook;
use schema::{Status, Value};

pub(crate) use self::memo::Memo;
pub(crate) use self::slots::Slots;
use self::slots::{Claim, Claimed, Conversion};
use crate::cache::Cache;
use crate::cache::item::Item;
use crate::webhook::{Dial, Endpoint, Endpoints, World};
use crate::{convert, document, failure};

/// As upstream waits.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Objects in one review.
const CHUNK_OBJECTS_MAX: usize = 500;
/// Bytes of objects in one review; an answer may be somewhat larger before it is refused.
const CHUNK_BYTES_MAX: usize = 4 << 20;
/// Reviews of one request under way at once.
const CHUNKS_AT_ONCE: usize = 4;

/// The programs that are asked.
#[derive(Default)]
pub struct Conversions {
    endpoints: OnceLock<Endpoints>,
    timeout: OnceLock<Duration>,
    /// By the definition's name, as long as its webhook stays the same: whoever holds an endpoint keeps its connections.
    known: Mutex<HashMap<Box<str>, (Arc<Webhook>, Arc<Endpoint>)>>,
}

impl Conversions {
    /// How connections are made; before the first call, else it comes too late and nothing changes.
    pub fn set_dial(&self, dial: Arc<dyn Dial>) {
        let _ = self.endpoints.set(Endpoints::new(dial));
    }

    /// How long an answer is waited for; before the first call.
    pub fn set_timeout(&self, timeout: Duration) {
        let _ = self.timeout.set(timeout);
    }

    fn endpoint(&self, cache: &Cache, webhook: &Arc<Webhook>) -> Arc<Endpoint> {
        let mut known = self.known.lock().expect("no holder of the endpoints panics");
        if let Some((of, endpoint)) = known.get(&webhook.definition).filter(|(of, _)| of == webhook) {
            debug_assert_eq!(of, webhook);
            return Arc::clone(endpoint);
        }
        known.retain(|name, _| cache.registry().family(name).is_some());
        let endpoint = self.endpoints.get_or_init(Endpoints::default).of(&webhook.client_config);
        known.insert(webhook.definition.clone(), (Arc::clone(webhook), Arc::clone(&endpoint)));
        endpoint
    }
}

/// Cached objects as `kind` serves them.
pub(crate) async fn items(cache: &Cache, kind: &KindRef, items: Vec<Arc<Item>>) -> Result<Vec<Arc<Item>>, Status> {
    loop {
        let claimed: Vec<Claimed> = items.iter().map(|item| claimed(kind, item)).collect::<Result<_, _>>()?;
        if claimed.iter().all(|one| matches!(one, Claimed::Made(_))) {
            return Ok(claimed.into_iter().filter_map(Claimed::made).collect());
        }
        let (mut mine, mut others) = (Vec::new(), Vec::new());
        for one in claimed {
            match one {
                Claimed::Made(_) => {}
                Claimed::Mine(claim) => mine.push(claim),
                Claimed::Others(wait) => others.push(wait),
            }
        }
        make(cache, kind, mine).await?;
        for wait in others {
            wait.ended().await?;
        }
    }
}

/// What there is of an item, or who makes it. What asks nobody is made here.
fn claimed(kind: &KindRef, item: &Arc<Item>) -> Result<Claimed, Status> {
    if convert::asks(kind, &item.object.raw) {
        let id = kind.custom.as_ref().map_or(0, |custom| custom.conversion_id);
        return Ok(Slots::claim(item, Conversion { version: kind.version.clone(), id }));
    }
    let object = convert::served(kind, Arc::clone(&item.object))?;
    let same = Arc::ptr_eq(&object, &item.object);
    Ok(Claimed::Made(if same { Arc::clone(item) } else { Item::of(object) }))
}

/// Converts what was claimed; all who wait are told, also of a failure.
async fn make(cache: &Cache, kind: &KindRef, claims: Vec<Claim>) -> Result<(), Status> {
    let raws: Vec<Bytes> = claims.iter().map(|claim| fitted(cache, kind, claim.item())).collect();
    let mut claims = claims.into_iter();
    let mut chunks: Vec<BoxFuture<'_, Result<(), Status>>> = Vec::new();
    for chunk in chunks_of(&raws) {
        let claims: Vec<Claim> = claims.by_ref().take(chunk.len()).collect();
        chunks.push(Box::pin(make_chunk(cache, kind, claims, raws[chunk].to_vec())));
    }
    futures::stream::iter(chunks).buffer_unordered(CHUNKS_AT_ONCE).try_collect().await
}

async fn make_chunk(cache: &Cache, kind: &KindRef, claims: Vec<Claim>, raws: Vec<Bytes>) -> Result<(), Status> {
    match ask(cache, kind, &raws).await.and_then(|docs| docs.iter().map(as_item).collect::<Result<Vec<_>, _>>()) {
        Ok(made) => {
            claims.into_iter().zip(made).for_each(|(claim, made)| claim.fulfil(made));
            Ok(())
        }
        Err(status) => {
            claims.into_iter().for_each(|claim| claim.fail(&status));
            Err(status)
        }
    }
}

/// One document (JSON, at a version of its own) in the version of `kind`.
pub(crate) async fn document(cache: &Cache, kind: &KindRef, raw: Bytes) -> Result<Value, Status> {
    let made = ask(cache, kind, &[raw]).await?;
    Ok(made.into_iter().next().expect("as many come back as were sent"))
}

/// One review.
async fn ask(cache: &Cache, kind: &KindRef, raws: &[Bytes]) -> Result<Vec<Value>, Status> {
    let webhook = kind.custom.as_ref().and_then(|custom| custom.webhook.as_ref());
    let webhook = webhook.ok_or_else(|| Status::internal(format!("{} has no conversion webhook any more", kind.qualified())))?;
    let originals = review::originals(raws)?;
    let version =
        review::Version::first(&webhook.review_versions).ok_or_else(|| failure::plain("no supported conversion review versions"))?;
    let (uid, about) = (cache.env().uuid(), review::About { originals: &originals, kind });
    let body = review::body(version, &uid, &kind.api_version(), raws);
    let endpoint = cache.conversions().endpoint(cache, webhook);
    let (world, timeout) = (World { env: cache.env(), cache }, *cache.conversions().timeout.get_or_init(|| TIMEOUT));
    let answer = endpoint.post(world, body, timeout).await.map_err(|error| about.failed(&error.message))?;
    let converted = review::read(version, &uid, &answer).map_err(|why| about.failed(&why))?;
    let checked = about.checked(converted)?;
    Ok(checked.into_iter().map(|doc| convert::pruned(kind, doc)).collect())
}

/// Ranges of documents that go into one review each.
fn chunks_of(raws: &[Bytes]) -> Vec<Range<usize>> {
    let (mut chunks, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, raw) in raws.iter().enumerate() {
        let full = at - start == CHUNK_OBJECTS_MAX || (at > start && bytes + raw.len() > CHUNK_BYTES_MAX);
        if full {
            chunks.push(start..at);
            (start, bytes) = (at, 0);
        }
        bytes += raw.len();
    }
    if start < raws.len() {
        chunks.push(start..raws.len());
    }
    chunks
}

/// The bytes that are sent: what was stored under an older schema of its own version is fitted to it first.
fn fitted(cache: &Cache, kind: &KindRef, item: &Item) -> Bytes {
    let table = cache.registry().table();
    let family = kind.custom.as_ref().and_then(|custom| custom.webhook.as_ref()).and_then(|webhook| table.family(&webhook.definition));
    let own = family.and_then(|family| family.all().find(|own| document::is_of(&item.object.raw, &own.group, &own.version)).cloned());
    match own.map(|own| convert::served(&own, Arc::clone(&item.object))) {
        Some(Ok(object)) => object.raw.clone(),
        _ => item.object.raw.clone(),
    }
}

fn as_item(doc: &Value) -> Result<Arc<Item>, Status> {
    let version = doc["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    Ok(Item::of(client::Object::parse(document::fill(&document::encode(doc), version))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_is_bounded_in_objects_and_bytes() {
        let of = |sizes: &[usize]| -> Vec<usize> {
            let raws: Vec<Bytes> = sizes.iter().map(|size| Bytes::from(vec![b'x'; *size])).collect();
            chunks_of(&raws).into_iter().map(|chunk| chunk.len()).collect()
        };
        assert_eq!(of(&[]), [0; 0]);
        assert_eq!(of(&[1; 1_200]), [500, 500, 200]);
        assert_eq!(of(&[3 << 20, 1 << 20, 1, 5 << 20, 1]), [2, 1, 1, 1], "one that is too large goes alone");
    }
}
