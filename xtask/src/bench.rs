//! `cargo xtask bench [NAME…] [--json]`: every promised figure beside its peer's, measured on this machine now.
//!
//! A benchmark is one row of [`ALL`]; it builds what it needs for release, is bounded in time, cleans up what it starts and
//! fills in the figures that [`promises::ALL`] promises. Nothing here fails for being slow: the table says what was missed.
//! A peer that cannot run here keeps the figure of its reference page, marked `*`.

mod clusters;
mod findings;
mod lab;
mod parts;
mod promises;
mod text;

use std::time::Duration;

use anyhow::{Result, bail};

use self::findings::{Findings, Row, table};
use self::lab::{Lab, tell};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Benchmarks, or figures of one (`cold`, `store.rate`); all without a name
    names: Vec<String>,
    /// One JSON array on stdout, for programs
    #[arg(long)]
    json: bool,
    /// How long the idle cluster is watched; one minute where this is not given (the promise is about ten)
    #[arg(long, value_name = "MINUTES")]
    idle_minutes: Option<u64>,
    /// List the benchmarks and end
    #[arg(long)]
    list: bool,
}

/// What the arguments say to a benchmark.
pub(crate) struct Options {
    pub(crate) idle: Duration,
}

struct Benchmark {
    name: &'static str,
    what: &'static str,
    run: fn(&Lab, &Options, &mut Findings) -> Result<()>,
}

/// In the order of the promises.
const ALL: &[Benchmark] = &[
    Benchmark { name: "cold", what: "exec of `corten up` to API, node, first pod and first DNS answer", run: clusters::cold },
    Benchmark { name: "idle", what: "memory and CPU of a node that nobody asks anything", run: clusters::idle },
    Benchmark {
        name: "runtime",
        what: "create, start, exit and delete of one bundle beside crun, runc and the floor",
        run: parts::runtime,
    },
    Benchmark { name: "pods", what: "a pod every 100 ms: created to Running seen by a watch", run: clusters::pods },
    Benchmark { name: "batch", what: "100 pods at once: all Running, all gone", run: clusters::batch },
    Benchmark { name: "exit", what: "container exit to its status seen by a watch", run: clusters::exit },
    Benchmark { name: "exec", what: "exec `true` over a new connection", run: clusters::exec },
    Benchmark { name: "store", what: "durable 1 KB puts beside etcd and a bare log", run: parts::store },
    Benchmark { name: "list", what: "server CPU per MB of a list of 5,000 pods", run: clusters::list },
    Benchmark { name: "watch", what: "fan-out to 1,000 watchers", run: clusters::watch },
    Benchmark { name: "sched", what: "5,000 pods onto 1,000 and 5,000 nodes", run: clusters::sched },
    Benchmark { name: "service", what: "a change of one of 2,000 Services to effective", run: clusters::service },
    Benchmark { name: "rollout", what: "a Deployment of 100; a rolling update of 50", run: clusters::rollout },
    Benchmark { name: "link", what: "pod links and Services in the kernel", run: parts::link },
    Benchmark { name: "layer", what: "a 10,000-file archive to a mounted root", run: parts::layer },
    Benchmark { name: "crds", what: "1,000 definitions of custom kinds: memory, and until the last is served", run: parts::crds },
    Benchmark { name: "cel", what: "one rule on a 4 KB pod, and on a custom object of 4 KB as its write asks it", run: parts::cel },
];

#[expect(clippy::print_stdout, reason = "a command's result")]
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.list {
        ALL.iter().for_each(|benchmark| println!("{:8} {}", benchmark.name, benchmark.what));
        return Ok(());
    }
    let chosen = chosen(&arguments.names)?;
    let options = Options { idle: arguments.idle_minutes.map_or(Duration::from_secs(60), |minutes| Duration::from_secs(minutes * 60)) };
    let lab = Lab::new()?;
    let mut findings = Findings::default();
    for benchmark in &chosen {
        tell(&format!("{}: {}", benchmark.name, benchmark.what));
        if let Err(error) = (benchmark.run)(&lab, &options, &mut findings) {
            tell(&format!("{}: {error:#}", benchmark.name));
            findings.missing(benchmark.name, format!("{error:#}").lines().next().unwrap_or_default().to_owned());
        }
    }
    let rows: Vec<Row> =
        promises::ALL.iter().filter(|promise| wanted(&arguments.names, promise.name)).map(|promise| findings.row(promise)).collect();
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        print!("{}", table(&rows));
        println!("{}", machine());
        println!("* the reference page's figure, of real Kubernetes or another peer on such a machine; peers without it ran here and now");
    }
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<&'static Benchmark>> {
    let of = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    if let Some(unknown) = names.iter().find(|name| !ALL.iter().any(|benchmark| benchmark.name == of(name))) {
        let known: Vec<&str> = ALL.iter().map(|benchmark| benchmark.name).collect();
        bail!("no benchmark {unknown:?}: there are {}", known.join(", "));
    }
    Ok(ALL.iter().filter(|benchmark| names.is_empty() || names.iter().any(|name| of(name) == benchmark.name)).collect())
}

fn wanted(names: &[String], figure: &str) -> bool {
    names.is_empty() || names.iter().any(|name| figure == name || figure.split('.').next() == Some(name))
}

/// One line: processor, cores, memory, kernel, load.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).map_or("?", |rest| rest.trim_start_matches(['\t', ':', ' ']));
    let memory_kib = text::after(&read("/proc/meminfo"), "MemTotal:").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("?");
    format!(
        "machine: {cores} x {model}, {:.0} GiB, Linux {}, load {load} at the end",
        memory_kib / 1048576.0,
        read("/proc/sys/kernel/osrelease").trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_promise_has_a_benchmark_and_each_benchmark_a_promise() {
        let benchmarks: Vec<&str> = ALL.iter().map(|benchmark| benchmark.name).collect();
        let mut promised: Vec<&str> = promises::ALL.iter().filter_map(|promise| promise.name.split('.').next()).collect();
        promised.dedup();
        promised.sort_by_key(|name| benchmarks.iter().position(|benchmark| benchmark == name));
        assert_eq!(promised, benchmarks);
    }

    #[test]
    fn a_figure_of_a_benchmark_is_a_name_too() {
        let names = ["store.rate".to_owned()];
        assert_eq!(chosen(&names).unwrap().len(), 1);
        assert!(wanted(&names, "store.rate") && !wanted(&names, "store.cpu"));
        assert_eq!(chosen(&["nothing".to_owned()]).err().unwrap().to_string().split(':').next(), Some("no benchmark \"nothing\""));
    }
}
