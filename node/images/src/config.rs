//! The image configuration of OCI and docker, and the part of it that we keep.

use std::collections::BTreeMap;

use contract::{ImageConfig, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ingest::Hex;
use crate::tarball::invalid;

/// The document whose digest is the image's id.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct ConfigFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default, deserialize_with = "null_is_default")]
    config: RunConfig,
    rootfs: RootFs,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
struct RunConfig {
    #[serde(deserialize_with = "null_is_default")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "null_is_default")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "null_is_default")]
    env: Vec<String>,
    #[serde(deserialize_with = "null_is_default")]
    working_dir: String,
    #[serde(deserialize_with = "null_is_default")]
    user: String,
    #[serde(deserialize_with = "null_is_default")]
    stop_signal: String,
    #[serde(deserialize_with = "null_is_default")]
    volumes: Map<String, Value>,
    #[serde(deserialize_with = "null_is_default")]
    exposed_ports: Map<String, Value>,
    #[serde(deserialize_with = "null_is_default")]
    labels: BTreeMap<String, String>,
}

/// docker writes null for what is empty.
fn null_is_default<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl ConfigFile {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|error| invalid(format!("the image configuration does not read: {error}")))
    }

    /// For an image put together here. `created`: Unix seconds.
    pub(crate) fn new(config: &ImageConfig, layers: &[Hex], created: i64) -> Self {
        let keys = |names: &[String]| names.iter().map(|name| (name.clone(), Value::Object(Map::new()))).collect();
        let run = RunConfig {
            entrypoint: config.entrypoint.clone(),
            cmd: config.cmd.clone(),
            env: config.env.clone(),
            working_dir: config.working_dir.clone(),
            user: config.user.clone(),
            stop_signal: config.stop_signal.clone(),
            volumes: keys(&config.volumes),
            exposed_ports: keys(&config.exposed_ports),
            labels: config.labels.clone(),
        };
        let created = jiff::Timestamp::from_second(created).ok().map(|time| time.to_string());
        let rootfs = RootFs { kind: "layers".into(), diff_ids: layers.iter().map(Hex::digest).collect() };
        Self { created, architecture: architecture().into(), os: "linux".into(), config: run, rootfs }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a configuration is always valid JSON")
    }

    /// Digests of the plain layers, bottom first.
    pub(crate) fn layers(&self) -> Result<Vec<Hex>> {
        self.rootfs.diff_ids.iter().map(|digest| Hex::parse(digest)).collect()
    }

    /// Unix seconds; 0 if it does not say.
    pub(crate) fn created(&self) -> i64 {
        self.created.as_ref().and_then(|time| time.parse::<jiff::Timestamp>().ok()).map_or(0, |time| time.as_second())
    }

    /// Why it cannot run here.
    pub(crate) fn check_platform(&self) -> Result<()> {
        let (os, arch) = (self.os.as_str(), self.architecture.as_str());
        if (os.is_empty() || os == "linux") && (arch.is_empty() || arch == architecture()) {
            return Ok(());
        }
        Err(invalid(format!("the image is for {os}/{arch}, this node is linux/{}", architecture())))
    }

    pub(crate) fn run_config(&self) -> ImageConfig {
        let RunConfig { entrypoint, cmd, env, working_dir, user, stop_signal, volumes, exposed_ports, labels } = self.config.clone();
        let keys = |map: Map<String, Value>| map.into_iter().map(|(key, _)| key).collect();
        ImageConfig {
            entrypoint,
            cmd,
            env,
            working_dir,
            user,
            stop_signal,
            volumes: keys(volumes),
            exposed_ports: keys(exposed_ports),
            labels,
        }
    }
}

/// As images name it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_writes_is_read() {
        let text = br#"{"architecture":"amd64","os":"linux","created":"2024-05-06T07:08:09.123Z","config":{"Entrypoint":null,
            "Cmd":["sh"],"Env":["A=b"],"Volumes":{"/data":{}},"ExposedPorts":{"80/tcp":{}},"Labels":null,"OnBuild":null},
            "history":[],"rootfs":{"type":"layers","diff_ids":["sha256:0000000000000000000000000000000000000000000000000000000000000000"]}}"#;
        let file = ConfigFile::parse(text).unwrap();
        let config = file.run_config();
        assert_eq!((config.cmd, config.volumes, config.exposed_ports), (vec!["sh".into()], vec!["/data".into()], vec!["80/tcp".into()]));
        assert_eq!((file.created(), file.layers().unwrap().len()), (1_714_979_289, 1));
    }

    #[test]
    fn our_own_reads_back() {
        let config =
            ImageConfig { entrypoint: vec!["/x".into()], volumes: vec!["/v".into()], working_dir: "/w".into(), ..ImageConfig::default() };
        let layer = Hex::of(b"x");
        let file = ConfigFile::new(&config, std::slice::from_ref(&layer), 42);
        let back = ConfigFile::parse(&file.encode()).unwrap();
        assert_eq!((back.run_config(), back.layers().unwrap(), back.created()), (config, vec![layer], 42));
        back.check_platform().unwrap();
    }
}
