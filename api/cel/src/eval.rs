//! Running a program: values in, one value or a fault out, every step counted against a budget.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cost;
use crate::fault::Fault;
use crate::library::lists_insert;
use crate::plan::{Attr, Base, CallNode, FoldNode, Node, Step, StepKey};
use crate::value::{Key, List, Map, Object, Value, equal};
use crate::work;

type Outcome<'a> = Result<Value<'a>, Fault>;

/// What a name stands for while the program runs.
#[derive(Debug, Clone)]
pub(crate) enum Slot<'a> {
    Unbound,
    Bound(Outcome<'a>),
    /// Worked out when it is first read.
    Pending(&'a Node),
}

#[derive(Debug)]
pub(crate) struct Evaluator<'a> {
    pub(crate) slots: Vec<Slot<'a>>,
    pub(crate) cost: u64,
    pub(crate) limit: u64,
}

impl<'a> Evaluator<'a> {
    pub(crate) fn eval(&mut self, node: &'a Node) -> Outcome<'a> {
        match node {
            Node::Const(value) => Ok(value.clone()),
            Node::Attr(attr) => {
                let value = self.resolve(attr);
                if !matches!(attr.base, Base::Either(_)) {
                    self.charge(1)?;
                }
                value
            }
            Node::Has(attr) => self.resolve(attr).map(|found| match found {
                Value::Optional(held) => Value::Bool(held.is_some()),
                other => other,
            }),
            Node::Call(call) => self.call(call),
            Node::Logic(deciding, terms) => self.logic(*deciding, terms),
            Node::Equality(wanted, sides) => self.equality(*wanted, sides),
            Node::NotStrictlyFalse(inner) => {
                let value = self.eval(inner);
                self.charge(1)?;
                match value {
                    Err(fault) if fault.is_out_of_budget() => Err(fault),
                    Ok(Value::Bool(bool)) => Ok(Value::Bool(bool)),
                    _ => Ok(Value::Bool(true)),
                }
            }
            Node::List(elements) => {
                let made = self.list(elements);
                self.charge(cost::LIST)?;
                made
            }
            Node::Map(entries) => {
                let made = self.map(entries);
                self.charge(cost::MAP)?;
                made
            }
            Node::Object(name, fields) => {
                let made = self.object(name, fields);
                self.charge(cost::OBJECT)?;
                made
            }
            Node::Fold(fold) => self.fold(fold),
            Node::InSet(arg, set) => {
                let value = self.eval(arg)?;
                Ok(Value::Bool(Key::owned(&value).is_some_and(|key| set.contains(&key))))
            }
            Node::Or(unwraps, sides) => match self.eval(&sides[0])? {
                Value::Optional(Some(held)) => Ok(if *unwraps { (*held).clone() } else { Value::Optional(Some(held)) }),
                Value::Optional(None) => self.eval(&sides[1]),
                _ => Err(Fault::no_such_overload()),
            },
            Node::Append(slot, element, is_const) => self.append(*slot, element, *is_const),
            Node::Insert(slot, args) => self.insert(*slot, args),
        }
    }

    fn charge(&mut self, cost: u64) -> Result<(), Fault> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit { Err(Fault::out_of_budget()) } else { work::check() }
    }

    fn load(&mut self, slot: usize) -> Outcome<'a> {
        match &self.slots[slot] {
            Slot::Bound(value) => value.clone(),
            Slot::Unbound => Err(Fault::new("no such attribute(s): a variable is not bound")),
            Slot::Pending(node) => {
                let node = *node;
                let value = self.eval(node);
                self.slots[slot] = Slot::Bound(value.clone());
                value
            }
        }
    }

    /// The value at the end of an attribute's steps. Its own cost is the caller's to count.
    fn resolve(&mut self, attr: &'a Attr) -> Outcome<'a> {
        let mut value = match &attr.base {
            Base::Slot(slot) => self.load(*slot)?,
            Base::Node(node) => self.eval(node)?,
            Base::Either(parts) => match self.eval(&parts.0)? {
                Value::Bool(true) => self.resolve(&parts.1)?,
                Value::Bool(false) => self.resolve(&parts.2)?,
                _ => return Err(Fault::no_such_overload()),
            },
        };
        if attr.steps.is_empty() {
            return Ok(value);
        }
        let mut optional = false;
        if let Value::Optional(held) = &value {
            let Some(held) = held else { return Ok(value) };
            value = (**held).clone();
            optional = true;
        }
        for step in &attr.steps {
            optional |= step.optional;
            value = match self.step(&value, step, optional)? {
                Some(next) => next,
                None => return Ok(Value::none()),
            };
        }
        Ok(if optional { Value::some(value) } else { value })
    }

    /// One step into a value; `None` where an optional step leads nowhere.
    fn step(&mut self, value: &Value<'a>, step: &'a Step, optional: bool) -> Result<Option<Value<'a>>, Fault> {
        let made;
        let key = match &step.key {
            StepKey::Const(key) => key,
            StepKey::Attr(attr) => match self.resolve(attr) {
                Ok(key) => {
                    made = key;
                    &made
                }
                Err(fault) => {
                    self.charge(u64::from(!optional))?;
                    return Err(fault);
                }
            },
        };
        let found = value.member(key, optional || step.test);
        if optional {
            let found = found?;
            self.charge(u64::from(found.is_some()))?;
            return Ok(if step.test { found.map(|_| Value::Null) } else { found });
        }
        self.charge(1)?;
        match found? {
            found if step.test => Ok(Some(Value::Bool(found.is_some()))),
            Some(found) => Ok(Some(found)),
            None if matches!(value, Value::List(_)) => Err(Fault::new(format!("index out of bounds: {}", key.shown()))),
            None => Err(Fault::new(format!("no such key: {}", key.shown()))),
        }
    }

    fn call(&mut self, call: &'a CallNode) -> Outcome<'a> {
        match &call.args[..] {
            [only] => {
                let (value, fault) = self.argument(only)?;
                let args = [value];
                self.finished(call, &args, fault)
            }
            [one, other] => {
                let (first, fault) = self.argument(one)?;
                if let (Some(fault), true) = (&fault, call.stops_early) {
                    return Err(fault.clone());
                }
                let (second, second_fault) = self.argument(other)?;
                let args = [first, second];
                self.finished(call, &args, fault.or(second_fault))
            }
            all => {
                let mut args = Vec::with_capacity(all.len());
                let mut fault = None;
                for arg in all {
                    if let Some(fault) = fault {
                        return Err(fault);
                    }
                    let (value, wrong) = self.argument(arg)?;
                    args.push(value);
                    fault = wrong;
                }
                self.finished(call, &args, fault)
            }
        }
    }

    /// The argument; or, where it failed, why.
    fn argument(&mut self, node: &'a Node) -> Result<(Value<'a>, Option<Fault>), Fault> {
        match self.eval(node) {
            Ok(value) => Ok((value, None)),
            Err(fault) if fault.is_out_of_budget() => Err(fault),
            Err(fault) => Ok((Value::Null, Some(fault))),
        }
    }

    fn finished(&mut self, call: &CallNode, args: &[Value<'a>], fault: Option<Fault>) -> Outcome<'a> {
        let outcome = match fault {
            Some(fault) => Err(fault),
            None => call.run(args),
        };
        self.charge((call.charge)(args, &outcome))?;
        outcome
    }

    /// The first term that decides; else the first fault, else the other value.
    fn logic(&mut self, deciding: bool, terms: &'a [Node; 2]) -> Outcome<'a> {
        let mut fault = None;
        for term in terms {
            match self.eval(term) {
                Ok(Value::Bool(bool)) if bool == deciding => return Ok(Value::Bool(deciding)),
                Ok(Value::Bool(_)) => {}
                Ok(_) => fault = fault.or(Some(Fault::no_such_overload())),
                Err(wrong) if wrong.is_out_of_budget() => return Err(wrong),
                Err(wrong) => fault = fault.or(Some(wrong)),
            }
        }
        fault.map_or(Ok(Value::Bool(!deciding)), Err)
    }

    fn equality(&mut self, wanted: bool, sides: &'a [Node; 2]) -> Outcome<'a> {
        let (one, first) = self.argument(&sides[0])?;
        let (other, second) = self.argument(&sides[1])?;
        self.charge(if wanted { cost::equality(&one, &other) } else { cost::inequality(&one, &other) })?;
        match first.or(second) {
            Some(fault) => Err(fault),
            None if wanted => equal(&one, &other).map(Value::Bool),
            None => match equal(&one, &other) {
                Err(fault) if fault.is_out_of_budget() => Err(fault),
                same => Ok(Value::Bool(same != Ok(true))),
            },
        }
    }

    fn list(&mut self, elements: &'a [(Node, bool)]) -> Outcome<'a> {
        let mut values = Vec::with_capacity(elements.len());
        for (element, optional) in elements {
            match self.eval(element)? {
                value if !optional => values.push(value),
                Value::Optional(Some(held)) => values.push((*held).clone()),
                Value::Optional(None) => {}
                other => {
                    return Err(Fault::new(format!("cannot initialize optional list element from non-optional value {}", other.shown())));
                }
            }
        }
        Ok(Value::list(values))
    }

    fn map(&mut self, entries: &'a [(Node, Node, bool)]) -> Outcome<'a> {
        let mut made = BTreeMap::new();
        for (key, value, optional) in entries {
            let key = self.eval(key)?;
            let value = self.eval(value)?;
            let place = Key::of(&key).ok_or_else(|| Fault::new(format!("unsupported key type: {}", key.type_name())))?;
            match held(value, *optional, &key.shown())? {
                Some(value) => made.insert(place, value),
                None => made.remove(&place),
            };
        }
        Ok(Value::Map(Map::Made(Arc::new(made))))
    }

    fn object(&mut self, name: &Arc<str>, fields: &'a [(String, Node, bool)]) -> Outcome<'a> {
        let mut made = Vec::with_capacity(fields.len());
        for (field, value, optional) in fields {
            let value = self.eval(value)?;
            if let Some(value) = held(value, *optional, field)? {
                made.push((field.clone(), value));
            }
        }
        Ok(Value::Object(Arc::new(Object { name: name.clone(), fields: made })))
    }

    fn fold(&mut self, fold: &'a FoldNode) -> Outcome<'a> {
        let range = self.eval(&fold.range)?;
        self.slots[fold.accu] = Slot::Pending(&fold.init);
        match (&range, fold.var2) {
            (Value::List(list), None) => {
                for index in 0..list.len() {
                    if !self.turn(fold, list.get(index), None)? {
                        break;
                    }
                }
            }
            (Value::List(list), Some(_)) => {
                for index in 0..list.len() {
                    if !self.turn(fold, Ok(Value::Int(index as i64)), Some(list.get(index)))? {
                        break;
                    }
                }
            }
            (Value::Map(map), var2) => {
                for key in map.keys() {
                    let value = var2.map(|_| map.get(&key).map(|value| value.unwrap_or(Value::Null)));
                    if !self.turn(fold, Ok(key), value)? {
                        break;
                    }
                }
            }
            (other, None) => return Err(Fault::new(format!("got '{}', expected iterable type", go_type(other)))),
            (other, Some(_)) => return Err(Fault::new(format!("unsupported comprehension range type: {}", go_type(other)))),
        }
        let result = self.eval(&fold.result);
        self.slots[fold.accu] = Slot::Unbound;
        result
    }

    /// One element of a fold; false where the condition ends it.
    fn turn(&mut self, fold: &'a FoldNode, first: Outcome<'a>, second: Option<Outcome<'a>>) -> Result<bool, Fault> {
        work::spend(1)?;
        self.slots[fold.var] = Slot::Bound(first);
        if let (Some(slot), Some(second)) = (fold.var2, second) {
            self.slots[slot] = Slot::Bound(second);
        }
        match self.eval(&fold.condition) {
            Ok(Value::Bool(false)) => return Ok(false),
            Err(fault) if fault.is_out_of_budget() => return Err(fault),
            _ => {}
        }
        let step = self.eval(&fold.step);
        if let Err(fault) = &step
            && fault.is_out_of_budget()
        {
            return Err(fault.clone());
        }
        self.slots[fold.accu] = Slot::Bound(step);
        Ok(true)
    }

    /// The accumulator itself rather than a copy, so that adding to it moves nothing.
    fn taken(&mut self, slot: usize) -> Outcome<'a> {
        if let Slot::Pending(_) = self.slots[slot] {
            self.load(slot)?;
        }
        match std::mem::replace(&mut self.slots[slot], Slot::Unbound) {
            Slot::Bound(value) => value,
            _ => Err(Fault::new("no such attribute(s): the accumulator is not bound")),
        }
    }

    fn append(&mut self, slot: usize, element: &'a Node, is_const: bool) -> Outcome<'a> {
        self.charge(1)?;
        let value = self.eval(element);
        self.charge(1 + if is_const { 0 } else { cost::LIST })?;
        let before = self.taken(slot)?;
        let value = value?;
        match before {
            Value::List(List::Made(mut values)) => {
                Arc::make_mut(&mut values).push(value);
                Ok(Value::List(List::Made(values)))
            }
            Value::List(list) => list.plus(List::from(vec![value])).map(Value::List),
            _ => Err(Fault::no_such_overload()),
        }
    }

    fn insert(&mut self, slot: usize, args: &'a [Node]) -> Outcome<'a> {
        self.charge(1)?;
        let broken = if let Slot::Bound(Err(fault)) = &self.slots[slot] { Some(fault.clone()) } else { None };
        let mut added = Vec::with_capacity(args.len());
        if let (Some(fault), [_, _]) = (&broken, args) {
            return Err(fault.clone());
        }
        let mut fault = broken;
        for (at, arg) in args.iter().enumerate() {
            let (value, wrong) = self.argument(arg)?;
            if let (Some(wrong), true) = (&wrong, at + 1 < args.len()) {
                return Err(wrong.clone());
            }
            added.push(value);
            fault = fault.or(wrong);
        }
        self.charge(1)?;
        if let Some(fault) = fault {
            return Err(fault);
        }
        match self.taken(slot)? {
            Value::Map(Map::Made(mut entries)) => {
                lists_insert(&mut entries, &added)?;
                Ok(Value::Map(Map::Made(entries)))
            }
            _ => Err(Fault::no_such_overload()),
        }
    }
}

/// The value of an entry or a field; `None` where an optional one is left out.
fn held<'a>(value: Value<'a>, optional: bool, name: &str) -> Result<Option<Value<'a>>, Fault> {
    match value {
        value if !optional => Ok(Some(value)),
        Value::Optional(held) => Ok(held.map(|held| (*held).clone())),
        other => Err(Fault::new(format!("cannot initialize optional entry '{name}' from non-optional value {}", other.shown()))),
    }
}

/// The name that Go's `%T` gives.
fn go_type(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "types.Null",
        Value::Bool(_) => "types.Bool",
        Value::Int(_) => "types.Int",
        Value::Uint(_) => "types.Uint",
        Value::Double(_) => "types.Double",
        Value::String(_) => "types.String",
        Value::Bytes(_) => "types.Bytes",
        Value::Duration(_) => "types.Duration",
        Value::Timestamp(_) => "types.Timestamp",
        Value::Optional(_) => "*types.Optional",
        Value::Type(_) => "*types.Type",
        Value::Url(_) => "cel.URL",
        Value::Quantity(_) => "cel.Quantity",
        Value::Ip(_) => "cel.IP",
        Value::Cidr(_) => "cel.CIDR",
        Value::Semver(_) => "cel.Semver",
        Value::Format(_) => "cel.Format",
        _ => "ref.Val",
    }
}
