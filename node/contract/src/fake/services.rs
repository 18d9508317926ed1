//! Services as a table.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;

use crate::{Result, ServiceSpec, Services};

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct FakeServices(Arc<Mutex<BTreeMap<(String, String), ServiceSpec>>>);

impl FakeServices {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<ServiceSpec> {
        self.lock().get(&(namespace.into(), name.into())).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), ServiceSpec>> {
        self.0.lock().expect("no holder of the fake's state panics")
    }
}

#[async_trait]
impl Services for FakeServices {
    async fn ensure(&self, service: ServiceSpec) -> Result<()> {
        self.lock().insert((service.namespace.clone(), service.name.clone()), service);
        Ok(())
    }

    async fn remove(&self, namespace: &str, name: &str) -> Result<()> {
        self.lock().remove(&(namespace.into(), name.into()));
        Ok(())
    }

    async fn replace(&self, services: Vec<ServiceSpec>) -> Result<()> {
        *self.lock() = services.into_iter().map(|service| ((service.namespace.clone(), service.name.clone()), service)).collect();
        Ok(())
    }
}
