//! What templates can call.

mod access;
mod compare;
mod escape;

use crate::format;
use crate::value::Value;

pub type Outcome<'a> = Result<Value<'a>, String>;

/// A function of templates.
#[derive(Debug)]
pub struct Function {
    pub name: &'static str,
    /// How many arguments it takes.
    pub arguments_min: usize,
    /// None: any number.
    pub arguments_max: Option<usize>,
    /// Whether each argument must be a text.
    pub takes_texts: bool,
    pub call: for<'a> fn(&[Value<'a>]) -> Outcome<'a>,
}

impl Function {
    /// One that takes exactly so many arguments of any type.
    pub const fn of(name: &'static str, arguments: usize, call: for<'a> fn(&[Value<'a>]) -> Outcome<'a>) -> Self {
        Self { name, arguments_min: arguments, arguments_max: Some(arguments), takes_texts: false, call }
    }

    /// One that takes so many arguments or more.
    pub const fn from(name: &'static str, arguments: usize, call: for<'a> fn(&[Value<'a>]) -> Outcome<'a>) -> Self {
        Self { name, arguments_min: arguments, arguments_max: None, takes_texts: false, call }
    }

    /// One that takes exactly so many texts.
    pub const fn of_texts(name: &'static str, arguments: usize, call: for<'a> fn(&[Value<'a>]) -> Outcome<'a>) -> Self {
        Self { name, arguments_min: arguments, arguments_max: Some(arguments), takes_texts: true, call }
    }

    pub(crate) fn check(&self, arguments: &[Value<'_>]) -> Result<(), String> {
        let (name, got) = (self.name, arguments.len());
        if self.arguments_max.is_none() && got < self.arguments_min {
            return Err(format!("wrong number of args for {name}: want at least {} got {got}", self.arguments_min));
        }
        if self.arguments_max.is_some_and(|max| got > max) || got < self.arguments_min {
            return Err(format!("wrong number of args for {name}: want {} got {got}", self.arguments_max.unwrap_or_default()));
        }
        match arguments.iter().find(|argument| self.takes_texts && !argument.document().is_string()) {
            Some(odd) if odd.is_nothing() => Err("invalid value; expected string".into()),
            Some(odd) => Err(format!("wrong type for value; expected string; got {}", odd.type_name())),
            None => Ok(()),
        }
    }
}

/// `and` and `or` are here by name alone: what they do not need is not worked out.
pub(crate) const BUILT_IN: &[Function] = &[
    Function::from("and", 1, |_| Ok(Value::MISSING)),
    Function::from("or", 1, |_| Ok(Value::MISSING)),
    Function::from("call", 1, |arguments| match &arguments[0] {
        odd if odd.is_nothing() => Err("call of nil".into()),
        odd => Err(format!("non-function {} of type {}", odd.printed(), odd.type_name())),
    }),
    Function::from("html", 0, |arguments| Ok(Value::text(escape::html(&joined(arguments))))),
    Function::from("index", 1, access::index),
    Function::from("js", 0, |arguments| Ok(Value::text(escape::js(&joined(arguments))))),
    Function::of("len", 1, |arguments| access::length(&arguments[0])),
    Function::of("not", 1, |arguments| Ok(Value::of((!arguments[0].is_true()).into()))),
    Function::from("print", 0, |arguments| format::sprint(arguments).map(Value::text)),
    Function::from("printf", 1, |arguments| match arguments[0].document().as_str() {
        Some(text) => format::sprintf(text, &arguments[1..]).map(Value::text),
        None => Err(format!("wrong type for value; expected string; got {}", arguments[0].type_name())),
    }),
    Function::from("println", 0, |arguments| Ok(Value::text(format::sprintln(arguments)))),
    Function::from("slice", 1, access::slice),
    Function::from("urlquery", 0, |arguments| Ok(Value::text(escape::url_query(&joined(arguments))))),
    Function::from("eq", 1, |arguments| compare::equal(arguments)),
    Function::of("ge", 2, |arguments| compare::ordered(arguments, |order| order.is_ge())),
    Function::of("gt", 2, |arguments| compare::ordered(arguments, |order| order.is_gt())),
    Function::of("le", 2, |arguments| compare::ordered(arguments, |order| order.is_le())),
    Function::of("lt", 2, |arguments| compare::ordered(arguments, |order| order.is_lt())),
    Function::of("ne", 2, |arguments| compare::unequal(arguments)),
];

/// A function by its name: the caller's own before the built-in ones.
pub(crate) fn find(own: &'static [Function], name: &str) -> Option<&'static Function> {
    own.iter().chain(BUILT_IN).find(|function| function.name == name)
}

/// The text that an escaping function works on.
fn joined(arguments: &[Value<'_>]) -> String {
    match arguments {
        [one] if one.document().is_string() => one.printed(),
        all => format::sprint(all).unwrap_or_default(),
    }
}
