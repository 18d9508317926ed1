//! For this crate's tests.

use std::future::Future;

#[expect(clippy::disallowed_methods, reason = "these tests have no environment to spawn on")]
pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
    tokio::spawn(future)
}
