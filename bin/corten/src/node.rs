//! The process `node`: agent and its API, images, volumes, network, services, DNS. Root, because the kernel asks for it.
//!
//! It speaks to the API server over TLS as `system:node:<name>`, also on the same machine, and may die at any line:
//! everything is read again from the kernel, the keeper and the API.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use auth::pki::Identity;
use cli::Failure;
use stdx::Instance;

use crate::host::write_secret;

/// This machine's name as a node's: its host name in lower case.
pub fn name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let good: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '-' }).collect();
    let trimmed = good.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if trimmed.is_empty() { "node".into() } else { trimmed.to_owned() }
}

/// What a node needs to speak and to be spoken to.
pub struct Keys {
    /// PEM of the cluster's authority.
    pub ca: String,
    pub client: Identity,
    pub server: Identity,
}

const FILES: [&str; 5] = ["ca.crt", "client.crt", "client.key", "server.crt", "server.key"];

impl Keys {
    fn paths(instance: &Instance) -> [PathBuf; 5] {
        FILES.map(|name| instance.node_dir().join("pki").join(name))
    }

    pub fn write(&self, instance: &Instance) -> Result<(), Failure> {
        let folder = instance.node_dir().join("pki");
        fs::create_dir_all(&folder).map_err(|error| Failure::io(&folder, error))?;
        let texts = [&self.ca, &self.client.certificate, &self.client.key, &self.server.certificate, &self.server.key];
        for (path, text) in Self::paths(instance).iter().zip(texts) {
            write_secret(path, text)?;
        }
        Ok(())
    }

    pub fn read(instance: &Instance) -> anyhow::Result<Self> {
        let mut texts = Vec::new();
        for path in Self::paths(instance) {
            texts.push(fs::read_to_string(&path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?);
        }
        let [ca, client, client_key, server, server_key] = texts.try_into().expect("as many as there are paths");
        Ok(Self { ca, client: Identity { certificate: client, key: client_key }, server: Identity { certificate: server, key: server_key } })
    }
}

pub async fn run(instance: Instance) -> anyhow::Result<()> {
    let _ = (Keys::read(&instance)?, Arc::new(()));
    std::future::pending().await
}
