//! Amounts that a pod asks for and a node has.

use kinds::Resources;
use kinds::core::{Container, Pod};
use schema::Quantity;

/// What a container without a request counts as in scores, so that pods without requests spread too.
const DEFAULT_CPU_MILLI: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 << 20;

/// Amounts by resource; unknown ones are extended resources (and huge pages, ephemeral storage).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    pub cpu_milli: i64,
    pub memory: i64,
    /// Sorted by name; short.
    pub others: Vec<(String, i64)>,
}

impl Amounts {
    pub fn of(resources: &Resources) -> Self {
        let mut amounts = Self::default();
        for (name, quantity) in resources {
            match name.as_str() {
                "cpu" => amounts.cpu_milli = quantity.milli_value(),
                "memory" => amounts.memory = quantity.value(),
                "pods" => {}
                _ => amounts.others.push((name.clone(), quantity.value())),
            }
        }
        amounts
    }

    pub fn other(&self, name: &str) -> i64 {
        self.others.iter().find(|(held, _)| held == name).map_or(0, |(_, amount)| *amount)
    }

    pub fn add(&mut self, more: &Self) {
        self.combine(more, |held, amount| held + amount);
    }

    pub fn subtract(&mut self, less: &Self) {
        self.combine(less, |held, amount| held - amount);
    }

    fn at_least(&mut self, floor: &Self) {
        self.combine(floor, Ord::max);
    }

    fn combine(&mut self, with: &Self, how: fn(i64, i64) -> i64) {
        self.cpu_milli = how(self.cpu_milli, with.cpu_milli);
        self.memory = how(self.memory, with.memory);
        for (name, amount) in &with.others {
            match self.others.iter_mut().find(|(held, _)| held == name) {
                Some((_, held)) => *held = how(*held, *amount),
                None => self.others.push((name.clone(), how(0, *amount))),
            }
        }
    }
}

/// What the pod asks for: containers and sidecars together, or an init container with the sidecars before it where that is more;
/// pod-level requests override; overhead on top.
pub fn requests(pod: &Pod) -> Amounts {
    total(pod, |container| Amounts::of(&container.resources.requests))
}

/// As [`requests`], with defaults for what is not asked: what scores count.
pub fn scored_requests(pod: &Pod) -> Amounts {
    let of = |container: &Container| {
        let requests = &container.resources.requests;
        Amounts {
            cpu_milli: requests.get("cpu").map_or(DEFAULT_CPU_MILLI, |quantity: &Quantity| quantity.milli_value()),
            memory: requests.get("memory").map_or(DEFAULT_MEMORY, |quantity| quantity.value()),
            others: Vec::new(),
        }
    };
    total(pod, of)
}

fn total(pod: &Pod, of: impl Fn(&Container) -> Amounts) -> Amounts {
    let (mut sidecars, mut most_init) = (Amounts::default(), Amounts::default());
    for container in &pod.spec.init_containers {
        let mut during = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars.add(&during);
            during = sidecars.clone();
        } else {
            during.add(&sidecars);
        }
        most_init.at_least(&during);
    }
    let mut total = sidecars;
    pod.spec.containers.iter().for_each(|container| total.add(&of(container)));
    total.at_least(&most_init);
    if let Some(whole) = &pod.spec.resources {
        override_with(&mut total, &whole.requests);
    }
    total.add(&Amounts::of(&pod.spec.overhead));
    total
}

fn override_with(total: &mut Amounts, requests: &Resources) {
    if let Some(cpu) = requests.get("cpu") {
        total.cpu_milli = cpu.milli_value();
    }
    if let Some(memory) = requests.get("memory") {
        total.memory = memory.value();
    }
}
