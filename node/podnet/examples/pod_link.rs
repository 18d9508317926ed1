//! How long one pod link takes: `cargo run --release -p podnet --example pod_link [COUNT]`, as root. Prints p50 and p99
//! in µs, in a network namespace of its own.
#![expect(clippy::print_stdout, reason = "a benchmark talks to its caller")]

use contract::PodNet;
use env::Env;
use podnet::{Config, Driver};
use stdx::instance::Instance;
use sys::netns::{Netns, in_fresh};

fn main() {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(100);
    in_fresh(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(measure(count));
    })
    .expect("a network namespace (are you root?)");
}

async fn measure(count: usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let env = Env::real();
    let instance = Instance::new("corten", Some(folder.path())).expect("a good name");
    let driver = Driver::open(Config::new(instance), &env).expect("the driver");
    let namespaces: Vec<Netns> = (0..count).map(|_| Netns::fresh().expect("a namespace")).collect();
    let mut micros = Vec::new();
    for (number, netns) in namespaces.iter().enumerate() {
        let start = env.instant();
        driver.ensure(&format!("pod-{number}"), &netns.proc_path()).await.expect("a link");
        micros.push(start.elapsed().as_micros());
    }
    micros.sort_unstable();
    println!("pod link: n={count} p50={} us p99={} us", micros[count / 2], micros[count * 99 / 100]);
}
