//! Pod volumes: emptyDir, hostPath, and the files of configMap, secret, downwardAPI and projected volumes.
//!
//! | file | what |
//! |---|---|
//! | `driver.rs` | the trait: where each volume lies, tmpfs mounts |
//! | `files.rs` | files that change all at once |
//! | `host_path.rs` | what a hostPath must be |
//!
//! Folders are opened and removed by `sys::beneath`, which never leaves them.

mod driver;
mod files;
mod host_path;
#[cfg(test)]
mod tests;

pub use driver::Driver;
