//! `cargo test -p kernel-tests --test kernel -- [FILTER]`

fn main() -> std::process::ExitCode {
    kernel_tests::main()
}
