//! What an operator may set of the API server: the file `apiserver.yaml` in the folder of `control` (`<root>/control`). Its words are
//! those of kube-apiserver's flags, its file names are relative to the folder. No file, no settings; a word that we do not know is refused.
//!
//! ```yaml
//! audit-policy-file: policy.yaml      # audit.k8s.io/v1 Policy
//! audit-log-path: audit.log
//! audit-log-maxsize: 100              # megabytes before a file is set aside
//! audit-log-maxbackup: 10             # files set aside that are kept; 0 keeps all
//! audit-log-maxage: 30                # days
//! audit-webhook-config-file: audit.kubeconfig     # a program that events go to (settings/audit.rs has more)
//! cors-allowed-origins: ["https://*.example.com"]
//! token-auth-file: tokens.csv         # token,user,uid,"group,group"
//! requestheader-client-ca-file: front-proxy-ca.crt
//! requestheader-allowed-names: [front-proxy-client]
//! encryption-provider-config: encryption.yaml         # apiserver.config.k8s.io/v1 EncryptionConfiguration
//! encryption-provider-config-automatic-reload: true   # take the file again whenever it changes; else at the next start
//! anonymous-auth: true
//! authentication-config: authentication.yaml      # AuthenticationConfiguration; read again when it changes (settings/identity.rs has more)
//! authorization-config: authorization.yaml        # AuthorizationConfiguration; the same
//! anonymous-paths: [/livez, /readyz, /healthz]   # where anonymous requests are let in; left out: everywhere that RBAC allows
//! ```

mod audit;
mod identity;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use env::Env;
use serde::Deserialize;
use store::Store;

use crate::encryption::{Encrypted, reload};
use crate::http::Options;
use crate::http::cors::Cors;

/// The file's name.
pub const FILE: &str = "apiserver.yaml";
const MEGABYTE: u64 = 1 << 20;
/// Before a log is set aside, where nobody says.
const LOG_MEGABYTES: u64 = 100;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The file, parsed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    audit_policy_file: Option<PathBuf>,
    audit_log_path: Option<PathBuf>,
    audit_log_maxsize: Option<u64>,
    audit_log_maxbackup: usize,
    audit_log_maxage: u32,
    audit_webhook_config_file: Option<PathBuf>,
    audit_webhook_mode: Option<String>,
    audit_webhook_version: Option<String>,
    audit_webhook_initial_backoff: Option<String>,
    audit_webhook_batch_buffer_size: Option<usize>,
    audit_webhook_batch_max_size: Option<usize>,
    audit_webhook_batch_max_wait: Option<String>,
    audit_webhook_batch_throttle_enable: Option<bool>,
    audit_webhook_batch_throttle_qps: Option<f32>,
    audit_webhook_batch_throttle_burst: Option<u32>,
    audit_webhook_truncate_enabled: Option<bool>,
    audit_webhook_truncate_max_batch_size: Option<usize>,
    audit_webhook_truncate_max_event_size: Option<usize>,
    cors_allowed_origins: Vec<String>,
    token_auth_file: Option<PathBuf>,
    requestheader_client_ca_file: Option<PathBuf>,
    requestheader_allowed_names: Vec<String>,
    encryption_provider_config: Option<PathBuf>,
    encryption_provider_config_automatic_reload: bool,
    anonymous_auth: Option<bool>,
    anonymous_paths: Option<Vec<String>>,
    authentication_config: Option<PathBuf>,
    authentication_token_webhook_config_file: Option<PathBuf>,
    authentication_token_webhook_version: Option<String>,
    authentication_token_webhook_cache_ttl: Option<String>,
    authorization_config: Option<PathBuf>,
    authorization_mode: Option<Vec<String>>,
    authorization_webhook_config_file: Option<PathBuf>,
    authorization_webhook_version: Option<String>,
    authorization_webhook_cache_authorized_ttl: Option<String>,
    authorization_webhook_cache_unauthorized_ttl: Option<String>,
    oidc_issuer_url: Option<String>,
    oidc_client_id: Option<String>,
    oidc_username_claim: Option<String>,
    oidc_username_prefix: Option<String>,
    oidc_groups_claim: Option<String>,
    oidc_groups_prefix: Option<String>,
    oidc_required_claim: Option<Vec<String>>,
    oidc_ca_file: Option<PathBuf>,
    oidc_signing_algs: Option<Vec<String>>,
    service_account_issuer: Option<Vec<String>>,
    service_account_key_file: Option<Vec<PathBuf>>,
    service_account_signing_key_file: Option<PathBuf>,
    service_account_jwks_uri: Option<String>,
    service_account_max_token_expiration: Option<String>,
    service_account_extend_token_expiration: Option<bool>,
    api_audiences: Option<Vec<String>>,
    #[serde(skip)]
    folder: PathBuf,
}

impl Settings {
    /// Those in `folder`; the usual ones where there is no file. Err names the file.
    pub fn load(folder: &Path) -> Result<Self, String> {
        let path = folder.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let settings = Self::parse(&text).map_err(|why| format!("{}: {why}", path.display()))?;
        Ok(Self { folder: folder.to_owned(), ..settings })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let settings: Self =
            if text.trim().is_empty() { Self::default() } else { serde_saphyr::from_str(text).map_err(|error| error.to_string())? };
        let is_told = settings.audit_log_path.is_some() || settings.audit_webhook_config_file.is_some();
        match &settings.audit_policy_file {
            Some(_) if !is_told => Err("audit-policy-file without audit-log-path: nothing would be written; set both".into()),
            None if settings.audit_log_path.is_some() => {
                Err("audit-log-path without audit-policy-file: nothing would be logged; set both".into())
            }
            None if is_told => Err("audit-webhook-config-file without audit-policy-file: nothing would be told; set both".into()),
            _ if settings.encryption_provider_config_automatic_reload && settings.encryption_provider_config.is_none() => {
                Err("encryption-provider-config-automatic-reload without encryption-provider-config: there is no file; set both".into())
            }
            _ if settings.audit_log_maxsize == Some(0) => Err("audit-log-maxsize must be 1 or more".into()),
            _ if !settings.requestheader_allowed_names.is_empty() && settings.requestheader_client_ca_file.is_none() => {
                Err("requestheader-allowed-names without requestheader-client-ca-file: nobody could be believed; set both".into())
            }
            _ => settings.check_identity().map(|()| settings),
        }
    }

    /// `store`, encrypted as the settings say. Call it within the runtime.
    pub fn store(&self, store: Arc<dyn Store>, env: &Env) -> Result<Arc<dyn Store>, String> {
        let Some(path) = &self.encryption_provider_config else { return Ok(store) };
        let path = self.folder.join(path);
        let (text, encryption) = reload::read(&path)?;
        let encrypted = Encrypted::new(store, encryption);
        if self.encryption_provider_config_automatic_reload {
            let failed = |error| format!("{} cannot be watched: {error}", path.display());
            reload::follow(env, path.clone(), text, Arc::clone(&encrypted)).map_err(failed)?;
        }
        Ok(encrypted)
    }

    /// What the HTTP face may do without; opens the audit log.
    pub fn options(&self, env: &Env) -> Result<Options, String> {
        let audit = self.audit_policy_file.as_deref().map(|policy| self.audit(env, policy)).transpose()?;
        Ok(Options { audit, cors: Cors::new(self.cors_allowed_origins.clone()) })
    }

    fn read(&self, path: &Path) -> Result<(String, String), String> {
        let path = self.folder.join(path);
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{name}: {error}"))?;
        Ok((name, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_means_the_usual_and_a_wrong_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Settings::load(dir.path()), Ok(Settings::default()));
        for (text, want) in [
            ("audit-log-path: a.log", "audit-log-path without audit-policy-file"),
            ("audit-policy-file: p.yaml", "audit-policy-file without audit-log-path"),
            ("audit-log-file: a.log", "audit-log-file"),
            ("requestheader-allowed-names: [x]", "requestheader-allowed-names without"),
        ] {
            std::fs::write(dir.path().join(FILE), text).unwrap();
            let why = Settings::load(dir.path()).unwrap_err();
            assert!(why.contains("apiserver.yaml: ") && why.contains(want), "{why}");
        }
    }

    #[tokio::test]
    async fn what_the_settings_name_is_opened() {
        let (dir, env) = (tempfile::tempdir().unwrap(), Env::real());
        let text = "audit-policy-file: policy.yaml\naudit-log-path: audit.log\naudit-log-maxage: 2\ncors-allowed-origins: ['https://a']\n";
        std::fs::write(dir.path().join(FILE), text).unwrap();
        let settings = Settings::load(dir.path()).unwrap();
        assert!(settings.options(&env).err().unwrap().contains("policy.yaml"));
        std::fs::write(dir.path().join("policy.yaml"), "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n").unwrap();
        assert!(settings.options(&env).unwrap().audit.is_some());
        assert!(dir.path().join("audit.log").exists());
    }
}
