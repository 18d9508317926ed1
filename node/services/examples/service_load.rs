//! How long services take to reach the kernel: `cargo run --release -p services --example service_load [SERVICES]`, as
//! root, in a network namespace of its own. Prints the cold load of SERVICES × 5 endpoints, the comparison after a
//! restart, and one endpoint's change.
#![expect(clippy::print_stdout, reason = "a benchmark talks to its caller")]

use std::net::{IpAddr, Ipv4Addr};

use contract::{Affinity, Endpoint, PortSpec, Protocol, ServiceSpec, Services};
use env::Env;
use services::{Config, Driver};
use stdx::instance::Instance;
use sys::netns::in_fresh;

fn main() {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(10_000);
    in_fresh(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(measure(count));
    })
    .expect("a network namespace (are you root?)");
}

async fn measure(count: u32) {
    let env = Env::real();
    let instance = Instance::new("corten", None).expect("a good name");
    let open = || Driver::open(Config { instance: instance.clone() }, &env).expect("the driver");
    let all: Vec<ServiceSpec> = (0..count).map(|number| service(number, 5)).collect();
    let driver = open();
    for what in ["cold load", "again, in the same process"] {
        let start = env.instant();
        driver.replace(all.clone()).await.expect("a load");
        println!("{what}: {count} services x 5 in {:.3} s", start.elapsed().as_secs_f64());
    }
    let driver = {
        drop(driver);
        open()
    };
    let start = env.instant();
    driver.replace(all.clone()).await.expect("a comparison");
    println!("after a restart, nothing changed: {:.3} s", start.elapsed().as_secs_f64());
    let mut micros = Vec::new();
    for flip in 0..1000 {
        let changed = service(count / 2, if flip % 2 == 0 { 4 } else { 5 });
        let start = env.instant();
        driver.ensure(changed).await.expect("a change");
        micros.push(start.elapsed().as_micros());
    }
    micros.sort_unstable();
    println!("one endpoint added or removed: p50={} us p99={} us", micros[500], micros[990]);
}

fn service(number: u32, endpoints: u32) -> ServiceSpec {
    let base = u32::from(Ipv4Addr::new(10, 96, 1, 0));
    let endpoint = |at: u32| Endpoint { ip: IpAddr::V4(Ipv4Addr::from(0x0af6_0000 + number * 5 + at)), port: 8080, local: false };
    let port = PortSpec {
        name: "http".into(),
        protocol: Protocol::Tcp,
        port: 80,
        node_port: 0,
        endpoints: (0..endpoints).map(endpoint).collect(),
    };
    ServiceSpec {
        namespace: "bench".into(),
        name: format!("s{number}"),
        ips: vec![IpAddr::V4(Ipv4Addr::from(base + number))],
        ports: vec![port],
        affinity: Affinity::None,
        external_local: false,
        internal_local: false,
    }
}
