//! Lines on standard error, which the keeper appends to the part's log file.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::FormatTime;

struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, w: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        #[expect(clippy::disallowed_methods, reason = "a log line's time is for people; no decision reads it")]
        let now = jiff::Timestamp::now();
        write!(w, "{}", now.strftime("%Y-%m-%dT%H:%M:%S.%3fZ"))
    }
}

/// Once per process. `CORTEN_LOG` has tracing's filter syntax (`info`, `scheduler=debug`).
#[expect(clippy::disallowed_methods, reason = "the environment is read in bin/corten alone")]
pub(crate) fn start() {
    let filter = std::env::var("CORTEN_LOG").unwrap_or_else(|_| "info".into());
    let filter = EnvFilter::try_new(&filter).unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(Utc)
        .with_ansi(false)
        .with_target(true)
        .with_writer(std::io::stderr)
        .init();
}
