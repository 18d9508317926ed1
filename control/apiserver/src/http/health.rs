//! `/healthz`, `/livez`, `/readyz`: named checks, each also under a path of its own.

use std::pin::Pin;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use store::Store;

use super::answer::{Answer, not_found, text};
use super::query::Query;

/// Err says what is wrong; only who may read `?verbose` sees it.
type Probe = Arc<dyn Fn() -> Outcome + Send + Sync>;
type Outcome = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// How long the store may take to say which revision is newest: upstream's.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// The checks; more can be added while the server runs.
#[derive(Default)]
pub struct Health {
    checks: RwLock<Vec<Check>>,
}

#[derive(Clone)]
struct Check {
    name: String,
    /// Part of `/livez` too: a failure of it is healed by a restart.
    live: bool,
    probe: Probe,
}

impl Health {
    /// Something that must hold before we are ready.
    pub fn ready(&self, name: &str, probe: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.add(name, false, at_once(probe));
    }

    /// Something without which only a restart helps.
    pub fn live(&self, name: &str, probe: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.add(name, true, at_once(probe));
    }

    /// Upstream's two names for a store that answers, whichever it is.
    pub fn store(&self, store: &Arc<dyn Store>) {
        for (name, live) in [("etcd", true), ("etcd-readiness", false)] {
            let store = Arc::clone(store);
            self.add(name, live, Arc::new(move || Box::pin(answers(Arc::clone(&store)))));
        }
    }

    fn add(&self, name: &str, live: bool, probe: Probe) {
        self.checks.write().expect("no holder of the checks panics").push(Check { name: name.to_owned(), live, probe });
    }

    /// None: another path.
    pub(crate) async fn answer(&self, path: &str, query: &Query) -> Option<Answer> {
        let mut parts = path.strip_prefix('/')?.splitn(2, '/');
        let (kind, name) = (parts.next()?, parts.next().unwrap_or_default());
        let checks = self.checks_of(kind)?;
        if !name.is_empty() {
            let Some(check) = checks.iter().find(|check| check.name == name) else { return Some(not_found()) };
            return Some(match (check.probe)().await {
                Ok(()) => text(200, "ok"),
                Err(why) => text(500, format!("internal server error: {why}\n")),
            });
        }
        let excluded: Vec<&str> = query.all("exclude").collect();
        Some(report(kind, &checks, &excluded, query.get("verbose").is_some()).await)
    }

    fn checks_of(&self, kind: &str) -> Option<Vec<Check>> {
        let all = self.checks.read().expect("no holder of the checks panics").clone();
        let own = ["ping", "log"].map(|name| Check { name: name.to_owned(), live: true, probe: at_once(|| Ok(())) });
        let all = own.into_iter().chain(all);
        match kind {
            "livez" | "healthz" => Some(all.filter(|check| check.live).collect()),
            "readyz" => Some(all.collect()),
            _ => None,
        }
    }
}

fn at_once(probe: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Probe {
    Arc::new(move || Box::pin(std::future::ready(probe())))
}

async fn answers(store: Arc<dyn Store>) -> Result<(), String> {
    match tokio::time::timeout(STORE_TIMEOUT, store.current()).await {
        Ok(newest) => newest.map(drop).map_err(|error| error.to_string()),
        Err(_) => Err(format!("error getting data from etcd: context deadline exceeded: no answer within {STORE_TIMEOUT:?}")),
    }
}

async fn report(kind: &str, checks: &[Check], excluded: &[&str], verbose: bool) -> Answer {
    let mut lines = String::new();
    let mut failed = Vec::new();
    for check in checks {
        let name = &check.name;
        if excluded.contains(&name.as_str()) {
            lines.push_str(&format!("[+]{name} excluded: ok\n"));
            continue;
        }
        match (check.probe)().await {
            Ok(()) => lines.push_str(&format!("[+]{name} ok\n")),
            Err(why) => {
                tracing::warn!(check = %name, %why, "health check failed");
                failed.push(name.as_str());
                // The reason may tell too much to who is not known.
                lines.push_str(&format!("[-]{name} failed: reason withheld\n"));
            }
        }
    }
    for unknown in excluded.iter().filter(|name| !checks.iter().any(|check| check.name == **name)) {
        lines.push_str(&format!("warn: some health checks cannot be excluded: no matches for {unknown:?}\n"));
    }
    match failed.is_empty() {
        true if verbose => text(200, format!("{lines}{kind} check passed\n")),
        true => text(200, "ok"),
        false => text(500, format!("{lines}{kind} check failed\n")),
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn ask(health: &Health, path: &str, query: &str) -> Option<(u16, String)> {
        let answer = health.answer(path, &Query::parse(query)).await?;
        let code = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        Some((code, String::from_utf8(bytes.to_vec()).unwrap()))
    }

    #[tokio::test]
    async fn readiness_and_life_are_two_things() {
        let health = Health::default();
        health.live("store", || Ok(()));
        health.ready("informers", || Err("syncing".into()));
        assert_eq!(ask(&health, "/livez", "").await, Some((200, "ok".into())));
        let (code, text) = ask(&health, "/readyz", "").await.unwrap();
        assert_eq!(
            (code, text.as_str()),
            (500, "[+]ping ok\n[+]log ok\n[+]store ok\n[-]informers failed: reason withheld\nreadyz check failed\n")
        );
        assert_eq!(ask(&health, "/readyz", "exclude=informers").await.unwrap().0, 200);
        assert_eq!(ask(&health, "/livez/ping", "").await, Some((200, "ok".into())));
        assert_eq!(ask(&health, "/livez/nope", "").await.unwrap().0, 404);
        assert_eq!(ask(&health, "/other", "").await, None);
        assert_eq!(ask(&health, "/livez", "verbose").await.unwrap().1, "[+]ping ok\n[+]log ok\n[+]store ok\nlivez check passed\n");
    }
}
