//! The node's side: [`contract::Runtime`] over the keeper.

use std::sync::Arc;

use contract::{Error, ErrorKind, Result};
use env::Env;
use stdx::instance::Instance;

/// Sandboxes, logs and state of containers; the keeper itself only forks, waits and holds descriptors.
pub struct Driver {
    _env: Env,
}

impl Driver {
    /// Connects to the keeper of the instance and takes up the containers it finds. Starts a new keeper when the old
    /// one dies later on.
    pub async fn connect(instance: &Instance, env: &Env) -> Result<Arc<Self>> {
        let _ = env;
        Err(Error::new(ErrorKind::Unsupported, format!("no keeper for {}", instance.name)))
    }
}
