//! `cargo run --release -p store --example store_bench [WRITERS] [SECONDS] [FOLDER] [etcd]`: durable puts per
//! second and CPU per put, in the log and, where asked for, in an etcd.

use std::path::PathBuf;
use std::time::Duration;

use store::bench::{Figures, bare_log, durable_puts, etcd_puts, open_again};
use store::etcd_server::EtcdServer;

#[expect(clippy::print_stdout, reason = "a command's data goes to stdout")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let writers: usize = args.next().map_or(Ok(64), |arg| arg.parse())?;
    let seconds: u64 = args.next().map_or(Ok(3), |arg| arg.parse())?;
    let parent = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let (bare_dir, store_dir) = (parent.join("store-bench-bare"), parent.join("store-bench"));
    let bare = bare_log(&bare_dir, writers, Duration::from_secs(seconds))?;
    let store = durable_puts(&store_dir, writers, Duration::from_secs(seconds))?;
    let (open_time, open_bytes) = open_again(&store_dir)?;
    std::fs::remove_dir_all(&store_dir)?;
    let (first_time, _) = open_again(&store_dir)?;
    std::fs::remove_dir_all(bare_dir)?;
    std::fs::remove_dir_all(store_dir)?;
    let print = |name: &str, figures: &Figures| {
        let Figures { puts_per_second, cpu_us_per_put, p50_us, p99_us, .. } = figures;
        println!("{name:9} {puts_per_second:>8.0} puts/s  {cpu_us_per_put:>5.1} CPU-us per put  p50 {p50_us} us  p99 {p99_us} us");
    };
    print("bare log", &bare);
    print("store", &store);
    println!(
        "store / bare log: {:.2} x the CPU, {:.2} x the rate",
        store.cpu_us_per_put / bare.cpu_us_per_put,
        store.puts_per_second / bare.puts_per_second
    );
    println!(
        "open: new {:.1} ms, again {:.0} ms for {} MB",
        first_time.as_secs_f64() * 1e3,
        open_time.as_secs_f64() * 1e3,
        open_bytes >> 20
    );
    if let Some(server) = args.next().filter(|word| word == "etcd").and_then(|_| EtcdServer::plain()) {
        let (engine, bare) = etcd_puts(&server.url(), writers, Duration::from_secs(seconds))?;
        print("bare etcd", &bare);
        print("on etcd", &engine);
        println!(
            "on etcd / bare etcd: {:.2} x the CPU (ours alone), {:.2} x the rate",
            engine.cpu_us_per_put / bare.cpu_us_per_put,
            engine.puts_per_second / bare.puts_per_second
        );
    }
    Ok(())
}
