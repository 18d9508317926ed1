//! Failures below as the `Status` that a caller sees.

use schema::Status;
use schema::status::{Cause, Details};
use store::{Store, StoreError};

use crate::encryption::Encryption;

/// A read or write that the store refused for no fault of the caller.
pub fn of_store(error: &StoreError) -> Status {
    match error {
        StoreError::ReadOnly(_) => Status::unavailable(format!("{error}; free some space, writing goes on by itself")),
        StoreError::Failed(_) | StoreError::Unavailable(_) | StoreError::NoSpace(_) => Status::unavailable(error.to_string()),
        StoreError::Uncertain(_) => Status::timeout(error.to_string()),
        StoreError::Unreadable { why, .. } => Status::internal(why),
        StoreError::TooLarge(_) => plain(format!("etcdserver: request is too large: {error}")),
        StoreError::Compacted { .. } => Status::expired("The resourceVersion for the provided list is too old."),
        StoreError::Future { asked, current } => too_large_version(asked.0, current.0),
        StoreError::Conflict { .. } | StoreError::Lagged => Status::internal(error),
    }
}

/// Why the object under `key`, which is there, cannot be shown: 500 with upstream's reason.
pub async fn unreadable(store: &dyn Store, key: &str) -> Status {
    match store.get(key).await {
        Err(error) => of_store(&error),
        Ok(Some(entry)) if Encryption::is_sealed(&entry.value) => Status::internal("identity transformer tried to read encrypted data"),
        Ok(_) => Status::internal("what is stored is no object"),
    }
}

/// The same of one object that a list must have.
pub async fn unreadable_in_list(store: &dyn Store, key: &str) -> Status {
    let why = unreadable(store, key).await.message;
    let why = why.strip_prefix("Internal error occurred: ").unwrap_or(&why);
    Status::internal(format!("unable to transform key {:?}: {why}", format!("/registry{key}")))
}

/// 504: the revision asked for is not here yet.
pub fn too_large_version(asked: u64, current: u64) -> Status {
    let cause = Cause { reason: "ResourceVersionTooLarge".into(), message: "Too large resource version".into(), field: String::new() };
    let mut status = Status::timeout(format!("Timeout: Too large resource version: {asked}, current: {current}"));
    status.details = Some(Details { causes: vec![cause], retry_after_seconds: 1, ..Details::default() });
    status
}

/// 500 without a reason, as upstream answers errors that it has no class for.
pub fn plain(message: impl Into<String>) -> Status {
    Status::failure(500, "", message)
}

/// 422 about options of a request (`ListOptions.meta.k8s.io "" is invalid: …`).
pub fn invalid_options(kind: &str, errors: &schema::FieldErrors) -> Status {
    Status::invalid("meta.k8s.io", kind, "", errors)
}

#[cfg(test)]
mod tests {
    use store::Revision;

    use super::*;

    #[test]
    fn failures_of_the_store_say_who_can_mend_them() {
        let cases = [
            (StoreError::ReadOnly("/var".into()), 503, "the store's disk is full: /var; free some space, writing goes on by itself"),
            (StoreError::Failed("i/o error".into()), 503, "the store has failed: i/o error"),
            (StoreError::Unavailable("no answer".into()), 503, "the store cannot be reached: no answer"),
            (StoreError::Uncertain("no answer".into()), 504, "whether the write happened is not known: no answer"),
            (
                StoreError::Compacted { asked: Revision(1), oldest: Revision(5) },
                410,
                "The resourceVersion for the provided list is too old.",
            ),
            (StoreError::Future { asked: Revision(9), current: Revision(5) }, 504, "Timeout: Too large resource version: 9, current: 5"),
        ];
        for (error, code, message) in cases {
            let status = of_store(&error);
            assert_eq!((status.code, status.message.as_str()), (code, message));
        }
    }
}
