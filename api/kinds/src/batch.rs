//! The kinds of `batch`.

pub mod cron_job;
pub mod job;

pub use self::cron_job::CronJob;
pub use self::job::Job;

use crate::descriptor::Descriptor;

/// The rows of this group.
pub(crate) fn rows() -> Vec<Descriptor> {
    vec![Descriptor::of::<CronJob>(), Descriptor::of::<Job>()]
}
