//! Developer commands: `cargo xtask <command>`. Each command is one file and one row of [`Command`].

mod golden;
mod schema;

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
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Golden(arguments) => golden::run(&arguments),
    }
}
