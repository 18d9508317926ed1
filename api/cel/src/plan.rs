//! From a checked tree to what is run: names become slots, constants are worked out, patterns are compiled.
//!
//! Selections and indexes that follow each other are one [`Attr`], as cost is counted per step of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use regex::Regex;

use crate::ast::{Call, Expr, Fold, Kind, Literal, operators};
use crate::checker::Checked;
use crate::cost::{self, Charge};
use crate::env::{Environment, Overload};
use crate::fault::Fault;
use crate::library::{self, Implementation, convert};
use crate::types::Type;
use crate::value::{Key, List, Map, Value};

/// A step of a program.
#[derive(Debug)]
pub(crate) enum Node {
    Const(Value<'static>),
    Attr(Attr),
    /// `has(…)`: the last step of the attribute is a test.
    Has(Attr),
    Call(Box<CallNode>),
    /// `&&` and `||`: the value that decides, and the terms.
    Logic(bool, Box<[Node; 2]>),
    /// `==`, or `!=` where false.
    Equality(bool, Box<[Node; 2]>),
    NotStrictlyFalse(Box<Node>),
    List(Vec<(Node, bool)>),
    Map(Vec<(Node, Node, bool)>),
    Object(Arc<str>, Vec<(String, Node, bool)>),
    Fold(Box<FoldNode>),
    /// `x in [constants]`
    InSet(Box<Node>, BTreeSet<Key<'static>>),
    /// `or`, or `orValue` where true.
    Or(bool, Box<[Node; 2]>),
    /// `accumulator + [element]`; whether the element is a constant.
    Append(usize, Box<Node>, bool),
    /// The accumulator with an entry, or with the entries of a map.
    Insert(usize, Vec<Node>),
}

/// A value and the steps that lead into it.
#[derive(Debug)]
pub(crate) struct Attr {
    pub(crate) base: Base,
    pub(crate) steps: Vec<Step>,
}

#[derive(Debug)]
pub(crate) enum Base {
    Slot(usize),
    Node(Box<Node>),
    /// `condition ? one : other`
    Either(Box<(Node, Attr, Attr)>),
}

#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) key: StepKey,
    pub(crate) optional: bool,
    pub(crate) test: bool,
}

#[derive(Debug)]
pub(crate) enum StepKey {
    Const(Value<'static>),
    Attr(Attr),
}

#[derive(Debug)]
pub(crate) struct CallNode {
    pub(crate) function: &'static str,
    /// The one signature that the arguments must have, also where their types were not known before.
    pub(crate) guard: Option<&'static Overload>,
    pub(crate) implementations: Vec<Implementation>,
    pub(crate) args: Vec<Node>,
    pub(crate) charge: Charge,
    /// Arguments after the first failing one are not looked at, and the call costs nothing then.
    pub(crate) stops_early: bool,
    pub(crate) regex: Option<Regex>,
}

#[derive(Debug)]
pub(crate) struct FoldNode {
    pub(crate) range: Node,
    pub(crate) init: Node,
    pub(crate) condition: Node,
    pub(crate) step: Node,
    pub(crate) result: Node,
    pub(crate) accu: usize,
    pub(crate) var: usize,
    pub(crate) var2: Option<usize>,
}

/// The program, and how many slots it needs; the environment's variables come first, in their order.
pub(crate) fn plan(checked: &Checked, environment: &Environment) -> Result<(Node, usize), Fault> {
    let globals: BTreeMap<&str, usize> = environment.variable_names().enumerate().map(|(slot, name)| (name, slot)).collect();
    let slots = globals.len();
    let mut planner = Planner { checked, globals, locals: Vec::new(), slots };
    let root = planner.node(&checked.tree.root)?;
    Ok((root, planner.slots))
}

struct Planner<'c> {
    checked: &'c Checked,
    globals: BTreeMap<&'c str, usize>,
    locals: Vec<(&'c str, usize)>,
    slots: usize,
}

impl<'c> Planner<'c> {
    fn node(&mut self, expr: &'c Expr) -> Result<Node, Fault> {
        match &expr.kind {
            Kind::Literal(literal) => Ok(Node::Const(constant(literal))),
            Kind::Ident(name) => self.ident(expr, name),
            Kind::Select(select) => {
                let mut attr = self.attr(&select.operand)?;
                let key = StepKey::Const(Value::string(&*select.field));
                attr.steps.push(Step { key, optional: false, test: select.presence });
                Ok(if select.presence { Node::Has(attr) } else { Node::Attr(attr) })
            }
            Kind::Call(call) => self.call(expr, call),
            Kind::List(elements) => {
                let planned = elements.iter().map(|element| Ok((self.node(&element.value)?, element.optional)));
                Ok(folded_list(planned.collect::<Result<_, Fault>>()?))
            }
            Kind::Map(entries) => {
                let planned = entries.iter().map(|entry| Ok((self.node(&entry.key)?, self.node(&entry.value)?, entry.optional)));
                let planned: Vec<_> = planned.collect::<Result<_, Fault>>()?;
                Ok(folded_map(planned))
            }
            Kind::Struct(made) => {
                let planned = made.fields.iter().map(|field| Ok((field.name.clone(), self.node(&field.value)?, field.optional)));
                Ok(Node::Object(made.name.as_str().into(), planned.collect::<Result<_, Fault>>()?))
            }
            Kind::Fold(fold) => self.fold(fold),
            Kind::Nothing => Err(Fault::new("expression has errors")),
        }
    }

    fn ident(&self, expr: &Expr, name: &str) -> Result<Node, Fault> {
        if let Some(named) = self.checked.type_names.get(&expr.id) {
            return Ok(Node::Const(Value::Type(named.runtime_name().into())));
        }
        let absolute = name.strip_prefix('.');
        let local = self.locals.iter().rev().find(|(local, _)| absolute.is_none() && *local == name).map(|(_, slot)| *slot);
        let slot = local.or_else(|| self.globals.get(absolute.unwrap_or(name)).copied());
        let slot = slot.ok_or_else(|| Fault::new(format!("no such attribute(s): {name}")))?;
        Ok(Node::Attr(Attr { base: Base::Slot(slot), steps: Vec::new() }))
    }

    /// The expression as something that steps can follow.
    fn attr(&mut self, expr: &'c Expr) -> Result<Attr, Fault> {
        Ok(as_attr(self.node(expr)?))
    }

    fn call(&mut self, expr: &'c Expr, call: &'c Call) -> Result<Node, Fault> {
        let resolved = self.checked.calls.get(&expr.id).ok_or_else(|| Fault::new(format!("no such overload: {}", call.function)))?;
        let mut args = Vec::new();
        for arg in call.target.iter().chain(&call.args) {
            args.push(self.node(arg)?);
        }
        let overload = if let [only] = resolved.overloads[..] { Some(only) } else { None };
        match resolved.function {
            operators::AND => Ok(Node::Logic(false, pair(args))),
            operators::OR => Ok(Node::Logic(true, pair(args))),
            operators::EQUALS => Ok(Node::Equality(true, pair(args))),
            operators::NOT_EQUALS => Ok(Node::Equality(false, pair(args))),
            operators::NOT_STRICTLY_FALSE => Ok(Node::NotStrictlyFalse(Box::new(args.remove(0)))),
            operators::INDEX => Ok(indexed(args, false)),
            operators::OPTIONAL_INDEX | operators::OPTIONAL_SELECT => Ok(indexed(args, true)),
            operators::CONDITIONAL => Ok(conditional(args)),
            "or" | "orValue" => Ok(Node::Or(resolved.function == "orValue", pair(args))),
            operators::IN if overload.is_some_and(|overload| overload.id == "in_list") => match in_set(&args[1]) {
                Some(set) if set.is_empty() => Ok(Node::Const(Value::Bool(false))),
                Some(set) => Ok(Node::InSet(Box::new(args.remove(0)), set)),
                None => made_call(resolved.function, args, overload),
            },
            function => made_call(function, args, overload),
        }
    }

    fn fold(&mut self, fold: &'c Fold) -> Result<Node, Fault> {
        let init = self.node(&fold.init)?;
        let range = self.node(&fold.range)?;
        let before = self.locals.len();
        let accu = self.local(&fold.accu);
        let inner = self.locals.len();
        let var = self.local(&fold.var);
        let var2 = fold.var2.as_deref().map(|name| self.local(name));
        let condition = self.node(&fold.condition)?;
        let step = self.step(&fold.step, accu, &fold.accu)?;
        self.locals.truncate(inner);
        let result = self.node(&fold.result)?;
        self.locals.truncate(before);
        Ok(Node::Fold(Box::new(FoldNode { range, init, condition, step, result, accu, var, var2 })))
    }

    fn local(&mut self, name: &'c str) -> usize {
        self.locals.push((name, self.slots));
        self.slots += 1;
        self.slots - 1
    }

    /// A fold's step; what adds to the accumulator does so in place.
    fn step(&mut self, expr: &'c Expr, accu: usize, name: &str) -> Result<Node, Fault> {
        let Kind::Call(call) = &expr.kind else { return self.node(expr) };
        let is_accu = |arg: &Expr| arg.as_ident() == Some(name) && name == crate::ast::ACCUMULATOR;
        match (call.function.as_str(), &call.args[..]) {
            (operators::ADD, [before, Expr { kind: Kind::List(elements), .. }]) if is_accu(before) && elements.len() == 1 => {
                if elements[0].optional {
                    return self.node(expr);
                }
                let element = self.node(&elements[0].value)?;
                let is_const = matches!(element, Node::Const(_));
                Ok(Node::Append(accu, Box::new(element), is_const))
            }
            (operators::MAP_INSERT, [before, added @ ..]) if is_accu(before) => {
                let added = added.iter().map(|arg| self.node(arg)).collect::<Result<_, _>>()?;
                Ok(Node::Insert(accu, added))
            }
            (operators::CONDITIONAL, [filter, then, same]) if is_accu(same) => {
                let parts = vec![self.node(filter)?, self.step(then, accu, name)?, self.node(same)?];
                Ok(conditional(parts))
            }
            _ => self.node(expr),
        }
    }
}

fn constant(literal: &Literal) -> Value<'static> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(bool) => Value::Bool(*bool),
        Literal::Int(int) => Value::Int(*int),
        Literal::Uint(uint) => Value::Uint(*uint),
        Literal::Double(double) => Value::Double(*double),
        Literal::String(text) => Value::string(&**text),
        Literal::Bytes(bytes) => Value::Bytes(Arc::from(&**bytes)),
    }
}

fn as_attr(node: Node) -> Attr {
    match node {
        Node::Attr(attr) | Node::Has(attr) => attr,
        other => Attr { base: Base::Node(Box::new(other)), steps: Vec::new() },
    }
}

fn pair(args: Vec<Node>) -> Box<[Node; 2]> {
    Box::new(args.try_into().expect("a signature has vouched for two arguments"))
}

fn conditional(args: Vec<Node>) -> Node {
    let [condition, then, otherwise]: [Node; 3] = args.try_into().expect("a signature has vouched for three arguments");
    Node::Attr(Attr { base: Base::Either(Box::new((condition, as_attr(then), as_attr(otherwise)))), steps: Vec::new() })
}

fn indexed(args: Vec<Node>, optional: bool) -> Node {
    let [operand, index] = *pair(args);
    let mut attr = as_attr(operand);
    let key = match index {
        Node::Const(value) => StepKey::Const(value),
        other => StepKey::Attr(as_attr(other)),
    };
    attr.steps.push(Step { key, optional, test: false });
    Node::Attr(attr)
}

fn as_const(node: &Node) -> Option<&Value<'static>> {
    if let Node::Const(value) = node { Some(value) } else { None }
}

/// A list of constants is one.
fn folded_list(elements: Vec<(Node, bool)>) -> Node {
    let constants = elements.iter().map(|(node, optional)| as_const(node).filter(|_| !optional).cloned());
    match constants.collect::<Option<Vec<_>>>() {
        Some(values) => Node::Const(Value::List(List::from(values))),
        None => Node::List(elements),
    }
}

fn folded_map(entries: Vec<(Node, Node, bool)>) -> Node {
    let entry =
        |(key, value, optional): &(Node, Node, bool)| Some((Key::of(as_const(key)?)?, as_const(value).filter(|_| !optional)?.clone()));
    match entries.iter().map(entry).collect::<Option<BTreeMap<_, _>>>() {
        Some(made) => Node::Const(Value::Map(Map::Made(Arc::new(made)))),
        None => Node::Map(entries),
    }
}

/// A constant list as a set, where all of its items can be keys.
fn in_set(list: &Node) -> Option<BTreeSet<Key<'static>>> {
    let Value::List(List::Made(values)) = as_const(list)? else { return None };
    values.iter().map(Key::of).collect()
}

/// Functions that look at both of two arguments before they look for the overload.
const WHOLE: &[&str] = &["contains", "startsWith", "endsWith", "matches", "getHours", "getMinutes", "getSeconds", "getMilliseconds"];

/// Functions that do not name themselves where they are given something else.
const UNNAMED: &[&str] = &["contains", "startsWith", "endsWith", "matches", "find", "findAll"];

/// One implementation for all overloads, which says no more than its name.
fn is_operator(function: &str) -> bool {
    !function.starts_with(|c: char| c.is_ascii_alphabetic()) || matches!(function, "size" | "sort")
}

/// Whether a value may have a type that a signature asks for; of a list, its first item tells.
fn may_be(ty: &Type, value: &Value<'_>) -> bool {
    match (ty, value) {
        (Type::Dyn | Type::Param(_), _) => true,
        (Type::List(element), Value::List(list)) => list.at(0).is_none_or(|first| first.is_ok_and(|first| may_be(element, &first))),
        (Type::Type(_), Value::Type(_)) => true,
        (ty, value) => ty.runtime_name() == value.type_name(),
    }
}

fn made_call(function: &'static str, args: Vec<Node>, overload: Option<&'static Overload>) -> Result<Node, Fault> {
    let charge = cost::charge(function, overload);
    let implementations = library::implementations(function);
    if implementations.is_empty() {
        return Err(Fault::new(format!("no such overload: {function}")));
    }
    let by_name = overload.is_none() && function.starts_with(|c: char| c.is_ascii_alphabetic()) && !WHOLE.contains(&function);
    let stops_early = args.len() > 2 || by_name || function == "findAll";
    let guard = overload.filter(|_| !is_operator(function) && !UNNAMED.contains(&function) && function != "flatten");
    let mut call = CallNode { guard, function, implementations, stops_early, args, charge, regex: None };
    if let ([only], true) = (&call.args[..], convert::is_conversion(function))
        && let Some(value) = as_const(only)
    {
        return call.run(std::slice::from_ref(value)).map(Node::Const);
    }
    if library::regex::takes_pattern(function)
        && let Some(Value::String(pattern)) = as_const(&call.args[1])
    {
        call.regex = Some(library::regex::compile(pattern).map_err(Fault::new)?);
        call.stops_early = true;
    }
    Ok(Node::Call(Box::new(call)))
}

impl CallNode {
    pub(crate) fn run<'a>(&self, args: &[Value<'a>]) -> Result<Value<'a>, Fault> {
        let outcome = match &self.regex {
            Some(regex) => library::regex::call(self.function, args, regex),
            None => self.first_that_fits(args),
        };
        match outcome {
            Err(fault) if fault.is_unnamed() => Err(self.no_overload(args)),
            other => other,
        }
    }

    fn first_that_fits<'a>(&self, args: &[Value<'a>]) -> Result<Value<'a>, Fault> {
        let mut outcome = Err(Fault::unnamed_overload());
        if self.guard.is_some_and(|overload| !overload.args.iter().zip(args).all(|(ty, arg)| may_be(ty, arg))) {
            return outcome;
        }
        for implementation in &self.implementations {
            outcome = implementation(args);
            if !matches!(&outcome, Err(fault) if fault.is_unnamed()) {
                break;
            }
        }
        outcome
    }

    /// Functions name themselves and what they were given; operators themselves, or nothing where the first operand could
    /// have been one of theirs.
    fn no_overload(&self, args: &[Value<'_>]) -> Fault {
        if UNNAMED.contains(&self.function) {
            return Fault::no_such_overload();
        }
        if is_operator(self.function) {
            let known = library::takes_first(self.function, &args[0]);
            return if known { Fault::no_such_overload() } else { Fault::new(format!("no such overload: {}", self.function)) };
        }
        let types: Vec<&str> = args.iter().map(Value::type_name).collect();
        Fault::new(format!("no such overload: {}({})", self.function, types.join(", ")))
    }
}
