//! Priority: a pod's class name becomes its number; without a name the global default class counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use schema::{DocExt, Status, Value, json};

use super::{Admission, Operation, Plugin};
use crate::cache::KindCache;

/// Every pod asks for its class, and classes hardly ever change: they are read once for each change.
#[derive(Default)]
pub struct Priority {
    known: Mutex<Arc<Classes>>,
}

const CLASSES: &str = "/scheduling.k8s.io/priorityclasses/";

/// What the classes of one moment say.
#[derive(Default)]
struct Classes {
    /// Of the cache; None: nothing was read yet.
    read_at: Option<(u32, u64)>,
    by_name: BTreeMap<String, Class>,
    /// The name of the global default.
    default: Option<String>,
}

struct Class {
    value: i64,
    policy: String,
}

#[async_trait]
impl Plugin for Priority {
    async fn mutate(&self, request: &mut Admission<'_>, new: &mut Value, old: Option<&Value>) -> Result<(), Status> {
        if !request.is_object("", "pods") {
            return Ok(());
        }
        match request.operation {
            Operation::Create => of_class(request, &self.classes(request), new),
            Operation::Update => {
                keep(new, old);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn validate(&self, request: &mut Admission<'_>, new: Option<&Value>, _old: Option<&Value>) -> Result<(), Status> {
        let Some(new) = new.filter(|new| request.is_object("scheduling.k8s.io", "priorityclasses") && new.bool_at("globalDefault")) else {
            return Ok(());
        };
        match self.classes(request).default.as_ref().filter(|name| *name != new.str_at("metadata.name")) {
            Some(name) => {
                let why = format!("PriorityClass {name} is already marked as default. Only one default can exist");
                Err(request.forbidden(&why))
            }
            None => Ok(()),
        }
    }
}

impl Priority {
    fn classes(&self, request: &Admission<'_>) -> Arc<Classes> {
        let Some(cache) = request.core.cache.kind(CLASSES) else { return Arc::default() };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.read_at != Some(cache.read().moment()) {
            *known = Arc::new(Classes::read(cache));
        }
        Arc::clone(&known)
    }
}

impl Classes {
    fn read(cache: &KindCache) -> Self {
        let ring = cache.read();
        let mut classes = Self { read_at: Some(ring.moment()), ..Self::default() };
        let (start, end) = crate::list::bounds(CLASSES, "");
        for (_, item) in ring.range(&start, &end) {
            let (name, doc) = (item.object.meta.name.to_string(), item.object.value());
            if doc.bool_at("globalDefault") && classes.default.is_none() {
                classes.default = Some(name.clone());
            }
            classes.by_name.insert(name, Class::of(&doc));
        }
        classes
    }
}

impl Class {
    fn of(doc: &Value) -> Self {
        let policy = doc.at("preemptionPolicy").and_then(Value::as_str).unwrap_or("PreemptLowerPriority");
        Self { value: doc.i64_at("value").unwrap_or_default(), policy: policy.to_owned() }
    }
}

fn of_class(request: &Admission<'_>, classes: &Classes, pod: &mut Value) -> Result<(), Status> {
    let name = pod.str_at("spec.priorityClassName").to_owned();
    let class = if name.is_empty() {
        classes.default.as_ref().map(|name| (name.as_str(), &classes.by_name[name]))
    } else {
        let missing = || request.forbidden(&format!("no PriorityClass with name {name} was found"));
        Some((name.as_str(), classes.by_name.get(&name).ok_or_else(missing)?))
    };
    let (value, policy) = class.map_or((0, "PreemptLowerPriority"), |(_, class)| (class.value, class.policy.as_str()));
    if let Some(asked) = pod.i64_at("spec.priority").filter(|asked| *asked != value) {
        let why = format!(
            "the integer value of priority ({asked}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        );
        return Err(request.forbidden(&why));
    }
    if let Some(asked) = pod.at("spec.preemptionPolicy").and_then(Value::as_str).filter(|asked| *asked != policy) {
        let why = format!(
            "the string value of PreemptionPolicy ({asked}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        );
        return Err(request.forbidden(&why));
    }
    if let Some((class, _)) = class.filter(|_| name.is_empty()) {
        pod.set_at("spec.priorityClassName", class);
    }
    pod.set_at("spec.priority", value);
    pod.set_at("spec.preemptionPolicy", policy);
    Ok(())
}

/// An update that leaves the computed members out keeps them.
fn keep(new: &mut Value, old: Option<&Value>) {
    let Some(old) = old else { return };
    for path in ["spec.priority", "spec.preemptionPolicy"] {
        if let Some(value) = old.at(path) {
            new.default_at(path, json!(value));
        }
    }
}
