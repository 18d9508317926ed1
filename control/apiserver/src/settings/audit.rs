//! Whom the audit log goes to. Words, defaults and bounds are those of kube-apiserver's flags.
//!
//! ```yaml
//! audit-webhook-config-file: audit.kubeconfig     # the program, and who we are to it
//! audit-webhook-mode: batch                       # blocking, blocking-strict
//! audit-webhook-initial-backoff: 10s
//! audit-webhook-batch-buffer-size: 10000          # events that may wait
//! audit-webhook-batch-max-size: 400
//! audit-webhook-batch-max-wait: 30s
//! audit-webhook-batch-throttle-enable: true
//! audit-webhook-batch-throttle-qps: 10
//! audit-webhook-batch-throttle-burst: 15
//! audit-webhook-truncate-enabled: false
//! audit-webhook-truncate-max-batch-size: 10485760
//! audit-webhook-truncate-max-event-size: 102400
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use auth::webhook::{Remote, kubeconfig};
use env::Env;
use schema::{Value, duration};

use super::{DAY, LOG_MEGABYTES, MEGABYTE, Settings};
use crate::http::audit::{Audit, LogConfig, Mode, Policy, Sink, Throttle, Truncate, WebhookConfig};
use crate::webhook::outside::Dialled;

/// How long one batch may take to be taken.
const TIMEOUT: Duration = Duration::from_secs(30);
const BATCH_BYTES: usize = 10 << 20;
const EVENT_BYTES: usize = 100 << 10;

/// A program that a kubeconfig names.
struct Program(Remote);

#[async_trait]
impl Sink for Program {
    async fn post(&self, list: Value) -> Result<(), String> {
        self.0.tell(list, TIMEOUT).await
    }
}

impl Settings {
    pub(super) fn audit(&self, env: &Env, policy: &Path) -> Result<Arc<Audit>, String> {
        let (name, text) = self.read(policy)?;
        let policy = Policy::parse(&text).map_err(|why| format!("audit policy {name}: {why}"))?;
        let mut audit = Audit::new(env, policy);
        if let Some(path) = &self.audit_log_path {
            audit = audit.with_log(LogConfig {
                path: self.folder.join(path),
                max_bytes: self.audit_log_maxsize.unwrap_or(LOG_MEGABYTES) * MEGABYTE,
                max_backups: self.audit_log_maxbackup,
                max_age: (self.audit_log_maxage > 0).then(|| DAY * self.audit_log_maxage),
            })?;
        }
        if let Some(path) = &self.audit_webhook_config_file {
            let config = self.audit_webhook()?;
            let remote = kubeconfig::load(&self.folder.join(path), &Dialled::new(env))?;
            audit = audit.with_webhook(config, Arc::new(Program(remote)));
        }
        Ok(Arc::new(audit))
    }

    /// The words of the webhook, checked.
    fn audit_webhook(&self) -> Result<WebhookConfig, String> {
        let usual = WebhookConfig::default();
        let version = self.audit_webhook_version.as_deref().unwrap_or("audit.k8s.io/v1");
        if version != "audit.k8s.io/v1" {
            return Err(format!("audit-webhook-version: invalid group version {version:?}, allowed versions are [\"audit.k8s.io/v1\"]"));
        }
        let mode = mode(self.audit_webhook_mode.as_deref())?;
        let config = WebhookConfig {
            mode,
            initial_backoff: time("audit-webhook-initial-backoff", self.audit_webhook_initial_backoff.as_deref(), usual.initial_backoff)?,
            buffer_size: self.audit_webhook_batch_buffer_size.unwrap_or(usual.buffer_size),
            batch_max_size: self.audit_webhook_batch_max_size.unwrap_or(usual.batch_max_size),
            batch_max_wait: time("audit-webhook-batch-max-wait", self.audit_webhook_batch_max_wait.as_deref(), usual.batch_max_wait)?,
            throttle: self.audit_webhook_throttle(usual.throttle),
            truncate: self.audit_webhook_truncate()?,
        };
        if mode == Mode::Batch {
            check(&config)?;
        }
        Ok(config)
    }

    fn audit_webhook_throttle(&self, usual: Option<Throttle>) -> Option<Throttle> {
        let usual = usual.filter(|_| self.audit_webhook_batch_throttle_enable.unwrap_or(true))?;
        Some(Throttle {
            qps: self.audit_webhook_batch_throttle_qps.map_or(usual.qps, f64::from),
            burst: self.audit_webhook_batch_throttle_burst.unwrap_or(usual.burst),
        })
    }

    fn audit_webhook_truncate(&self) -> Result<Option<Truncate>, String> {
        let truncate = Truncate {
            max_batch_bytes: self.audit_webhook_truncate_max_batch_size.unwrap_or(BATCH_BYTES),
            max_event_bytes: self.audit_webhook_truncate_max_event_size.unwrap_or(EVENT_BYTES),
        };
        if truncate.max_event_bytes == 0 {
            return Err("audit-webhook-truncate-max-event-size must be a positive number".into());
        }
        if truncate.max_batch_bytes < truncate.max_event_bytes {
            return Err("audit-webhook-truncate-max-batch-size must not be less than audit-webhook-truncate-max-event-size".into());
        }
        Ok(self.audit_webhook_truncate_enabled.unwrap_or(false).then_some(truncate))
    }
}

fn mode(text: Option<&str>) -> Result<Mode, String> {
    match text {
        None | Some("batch") => Ok(Mode::Batch),
        Some("blocking") => Ok(Mode::Blocking),
        Some("blocking-strict") => Ok(Mode::BlockingStrict),
        Some(other) => Err(format!("audit-webhook-mode: invalid mode {other:?}, allowed modes are batch, blocking, blocking-strict")),
    }
}

fn time(word: &str, text: Option<&str>, usual: Duration) -> Result<Duration, String> {
    let Some(text) = text else { return Ok(usual) };
    let nanos = duration::parse_nanos(text).map_err(|why| format!("{word}: {why}"))?;
    u64::try_from(nanos).map(Duration::from_nanos).map_err(|_| format!("{word}: {text:?} is negative"))
}

fn check(config: &WebhookConfig) -> Result<(), String> {
    let wrong = |word: &str| Err(format!("audit-webhook-batch-{word} must be a positive number"));
    match config.throttle {
        _ if config.buffer_size == 0 => wrong("buffer-size"),
        _ if config.batch_max_size == 0 => wrong("max-size"),
        Some(throttle) if throttle.qps <= 0.0 || throttle.qps.is_nan() => wrong("throttle-qps"),
        Some(throttle) if throttle.burst == 0 => wrong("throttle-burst"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<WebhookConfig, String> {
        let always = "audit-policy-file: p.yaml\naudit-webhook-config-file: k\n";
        Settings::parse(&format!("{always}{text}")).and_then(|settings| settings.audit_webhook())
    }

    #[test]
    fn the_usual_is_upstreams_and_words_change_it() {
        assert_eq!(read("").unwrap(), WebhookConfig::default());
        let config = read(
            "audit-webhook-mode: blocking\naudit-webhook-initial-backoff: 1m30s\naudit-webhook-batch-throttle-enable: false\n\
             audit-webhook-truncate-enabled: true\naudit-webhook-batch-max-size: 7",
        );
        let want = WebhookConfig {
            mode: Mode::Blocking,
            initial_backoff: Duration::from_secs(90),
            batch_max_size: 7,
            throttle: None,
            truncate: Some(Truncate { max_batch_bytes: 10_485_760, max_event_bytes: 102_400 }),
            ..WebhookConfig::default()
        };
        assert_eq!(config.unwrap(), want);
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_word() {
        for (text, want) in [
            ("audit-webhook-mode: eager", "audit-webhook-mode: invalid mode \"eager\""),
            ("audit-webhook-version: audit.k8s.io/v1beta1", "audit-webhook-version"),
            ("audit-webhook-initial-backoff: soon", "audit-webhook-initial-backoff: time: invalid duration"),
            ("audit-webhook-batch-buffer-size: 0", "audit-webhook-batch-buffer-size must be"),
            ("audit-webhook-batch-throttle-qps: 0", "audit-webhook-batch-throttle-qps must be"),
            ("audit-webhook-truncate-max-batch-size: 5", "audit-webhook-truncate-max-batch-size must not be less"),
        ] {
            let why = read(text).unwrap_err();
            assert!(why.contains(want), "{text}: {why}");
        }
        let why = Settings::parse("audit-webhook-config-file: k").unwrap_err();
        assert!(why.contains("without audit-policy-file"), "{why}");
    }
}
