//! Lists: the newest state, a page pinned to a revision, or the state at a revision.
//!
//! | asked | shown |
//! |---|---|
//! | no resourceVersion | everything committed before the request |
//! | `0` | what the cache has |
//! | a revision (NotOlderThan) | the cache, once it is there; 504 after three seconds |
//! | a revision with a limit, or `Exact` | exactly that revision, from the store's history; 410 when compacted |
//! | a continue token | the revision of the first page; 410 with a token for the rest when compacted |

use std::sync::Arc;
use std::time::Duration;

use client::{List, Options};
use kinds::KindRef;
use schema::field::Reason;
use schema::{FieldErrors, Path, Status};
use store::{Revision, Store, StoreError};

use crate::cache::item::Item;
use crate::cache::{Cache, KindCache};
use crate::convert;
use crate::failure;
use crate::page::Continue;
use crate::select::Selector;

/// How long a reader waits for a revision that the cache has not seen.
const FRESHNESS_TIMEOUT: Duration = Duration::from_secs(3);
/// Entries read at once from the store's history while a selector searches for matches.
const HISTORY_PAGE: usize = 1_000;

/// One collection to read.
pub struct Lister<'a> {
    pub cache: &'a Cache,
    pub store: &'a dyn Store,
    pub kind: &'a KindRef,
    pub kind_cache: &'a KindCache,
    /// `""`: all.
    pub namespace: &'a str,
}

/// Which state is asked for.
enum Show {
    Newest,
    Cached,
    NotOlderThan(u64),
    Exactly(u64),
}

impl Lister<'_> {
    pub async fn list(&self, options: &Options) -> Result<List, Status> {
        let selector = Selector::parse(self.kind, &self.kind_cache.kind, &options.label_selector, &options.field_selector)?;
        check_match(options)?;
        if !options.continue_token.is_empty() {
            return self.next_page(options, &selector).await;
        }
        match show(options)? {
            Show::Newest => self.wait(newest(self.store).await?).await?,
            // The original does not cut what it has at hand.
            Show::Cached => return self.newest(0, &selector).await,
            Show::NotOlderThan(revision) => self.wait(revision).await?,
            Show::Exactly(revision) => {
                self.wait(revision).await?;
                return self.history(Some(revision), String::new(), options.limit, &selector).await;
            }
        }
        self.check_readable().await?;
        self.newest(options.limit, &selector).await
    }

    /// 500 where an object of the collection cannot be read: nothing is hidden.
    pub async fn check_readable(&self) -> Result<(), Status> {
        let (start, end) = self.bounds();
        match self.kind_cache.unreadable.first_in(&start, &end) {
            Some(key) => Err(failure::unreadable_in_list(self.store, &key).await),
            None => Ok(()),
        }
    }

    /// Waits until the cache shows `revision`.
    pub async fn wait(&self, revision: u64) -> Result<(), Status> {
        wait(self.cache, revision).await
    }

    /// The first page, from the cache.
    async fn newest(&self, limit: u64, selector: &Selector) -> Result<List, Status> {
        let (items, total, revision) = self.matching_as_served(selector).await?;
        let cut = usize::try_from(limit).unwrap_or(usize::MAX);
        if limit == 0 || items.len() <= cut {
            return self.page(items, revision, None, None).await;
        }
        let remaining = selector.is_everything().then(|| (total - cut) as i64);
        let next = self.next_start(&items[cut - 1]);
        self.page(items.into_iter().take(cut).collect(), revision, Some(next), remaining).await
    }

    /// As [`Lister::matching`]; where a webhook converts objects, it is the converted ones that are asked.
    async fn matching_as_served(&self, selector: &Selector) -> Result<(Vec<Arc<Item>>, usize, u64), Status> {
        if !convert::may_ask(self.kind) || selector.is_everything() {
            return Ok(self.matching(selector));
        }
        let (items, _, revision) = self.matching(&selector.of_any_version());
        let items = self.as_served(items, selector).await?;
        let total = items.len();
        Ok((items, total, revision))
    }

    /// Items that match once they are in the version that is served.
    async fn as_served(&self, items: Vec<Arc<Item>>, selector: &Selector) -> Result<Vec<Arc<Item>>, Status> {
        let mut items = if convert::may_ask(self.kind) { convert::items(self.cache, self.kind, items).await? } else { items };
        items.retain(|item| selector.matches(item));
        Ok(items)
    }

    /// Everything that matches, how many there are in all, and the revision that this is the state of.
    pub fn matching(&self, selector: &Selector) -> (Vec<Arc<Item>>, usize, u64) {
        let applied = self.cache.applied();
        let ring = self.kind_cache.read();
        let revision = applied.max(ring.revision());
        let everything = selector.is_everything();
        let wanted = |item: &Arc<Item>| everything || selector.matches(item);
        let items: Vec<Arc<Item>> =
            match (selector.name(), selector.own("spec.nodeName").filter(|node| self.kind_cache.on_node() && !node.is_empty())) {
                (Some(name), _) if !self.namespace.is_empty() || !self.kind.is_namespaced() => {
                    ring.get(&self.key(name)).filter(|item| wanted(item)).cloned().into_iter().collect()
                }
                (_, Some(node)) => {
                    let here = |item: &Arc<Item>| self.namespace.is_empty() || item.object.meta.namespace == self.namespace;
                    ring.on_node(node).map(|(_, item)| item).filter(|item| here(item) && wanted(item)).cloned().collect()
                }
                _ => {
                    let (start, end) = self.bounds();
                    ring.range(&start, &end).map(|(_, item)| item).filter(|item| wanted(item)).cloned().collect()
                }
            };
        let total = items.len();
        (items, total, revision)
    }

    async fn next_page(&self, options: &Options, selector: &Selector) -> Result<List, Status> {
        if !matches!(options.resource_version.as_deref(), None | Some("" | "0")) {
            return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
        }
        let token = Continue::parse(&options.continue_token)?;
        let limit = if options.resource_version.as_deref() == Some("0") { 0 } else { options.limit };
        match self.history(token.revision, token.start.clone(), limit, selector).await {
            Err(status) if status.is_expired() => Err(expired_token(&token)),
            other => other,
        }
    }

    /// A page out of the store's history, at `revision` (None: now), from the key `start` below the list's prefix.
    async fn history(&self, revision: Option<u64>, start: String, limit: u64, selector: &Selector) -> Result<List, Status> {
        let (prefix, end) = self.bounds();
        let everything = selector.is_everything();
        let cut = if limit == 0 { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) };
        let (mut from, mut at) = (format!("{prefix}{start}"), revision.map(Revision));
        let mut items: Vec<Arc<Item>> = Vec::new();
        loop {
            let wanted = match (limit, everything) {
                (0, _) => 0,
                (_, true) => cut - items.len(),
                (_, false) => HISTORY_PAGE,
            };
            let range = self.store.range(&from, &end, at, wanted).await.map_err(|error| failure::of_store(&error))?;
            let last = range.entries.last().map(|entry| format!("{}\0", entry.key));
            let mut parsed = Vec::with_capacity(range.entries.len());
            for entry in range.entries {
                let Ok(item) = Item::parse(entry.value, self.kind_cache.on_node()) else {
                    return Err(failure::unreadable_in_list(self.store, &entry.key).await);
                };
                parsed.push(item);
            }
            items.extend(if everything { parsed } else { self.as_served(parsed, selector).await? });
            let surplus = items.len().saturating_sub(cut);
            let exhausted = range.remaining == 0;
            if surplus == 0 && !exhausted && !(everything && items.len() == cut) {
                (from, at) = (last.unwrap_or(from), Some(range.revision));
                continue; // without more matches nobody knows whether there is a next page
            }
            items.truncate(cut);
            let next = if surplus > 0 || !exhausted { items.last().map(|item| self.next_start(item)) } else { None };
            let remaining = i64::try_from(range.remaining).ok().filter(|_| everything && next.is_some());
            return self.page(items, range.revision.0, next, remaining).await;
        }
    }

    async fn page(&self, items: Vec<Arc<Item>>, revision: u64, next: Option<String>, remaining: Option<i64>) -> Result<List, Status> {
        let continue_token = next.map(|start| Continue { revision: Some(revision), start }.encode()).unwrap_or_default();
        let items = convert::objects(self.cache, self.kind, items).await?;
        Ok(List { items, resource_version: revision.to_string(), continue_token, remaining })
    }

    /// The key after `item`, below the list's prefix.
    fn next_start(&self, item: &Item) -> String {
        let meta = &item.object.meta;
        if self.namespace.is_empty() { format!("{}\0", meta.key()) } else { format!("{}\0", meta.name) }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.bounds().0)
    }

    /// Keys of the collection: `[start, end)`.
    pub fn bounds(&self) -> (String, String) {
        bounds(&self.kind.storage_prefix, self.namespace)
    }
}

/// Keys of a kind's collection in one namespace (`""`: in all of them): `[start, end)`.
pub fn bounds(prefix: &str, namespace: &str) -> (String, String) {
    let start = if namespace.is_empty() { prefix.to_owned() } else { format!("{prefix}{namespace}/") };
    let end = format!("{}0", start.strip_suffix('/').unwrap_or(&start)); // '0' follows '/'
    (start, end)
}

/// The store's revision now, whoever wrote it.
pub async fn newest(store: &dyn Store) -> Result<u64, Status> {
    store.current().await.map(|revision| revision.0).map_err(|error| failure::of_store(&error))
}

/// Waits until the cache shows `revision`; 504 when that takes too long.
pub async fn wait(cache: &Cache, revision: u64) -> Result<(), Status> {
    if cache.applied() >= revision {
        return Ok(());
    }
    match tokio::time::timeout(FRESHNESS_TIMEOUT, cache.wait(revision)).await {
        Ok(reached) => reached.map_err(|error: StoreError| failure::of_store(&error)),
        Err(_) => Err(failure::too_large_version(revision, cache.applied())),
    }
}

/// Parses a resourceVersion that must be a revision.
pub fn revision(text: &str) -> Result<u64, String> {
    let why = if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() { "value out of range" } else { "invalid syntax" };
    text.parse().map_err(|_| format!("strconv.ParseUint: parsing {text:?}: {why}"))
}

fn show(options: &Options) -> Result<Show, Status> {
    let exact = options.resource_version_match == "Exact";
    let text = match options.resource_version.as_deref() {
        None | Some("") => return Ok(Show::Newest),
        Some("0") => return Ok(Show::Cached),
        Some(text) => text,
    };
    let revision = revision(text)
        .map_err(|why| Status::bad_request(format!("invalid resource version: resourceVersion: Invalid value: {text:?}: {why}")))?;
    let pinned = exact || (options.limit > 0 && options.resource_version_match.is_empty());
    Ok(if pinned { Show::Exactly(revision) } else { Show::NotOlderThan(revision) })
}

/// 422 for combinations of resourceVersion and resourceVersionMatch that mean nothing.
fn check_match(options: &Options) -> Result<(), Status> {
    let path = Path::new("resourceVersionMatch");
    let mut errors = FieldErrors::default();
    let version = options.resource_version.as_deref().unwrap_or_default();
    match options.resource_version_match.as_str() {
        "" => {}
        _ if version.is_empty() => errors.forbidden(&path, "resourceVersionMatch is forbidden unless resourceVersion is provided"),
        _ if !options.continue_token.is_empty() => errors.forbidden(&path, "resourceVersionMatch is forbidden when continue is provided"),
        "Exact" if version == "0" => errors.forbidden(&path, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""),
        "Exact" | "NotOlderThan" => {}
        other => {
            let message = format!("Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\", \"\"");
            errors.add(&path, Reason::NotSupported, message);
        }
    }
    if options.send_initial_events.is_some() {
        errors.forbidden(&Path::new("sendInitialEvents"), "sendInitialEvents is forbidden for list");
    }
    if errors.is_empty() { Ok(()) } else { Err(failure::invalid_options("ListOptions", &errors)) }
}

fn expired_token(token: &Continue) -> Status {
    let mut status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the \
         continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with \
         the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the \
         first chunk was returned and now may show up in the list.",
    );
    status.metadata.continue_token = Continue { revision: None, start: token.start.clone() }.encode();
    status
}
