//! One program for all targets: `FUZZ_TARGET` says which one libFuzzer feeds.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<&fuzzing::Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let names = || fuzzing::ALL.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
    fuzzing::find(&name).unwrap_or_else(|| panic!("FUZZ_TARGET={name:?} is no target; there are {}", names()))
});

fuzz_target!(|input: &[u8]| (TARGET.run)(input));
