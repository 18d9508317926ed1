//! The process's own heap.

/// The allocator of a process that lives long: `#[global_allocator] static HEAP: sys::memory::Heap = sys::memory::HEAP;`
pub type Heap = mimalloc::MiMalloc;

pub const HEAP: Heap = mimalloc::MiMalloc;

/// Gives memory that was freed back to the kernel, where [`HEAP`] is the process's allocator. It does so by itself while
/// it works, a second late; what the last burst before a quiet time left stays with it otherwise. Some milliseconds after much
/// was freed: for a quiet moment.
pub fn give_back() {
    // SAFETY: takes no pointers, and is safe to call from any thread at any time.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static OURS: Heap = HEAP;

    fn resident_kib() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    #[test]
    fn what_is_free_goes_back() {
        let blocks: Vec<Vec<u8>> = (0..20_000).map(|_| vec![1; 4000]).collect();
        let full = resident_kib();
        // A block in a thousand stays: it holds its page, and no more.
        let kept: Vec<Vec<u8>> = blocks.into_iter().enumerate().filter(|(index, _)| index % 1_000 == 0).map(|(_, block)| block).collect();
        give_back();
        let after = resident_kib();
        assert!(after + 60_000 < full, "{full} KiB, then {after} KiB");
        assert_eq!(kept.len(), 20);
    }
}
