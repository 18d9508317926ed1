//! Volumes that remember what they should hold.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;

use crate::{Error, ErrorKind, Result, Volume, VolumeContent, VolumeSpec, Volumes};

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct FakeVolumes(Arc<Mutex<BTreeMap<(String, String), VolumeSpec>>>);

impl FakeVolumes {
    pub fn new() -> Self {
        Self::default()
    }

    /// What a volume was last told to hold.
    pub fn spec(&self, pod_uid: &str, name: &str) -> Option<VolumeSpec> {
        self.lock().get(&(pod_uid.into(), name.into())).cloned()
    }

    /// The text of a file in it.
    pub fn text(&self, pod_uid: &str, name: &str, path: &str) -> Option<String> {
        let VolumeContent::Files { files, .. } = self.spec(pod_uid, name)?.content else { return None };
        let file = files.into_iter().find(|file| file.path.as_os_str() == path)?;
        Some(String::from_utf8_lossy(&file.content).into_owned())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), VolumeSpec>> {
        self.0.lock().expect("no holder of the fake's state panics")
    }
}

fn volume(spec: &VolumeSpec) -> Volume {
    let path = match &spec.content {
        VolumeContent::HostPath { path, .. } => path.clone(),
        _ => PathBuf::from("/fake/volumes").join(&spec.pod_uid).join(&spec.name),
    };
    Volume { pod_uid: spec.pod_uid.clone(), name: spec.name.clone(), path }
}

#[async_trait]
impl Volumes for FakeVolumes {
    async fn ensure(&self, spec: &VolumeSpec) -> Result<Volume> {
        for name in [&spec.pod_uid, &spec.name] {
            if name.is_empty() || name.starts_with('.') || name.contains('/') {
                return Err(Error::new(ErrorKind::Invalid, format!("{name:?} cannot name a folder")));
            }
        }
        self.lock().insert((spec.pod_uid.clone(), spec.name.clone()), spec.clone());
        Ok(volume(spec))
    }

    async fn remove_pod(&self, pod_uid: &str) -> Result<()> {
        self.lock().retain(|(uid, _), _| uid != pod_uid);
        Ok(())
    }

    async fn observe(&self) -> Result<Vec<Volume>> {
        Ok(self.lock().values().map(volume).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn passes_the_suite() {
        crate::volumes_suite::run(&FakeVolumes::new()).await;
    }
}
