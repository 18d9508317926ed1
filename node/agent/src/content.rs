//! What a pod's volumes hold: references become files, ready for the volume driver.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use contract::{VolumeContent, VolumeFile, VolumeMedium, VolumeSpec};
use jiff::Timestamp;
use kinds::core::{
    ConfigMapProjection, DownwardApiVolumeFile, KeyToPath, Pod, SecretProjection, ServiceAccountTokenProjection, Volume, VolumeProjection,
};
use schema::Quantity;

use crate::downward::{self, Surroundings};
use crate::environment::{Contents, Objects, RefKind, contents};

const DEFAULT_MODE: i32 = 0o644;

/// A bound token and when it must be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub text: String,
    pub renew_at: Timestamp,
}

/// Where bound service account tokens come from.
#[async_trait]
pub(crate) trait Tokens: Send + Sync {
    async fn token(&self, pod: &Pod, audience: &str, lifetime: Duration) -> Result<Token, String>;
}

/// A volume ready for the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub spec: VolumeSpec,
    /// When its tokens must be renewed.
    pub renew_at: Option<Timestamp>,
}

/// Reads everything that `volume` refers to.
pub(crate) async fn resolve(
    pod: &Pod,
    volume: &Volume,
    around: &Surroundings,
    objects: &dyn Objects,
    tokens: &dyn Tokens,
) -> Result<Resolved, String> {
    let fs_group = pod.spec.security_context.as_ref().and_then(|context| context.fs_group).and_then(|group| u32::try_from(group).ok());
    let mut reader = Reader { pod, around, objects, tokens, files: Vec::new(), renew_at: None, mode: DEFAULT_MODE };
    let content = reader.content(volume).await?;
    let spec = VolumeSpec { pod_uid: pod.metadata.uid.clone(), name: volume.name.clone(), content, fs_group };
    Ok(Resolved { spec, renew_at: reader.renew_at })
}

/// Whether the volume's files can change while the pod runs.
pub(crate) fn is_dynamic(volume: &Volume) -> bool {
    volume.config_map.is_some() || volume.secret.is_some() || volume.downward_api.is_some() || volume.projected.is_some()
}

struct Reader<'a> {
    pod: &'a Pod,
    around: &'a Surroundings,
    objects: &'a dyn Objects,
    tokens: &'a dyn Tokens,
    files: Vec<VolumeFile>,
    renew_at: Option<Timestamp>,
    /// `defaultMode` of the volume.
    mode: i32,
}

impl Reader<'_> {
    async fn content(&mut self, volume: &Volume) -> Result<VolumeContent, String> {
        if let Some(dir) = &volume.empty_dir {
            let medium = if dir.medium == "Memory" { VolumeMedium::Memory } else { VolumeMedium::Disk };
            return Ok(VolumeContent::EmptyDir { medium, size_limit_bytes: size(dir.size_limit.as_ref())? });
        }
        if let Some(host) = &volume.host_path {
            return Ok(VolumeContent::HostPath { path: PathBuf::from(&host.path), kind: host.r#type.clone().unwrap_or_default() });
        }
        let mut medium = VolumeMedium::Memory;
        if let Some(map) = &volume.config_map {
            medium = VolumeMedium::Disk;
            self.mode = map.default_mode.unwrap_or(DEFAULT_MODE);
            self.keys(RefKind::ConfigMap, &map.name, &map.items, map.optional == Some(true)).await?;
        } else if let Some(secret) = &volume.secret {
            self.mode = secret.default_mode.unwrap_or(DEFAULT_MODE);
            self.keys(RefKind::Secret, &secret.secret_name, &secret.items, secret.optional == Some(true)).await?;
        } else if let Some(downward) = &volume.downward_api {
            self.mode = downward.default_mode.unwrap_or(DEFAULT_MODE);
            self.downward(&downward.items)?;
        } else if let Some(projected) = &volume.projected {
            self.mode = projected.default_mode.unwrap_or(DEFAULT_MODE);
            for source in &projected.sources {
                self.project(source).await?;
            }
        } else {
            medium = VolumeMedium::Disk;
            if crate::admission::unsupported_volume(volume).is_none() {
                // A volume without any source is an emptyDir.
                return Ok(VolumeContent::EmptyDir { medium, size_limit_bytes: None });
            }
            return Err(format!("volume {:?} has a source that this node cannot mount", volume.name));
        }
        Ok(VolumeContent::Files { files: std::mem::take(&mut self.files), medium })
    }

    async fn project(&mut self, source: &VolumeProjection) -> Result<(), String> {
        if let Some(SecretProjection { name, items, optional }) = &source.secret {
            self.keys(RefKind::Secret, name, items, *optional == Some(true)).await?;
        }
        if let Some(ConfigMapProjection { name, items, optional }) = &source.config_map {
            self.keys(RefKind::ConfigMap, name, items, *optional == Some(true)).await?;
        }
        if let Some(downward) = &source.downward_api {
            self.downward(&downward.items)?;
        }
        if let Some(token) = &source.service_account_token {
            self.token(token).await?;
        }
        Ok(())
    }

    async fn keys(&mut self, kind: RefKind, name: &str, items: &[KeyToPath], optional: bool) -> Result<(), String> {
        let found = contents(self.objects, kind, &self.pod.metadata.namespace, name).await?;
        match found {
            Some(contents) => self.take(kind, contents, items, optional),
            None if optional => Ok(()),
            None => Err(format!("{} {name:?} not found", kind.noun())),
        }
    }

    fn take(&mut self, kind: RefKind, contents: Contents, items: &[KeyToPath], optional: bool) -> Result<(), String> {
        if items.is_empty() {
            contents.into_iter().for_each(|(key, content)| self.file(&key, content, None));
            return Ok(());
        }
        for item in items {
            match contents.get(&item.key) {
                Some(content) => self.file(&item.path, content.clone(), item.mode),
                None if optional => {}
                None if kind == RefKind::ConfigMap => return Err(format!("configmap references non-existent config key: {}", item.key)),
                None => return Err(format!("references non-existent secret key: {}", item.key)),
            }
        }
        Ok(())
    }

    fn downward(&mut self, items: &[DownwardApiVolumeFile]) -> Result<(), String> {
        for item in items {
            let text = match (&item.field_ref, &item.resource_field_ref) {
                (Some(field), _) => downward::field(self.pod, &field.field_path, self.around)?,
                (None, Some(selector)) => downward::resource(self.pod, selector, "", self.around)?,
                (None, None) => return Err(format!("downward API item {:?} names no field", item.path)),
            };
            self.file(&item.path, text.into_bytes(), item.mode);
        }
        Ok(())
    }

    async fn token(&mut self, source: &ServiceAccountTokenProjection) -> Result<(), String> {
        let lifetime = Duration::from_secs(u64::try_from(source.expiration_seconds.unwrap_or(3600)).unwrap_or(3600));
        let token = self.tokens.token(self.pod, &source.audience, lifetime).await?;
        self.renew_at = Some(self.renew_at.map_or(token.renew_at, |at| at.min(token.renew_at)));
        // With an fsGroup the driver opens the file to the group and nobody else may read it.
        let has_group = self.pod.spec.security_context.as_ref().is_some_and(|context| context.fs_group.is_some());
        self.file(&source.path, token.text.into_bytes(), has_group.then_some(0o600));
        Ok(())
    }

    /// A later source wins over an earlier one at the same path.
    fn file(&mut self, path: &str, content: Vec<u8>, mode: Option<i32>) {
        let mode = u32::try_from(mode.unwrap_or(self.mode)).unwrap_or(0o644);
        let path = PathBuf::from(path);
        self.files.retain(|held| held.path != path);
        self.files.push(VolumeFile { path, content: content.into(), mode });
    }
}

fn size(limit: Option<&schema::Value>) -> Result<Option<u64>, String> {
    let Some(limit) = limit.filter(|limit| !limit.is_null()) else { return Ok(None) };
    let amount = Quantity::from_json(limit).map_err(|cause| format!("sizeLimit: {cause}"))?;
    Ok(u64::try_from(amount.value()).ok().filter(|bytes| *bytes > 0))
}
