//! `cargo run --release -p images --example images_bench [FOLDER]`: a 10,000-file archive to a mounted root, a few times.

use std::path::PathBuf;

use env::Env;
use images::bench::{archive_to_root, open_and_root, write_archive};

#[expect(clippy::print_stdout, reason = "a command's data goes to stdout")]
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parent = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from).join("images-bench");
    std::fs::create_dir_all(&parent)?;
    let archive = parent.join("archive.tar");
    write_archive(&archive)?;
    let env = Env::real();
    for round in 0..7 {
        let elapsed = archive_to_root(&archive, &parent.join(round.to_string()), &env).await?;
        println!("archive to root: {:.1} ms", elapsed.as_secs_f64() * 1e3);
    }
    let (opened, made) = open_and_root(&parent.join("open"), &env).await?;
    println!("open: {:.2} ms; a container's root: {:.2} ms", opened.as_secs_f64() * 1e3, made.as_secs_f64() * 1e3);
    std::fs::remove_dir_all(parent)?;
    Ok(())
}
