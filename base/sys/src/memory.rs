//! The process's own heap, which is the C library's.

/// Gives memory that was freed back to the kernel; returns whether there was any. The allocator does so by itself only at
/// the upper end of a heap. Walks all heaps under their locks, some milliseconds for a large one: for a quiet moment.
#[cfg(target_env = "gnu")]
pub fn give_back() -> bool {
    // SAFETY: takes no pointers, and is safe to call from any thread at any time.
    unsafe { libc::malloc_trim(0) == 1 }
}

/// Lets threads share at most `count` heaps; more threads than heaps wait for each other sometimes, but what one frees
/// another can use. Before the first thread starts.
#[cfg(target_env = "gnu")]
pub fn bound_heaps(count: u8) {
    // SAFETY: takes no pointers; a value that the allocator does not like is refused by it.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, i32::from(count)) };
}

/// Other C libraries keep little, or have no such call.
#[cfg(not(target_env = "gnu"))]
pub fn give_back() -> bool {
    false
}

#[cfg(not(target_env = "gnu"))]
pub fn bound_heaps(_: u8) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident_kib() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    #[test]
    fn what_lies_free_below_something_living_goes_back() {
        // Small enough to come from the heap, and every hundredth stays: no run of them reaches the heap's end.
        let mut blocks: Vec<Option<Vec<u8>>> = (0..20_000).map(|_| Some(vec![1; 4000])).collect();
        blocks.iter_mut().enumerate().filter(|(index, _)| index % 100 != 99).for_each(|(_, block)| *block = None);
        let before = resident_kib();
        let gave = give_back();
        let after = resident_kib();
        assert_eq!(gave, cfg!(target_env = "gnu"));
        assert!(!gave || after + 40_000 < before, "{before} KiB, then {after} KiB");
        assert_eq!(blocks.iter().flatten().count(), 200);
    }
}
