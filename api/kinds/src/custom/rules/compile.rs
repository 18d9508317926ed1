//! Rules as programs, in a tree of the schema's places that have some at or below them.

use std::sync::Arc;

use expressions::{CompileError, Environment, Program, Schema, Type};
use schema::{DocExt, Map, Value};

use super::field_path;
use super::place::Place;

/// A place of the schema that has rules at or below it.
pub(super) struct Node {
    /// `type`, as messages tell it.
    pub ty: Box<str>,
    /// How values are read here, where the parent's typed schema does not lead here.
    pub own: Option<Arc<Schema>>,
    pub rules: Vec<Rule>,
    /// One of them, or of those below, names `oldSelf`.
    pub uses_old: bool,
    /// In the order of their names.
    pub properties: Vec<(Box<str>, Node)>,
    pub rest: Option<Box<Node>>,
    pub items: Option<Box<Node>>,
    /// By what items are followed from the old list to the new one: names, and what an absent one stands for.
    pub keys: Option<Vec<(Box<str>, Option<Value>)>>,
}

impl Node {
    fn below(&self) -> impl Iterator<Item = &Self> {
        self.properties.iter().map(|(_, one)| one).chain(self.rest.as_deref()).chain(self.items.as_deref())
    }
}

/// One rule.
pub(super) struct Rule {
    /// None: it is empty. The error says what does not compile.
    pub program: Option<Result<Program, String>>,
    pub message_program: Option<Result<Program, String>>,
    pub uses_old: bool,
    /// `optionalOldSelf: true`
    pub optional_old: bool,
    pub rule: String,
    pub message: String,
    pub message_expression: String,
    /// `FieldValueForbidden` …; empty: none given.
    pub reason: String,
    /// Below the place of the rule; None: there.
    pub field_path: Option<String>,
}

/// Compiles the rules of one schema.
pub(super) struct Compiler {
    environment: Environment,
    root: Place,
    /// Places outside of the root's types, so far.
    others: usize,
}

const ROOT: &str = "selfType";

impl Compiler {
    pub(super) fn new(typed: &Arc<Schema>) -> Self {
        let mut environment = Environment::kubernetes();
        typed.declare_types(&mut environment, ROOT);
        Self { environment, root: Place::root(typed, ROOT), others: 0 }
    }

    pub(super) fn root(&self) -> Place {
        self.root.clone()
    }

    /// The whole tree; None where nothing in it has rules.
    pub(super) fn tree(&mut self, schema: &Value) -> Option<Node> {
        let root = self.root();
        if has_rules(schema) { self.node(schema, &root, None) } else { None }
    }

    fn node(&mut self, schema: &Value, place: &Place, own: Option<Arc<Schema>>) -> Option<Node> {
        place.ty()?;
        let mut node = Node {
            ty: schema.str_at("type").into(),
            own,
            rules: self.rules(schema, place),
            uses_old: false,
            properties: self.properties(schema, place),
            rest: schema.get("additionalProperties").and_then(|rest| self.node(rest, &place.values(), None)).map(Box::new),
            items: schema.get("items").and_then(|items| self.node(items, &place.items(), None)).map(Box::new),
            keys: keys(schema),
        };
        node.uses_old = node.rules.iter().any(|rule| rule.uses_old) || node.below().any(|one| one.uses_old);
        let empty = node.rules.is_empty() && node.below().next().is_none();
        (!empty).then_some(node)
    }

    fn properties(&mut self, schema: &Value, place: &Place) -> Vec<(Box<str>, Node)> {
        let properties = schema.map_at("properties").into_iter().flat_map(Map::iter);
        let nodes = properties.filter_map(|(name, property)| {
            let node = match place.property(name) {
                Some(place) => self.node(property, &place, None),
                None => self.outside(property),
            };
            Some((Box::from(name.as_str()), node?))
        });
        nodes.collect()
    }

    /// A property whose name is no identifier: the types above do not know it.
    fn outside(&mut self, schema: &Value) -> Option<Node> {
        let (place, typed) = self.outside_place(schema);
        self.node(schema, &place, Some(typed))
    }

    pub(super) fn outside_place(&mut self, schema: &Value) -> (Place, Arc<Schema>) {
        self.others += 1;
        let name = format!("otherType{}", self.others);
        let typed = Arc::new(Schema::parse(schema, false));
        typed.declare_types(&mut self.environment, &name);
        (Place::root(&typed, &name), typed)
    }

    /// The rules of one place.
    pub(super) fn rules(&mut self, schema: &Value, place: &Place) -> Vec<Rule> {
        let rules = schema.items_at("x-kubernetes-validations");
        let Some(ty) = place.ty().filter(|_| !rules.is_empty()) else { return Vec::new() };
        self.environment.variable("self", ty.clone()).sizes(Arc::new(place.clone()));
        rules.iter().map(|given| self.rule(given, &ty, schema)).collect()
    }

    fn rule(&mut self, given: &Value, ty: &Type, schema: &Value) -> Rule {
        let text = |name: &str| given.str_at(name).to_owned();
        let optional_old = given.bool_at("optionalOldSelf");
        self.environment.variable("oldSelf", if optional_old { Type::optional(ty.clone()) } else { ty.clone() });
        let rule = text("rule");
        let program = (!rule.trim().is_empty()).then(|| self.program(&rule));
        let good = matches!(program, Some(Ok(_)));
        let message_expression = text("messageExpression");
        Rule {
            uses_old: program.as_ref().and_then(|program| program.as_ref().ok()).is_some_and(|program| program.uses("oldSelf")),
            program,
            message_program: (good && !message_expression.is_empty()).then(|| self.message_program(&message_expression)),
            optional_old,
            rule,
            message: text("message"),
            message_expression,
            reason: text("reason"),
            field_path: field_path::normalized(given.str_at("fieldPath"), schema).ok().filter(|path| !path.is_empty()),
        }
    }

    fn program(&self, text: &str) -> Result<Program, String> {
        let program = self.environment.compile(text).map_err(|wrong| match wrong {
            CompileError::Issues(_) => format!("compilation failed: {wrong}"),
            CompileError::Constant(_) => format!("program instantiation failed: {wrong}"),
        })?;
        if *program.output() == Type::Bool { Ok(program) } else { Err("cel expression must evaluate to a bool".into()) }
    }

    fn message_program(&self, text: &str) -> Result<Program, String> {
        let program = self.environment.compile(text).map_err(|wrong| match wrong {
            CompileError::Issues(_) => format!("messageExpression compilation failed: {wrong}"),
            CompileError::Constant(_) => format!("messageExpression instantiation failed: {wrong}"),
        })?;
        if *program.output() == Type::String { Ok(program) } else { Err("messageExpression must evaluate to a string".into()) }
    }
}

/// Whether a schema or something in its structure has rules.
pub(super) fn has_rules(schema: &Value) -> bool {
    !schema.items_at("x-kubernetes-validations").is_empty()
        || schema.map_at("properties").is_some_and(|all| all.values().any(has_rules))
        || schema.get("items").is_some_and(has_rules)
        || schema.get("additionalProperties").is_some_and(has_rules)
}

fn keys(schema: &Value) -> Option<Vec<(Box<str>, Option<Value>)>> {
    if schema.str_at("x-kubernetes-list-type") != "map" {
        return None;
    }
    let properties = schema.get("items").and_then(|items| items.get("properties"));
    let default = |key: &str| properties.and_then(|all| all.get(key)).and_then(|one| one.get("default")).cloned();
    let keys = schema.items_at("x-kubernetes-list-map-keys").iter().filter_map(Value::as_str);
    Some(keys.map(|key| (Box::from(key), default(key))).collect())
}
