//! What etcd's refusals and silences are to the callers of a store.

use super::grpc::{CallError, code};
use crate::contract::StoreError;

/// Of a call that changes nothing, or the same when asked twice.
pub(crate) fn of_read(error: CallError) -> StoreError {
    match error {
        CallError::Unreachable(why) | CallError::Broken(why) => StoreError::Unavailable(why),
        CallError::Refused { code, message } => of_refusal(code, message, false),
    }
}

/// Of a transaction, which may have happened although nobody said so.
pub(crate) fn of_write(error: CallError) -> StoreError {
    match error {
        CallError::Unreachable(why) => StoreError::Unavailable(why),
        CallError::Broken(why) => StoreError::Uncertain(why),
        CallError::Refused { code, message } => of_refusal(code, message, true),
    }
}

/// The end of history that was asked for.
pub(crate) fn is_compacted(error: &CallError) -> bool {
    matches!(error, CallError::Refused { code: code::OUT_OF_RANGE, message } if message.contains("compacted"))
}

/// The lease ended, or etcd was put back to a time before it.
pub(crate) fn is_lost_lease(error: &CallError) -> bool {
    matches!(error, CallError::Refused { message, .. } if message.contains("lease not found"))
}

fn of_refusal(code: u32, message: String, is_write: bool) -> StoreError {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    match code {
        code::RESOURCE_EXHAUSTED if says(&["space exceeded"]) => StoreError::NoSpace(message),
        code::RESOURCE_EXHAUSTED if says(&["larger than max"]) => StoreError::TooLarge(message),
        code::INVALID_ARGUMENT if says(&["too large", "too many operations"]) => StoreError::TooLarge(message),
        code::RESOURCE_EXHAUSTED | code::INVALID_ARGUMENT | code::OUT_OF_RANGE => {
            StoreError::Unavailable(format!("etcd refuses: {message}"))
        }
        code::UNAVAILABLE if says(&["no leader"]) => StoreError::Unavailable(message), // it was not proposed
        _ if is_write => StoreError::Uncertain(message),
        _ => StoreError::Unavailable(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_uncertain_for_writes_alone_and_refusals_are_told_apart() {
        let refused = |code, message: &str| CallError::Refused { code, message: message.into() };
        let table = [
            (CallError::Broken("cut".into()), "the store cannot be reached: cut", "whether the write happened is not known: cut"),
            (CallError::Unreachable("no".into()), "the store cannot be reached: no", "the store cannot be reached: no"),
            (
                refused(14, "etcdserver: request timed out"),
                "the store cannot be reached: etcdserver: request timed out",
                "whether the write happened is not known: etcdserver: request timed out",
            ),
            (
                refused(14, "etcdserver: no leader"),
                "the store cannot be reached: etcdserver: no leader",
                "the store cannot be reached: etcdserver: no leader",
            ),
            (
                refused(3, "etcdserver: request is too large"),
                "the transaction is too large: etcdserver: request is too large",
                "the transaction is too large: etcdserver: request is too large",
            ),
        ];
        for (error, read, write) in table {
            assert_eq!((of_read(error.clone()).to_string().as_str(), of_write(error).to_string().as_str()), (read, write));
        }
        assert!(matches!(of_write(refused(8, "etcdserver: mvcc: database space exceeded")), StoreError::NoSpace(_)));
        assert!(is_compacted(&refused(11, "etcdserver: mvcc: required revision has been compacted")));
    }
}
