//! `corten image …`: what the node can run.

use std::path::PathBuf;

use schema::json;

use super::{Context, Output};
use crate::{Failure, ImageRow, out};

/// Import, load, list and remove images
#[derive(Debug, clap::Subcommand)]
pub enum Args {
    /// Make an image of a root file system archive (tar, also gzip or zstd)
    Import { archive: PathBuf, name: String },
    /// Load the images of a docker or OCI archive (`docker save`)
    Load { archive: PathBuf },
    /// List images
    #[command(visible_alias = "ls")]
    List {
        #[arg(long, short, value_enum, default_value_t)]
        output: Output,
    },
    /// Remove image names; the last name takes the image with it
    Rm {
        #[arg(required = true)]
        names: Vec<String>,
    },
}

pub async fn run(cx: &Context<'_>, args: Args) -> Result<u8, Failure> {
    cx.require_running()?;
    match args {
        Args::Import { archive, name } => {
            let row = cx.host.image_import(&cx.instance, &absolute(&archive)?, &name).await?;
            print(&[row]);
        }
        Args::Load { archive } => print(&cx.host.image_load(&cx.instance, &absolute(&archive)?).await?),
        Args::List { output } => {
            let rows = cx.host.images(&cx.instance).await?;
            match output {
                Output::Json => out::line(json!(rows)),
                Output::Text => list(&rows),
            }
        }
        Args::Rm { names } => {
            for name in names {
                cx.host.image_remove(&cx.instance, &name).await?;
                out::line(format!("removed {name}"));
            }
        }
    }
    Ok(0)
}

/// The node reads the file; our working folder is not its.
fn absolute(path: &std::path::Path) -> Result<PathBuf, Failure> {
    path.canonicalize().map_err(|error| Failure::io(path, error))
}

fn print(rows: &[ImageRow]) {
    for row in rows {
        row.names.iter().for_each(out::line);
    }
}

fn list(rows: &[ImageRow]) {
    let mut table = vec![["IMAGE", "ID", "SIZE"].map(str::to_owned).to_vec()];
    for row in rows {
        let id = row.id.trim_start_matches("sha256:").chars().take(12).collect::<String>();
        let names = if row.names.is_empty() { vec!["<none>".to_owned()] } else { row.names.clone() };
        table.extend(names.into_iter().map(|name| vec![name, id.clone(), out::size(row.size)]));
    }
    out::line(out::table(&table));
}
