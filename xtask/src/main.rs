//! Developer commands: `cargo xtask <command>`. Each command is one file and one row of [`Command`].

mod golden;
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
    /// Run the tests: all worlds, or those whose name contains a word
    Test(worlds::Arguments),
    /// Run the real-kernel world alone
    Kernel,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Golden(arguments) => golden::run(&arguments),
        Command::Test(arguments) => worlds::test(&arguments),
        Command::Kernel => worlds::kernel(),
    }
}
