//! Developer commands: `cargo xtask <command>`. Each command is one file and one row of [`Command`].

mod bench;
mod fuzz;
mod golden;
mod images;
mod kinds;
mod machine;
mod process;
mod schema;
mod worlds;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer commands of Corten", disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Regenerate the facts table from the published OpenAPI and .proto files
    Schema(schema::Arguments),
    /// Replay golden vectors: passed and failed per file
    Golden(golden::Arguments),
    /// Build test images from Debian packages, as docker archives
    Images(images::Arguments),
    /// One line a kind and version: what its file answers
    Kinds(kinds::Arguments),
    /// Measure every promised figure beside its peer's
    Bench(bench::Arguments),
    /// Run the tests: all worlds, or those whose name contains a word
    Test(worlds::Arguments),
    /// Feed every parser with what libFuzzer thinks of
    Fuzz(fuzz::Arguments),
    /// Run the real-kernel world alone
    Kernel,
    /// Boot another kernel in QEMU: cgroup v2 and v1 alone, power cuts of the store
    Machine(machine::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Golden(arguments) => golden::run(&arguments),
        Command::Images(arguments) => images::run(&arguments),
        Command::Kinds(arguments) => kinds::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Test(arguments) => worlds::test(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Kernel => worlds::kernel(),
        Command::Machine(arguments) => machine::run(&arguments),
    }
}
