//! All the sorts of bearer tokens that a cluster knows, one after the other: service accounts, bootstrap tokens, a static file.
//! A request's token and a TokenReview's are looked at by the same list.

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;

use crate::seam::{TokenReviewer, UserInfo};

/// The first that knows a token decides. More can be added while the server runs.
#[derive(Default)]
pub struct Reviewers(ArcSwap<Vec<Arc<dyn TokenReviewer>>>);

impl Reviewers {
    pub fn new(reviewers: Vec<Arc<dyn TokenReviewer>>) -> Arc<Self> {
        Arc::new(Self(ArcSwap::from_pointee(reviewers)))
    }

    /// Asked after those that are there.
    pub fn add(&self, reviewer: Arc<dyn TokenReviewer>) {
        self.0.rcu(|held| held.iter().cloned().chain([Arc::clone(&reviewer)]).collect::<Vec<_>>());
    }
}

#[async_trait]
impl TokenReviewer for Reviewers {
    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<(Arc<UserInfo>, Vec<String>)>, String> {
        let reviewers = self.0.load_full();
        let mut faults = Vec::new();
        for reviewer in reviewers.iter() {
            match reviewer.review(token, audiences).await {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(why) => faults.push(why),
            }
        }
        if faults.is_empty() { Ok(None) } else { Err(faults.join(", ")) }
    }
}

/// The audiences of a token that says none: it is for this server, whose audiences are `own`. None: for nobody who asks.
pub(crate) fn own_audience(own: &[String], wanted: &[String]) -> Option<Vec<String>> {
    let shared: Vec<String> = own.iter().filter(|one| wanted.is_empty() || wanted.contains(one)).cloned().collect();
    (!shared.is_empty()).then_some(shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Knows(&'static str, Result<(), &'static str>);

    #[async_trait]
    impl TokenReviewer for Knows {
        async fn review(&self, token: &str, _: &[String]) -> Result<Option<(Arc<UserInfo>, Vec<String>)>, String> {
            if token != self.0 {
                return Ok(None);
            }
            self.1.map_err(str::to_owned)?;
            Ok(Some((Arc::new(UserInfo::new(self.0, &[])), Vec::new())))
        }
    }

    #[tokio::test]
    async fn the_first_that_knows_a_token_decides() {
        let all = Reviewers::new(vec![Arc::new(Knows("a", Err("expired"))), Arc::new(Knows("b", Ok(())))]);
        assert_eq!(all.review("b", &[]).await.unwrap().unwrap().0.name, "b");
        assert_eq!(all.review("a", &[]).await, Err("expired".into()));
        assert_eq!(all.review("c", &[]).await, Ok(None));
        all.add(Arc::new(Knows("c", Ok(()))));
        assert!(all.review("c", &[]).await.unwrap().is_some());
    }
}
