//! Who answers a [`Request`].

use async_trait::async_trait;
use schema::Status;

use crate::{Answer, Request};

/// One identity's way to the API. Implemented by the API server's core (bound to a user) and by HTTPS.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    async fn call(&self, request: Request) -> Result<Answer, Status>;
}
