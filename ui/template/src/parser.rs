//! Tokens become a tree.

mod numbers;
mod pipes;

use std::collections::BTreeMap;

use schema::go;

use crate::functions::{self, Function};
use crate::lexer::{self, Token, TokenSort};
use crate::nodes::{Branch, List, Node, Pipe, Sort};

/// Things within each other: parentheses, actions with a body.
const DEPTH_MAX: usize = 100;

/// The templates of a text: its own under its name, and those that it defines.
pub(crate) fn parse(name: &str, text: &str, functions: &'static [Function]) -> Result<BTreeMap<String, List>, String> {
    let mut parser = Parser {
        name,
        functions,
        tokens: lexer::tokens(text),
        at: 0,
        touched: 0,
        action_line: 0,
        variables: vec!["$".into()],
        ranges: 0,
        depth: 0,
        defined: BTreeMap::new(),
    };
    let root = parser.root()?;
    // An empty text does not replace a definition of the same name.
    let is_blank = root.iter().all(|node| matches!(&node.sort, Sort::Text(text) if text.trim().is_empty()));
    if !(is_blank && parser.defined.contains_key(name)) {
        parser.defined.insert(name.to_owned(), root);
    }
    Ok(parser.defined)
}

struct Parser<'a> {
    name: &'a str,
    functions: &'static [Function],
    tokens: Vec<Token>,
    at: usize,
    /// The token that was looked at last: errors name its line.
    touched: usize,
    /// Where the current action began.
    action_line: usize,
    variables: Vec<String>,
    ranges: usize,
    depth: usize,
    defined: BTreeMap<String, List>,
}

/// A node, or what ends a list of them.
enum Item {
    Node(Node),
    End,
    Else,
}

impl Item {
    fn name(&self) -> &'static str {
        if matches!(self, Self::Else) { "{{else}}" } else { "{{end}}" }
    }
}

impl Parser<'_> {
    fn peek(&mut self) -> &Token {
        self.touched = self.at;
        &self.tokens[self.at]
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        // The last token, an end or an error, is never left.
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn skip_space(&mut self) {
        while self.tokens[self.at].sort == TokenSort::Space {
            self.at += 1;
        }
    }

    fn peek_solid(&mut self) -> &Token {
        self.skip_space();
        self.peek()
    }

    fn next_solid(&mut self) -> Token {
        self.skip_space();
        self.next()
    }

    fn fail<T>(&self, why: &str) -> Result<T, String> {
        Err(format!("template: {}:{}: {why}", self.name, self.tokens[self.touched].line))
    }

    fn unexpected<T>(&self, token: &Token, context: &str) -> Result<T, String> {
        if token.sort != TokenSort::Error {
            return self.fail(&format!("unexpected {} in {context}", printed(token)));
        }
        let began = match self.action_line {
            0 => String::new(),
            line if line == token.line => String::new(),
            line if token.text.ends_with(" action") => format!(" started at {}:{line}", self.name),
            line => format!(" in action started at {}:{line}", self.name),
        };
        self.fail(&format!("{}{began}", token.text))
    }

    fn expect(&mut self, sort: TokenSort, context: &str) -> Result<(), String> {
        let token = self.next_solid();
        if token.sort == sort { Ok(()) } else { self.unexpected(&token, context) }
    }

    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        if self.depth == DEPTH_MAX {
            return self.fail("max expression depth exceeded");
        }
        self.depth += 1;
        let outcome = inner(self);
        self.depth -= 1;
        outcome
    }

    fn root(&mut self) -> Result<List, String> {
        let mut list = List::new();
        while self.peek().sort != TokenSort::End {
            if self.accept_define() {
                self.definition()?;
                continue;
            }
            match self.item()? {
                Item::Node(node) => list.push(node),
                end => return self.fail(&format!("unexpected {}", end.name())),
            }
        }
        Ok(list)
    }

    /// `{{define`
    fn accept_define(&mut self) -> bool {
        let start = self.at;
        if self.next().sort == TokenSort::Open {
            let token = self.next_solid();
            if token.sort == TokenSort::Keyword && token.text == "define" {
                return true;
            }
        }
        self.at = start;
        false
    }

    fn definition(&mut self) -> Result<(), String> {
        const CONTEXT: &str = "define clause";
        let name = self.template_name(CONTEXT)?;
        self.expect(TokenSort::Close, CONTEXT)?;
        let list = self.own_world(|parser| {
            let (list, end) = parser.list()?;
            if matches!(end, Item::End) { Ok(list) } else { parser.fail(&format!("unexpected {} in {CONTEXT}", end.name())) }
        })?;
        self.define(name, list)
    }

    /// A body that knows no variables and loops but its own.
    fn own_world<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        let variables = std::mem::replace(&mut self.variables, vec!["$".into()]);
        let ranges = std::mem::take(&mut self.ranges);
        let outcome = self.nested(inner);
        (self.variables, self.ranges) = (variables, ranges);
        outcome
    }

    fn define(&mut self, name: String, list: List) -> Result<(), String> {
        if self.defined.contains_key(&name) {
            return self.fail(&format!("template: multiple definition of template {}", go::quote(&name)));
        }
        self.defined.insert(name, list);
        Ok(())
    }

    fn template_name(&mut self, context: &str) -> Result<String, String> {
        let token = self.next_solid();
        match token.sort {
            TokenSort::Quoted | TokenSort::Raw => self.unquoted(&token),
            _ => self.unexpected(&token, context),
        }
    }

    fn unquoted(&self, token: &Token) -> Result<String, String> {
        let inner = &token.text[1..token.text.len() - 1];
        match token.sort {
            TokenSort::Raw => Ok(inner.replace('\r', "")),
            _ => go::unquote(inner, '"').map_or_else(|| self.fail("invalid syntax"), Ok),
        }
    }

    /// Nodes up to an end or else.
    fn list(&mut self) -> Result<(List, Item), String> {
        let mut list = List::new();
        loop {
            if self.peek_solid().sort == TokenSort::End {
                return self.fail("unexpected EOF");
            }
            match self.item()? {
                Item::Node(node) => list.push(node),
                end => return Ok((list, end)),
            }
        }
    }

    fn item(&mut self) -> Result<Item, String> {
        let token = self.next();
        match token.sort {
            TokenSort::Text => Ok(Item::Node(Node { place: token.place, sort: Sort::Text(token.text) })),
            TokenSort::Open => {
                self.action_line = token.line;
                let item = self.action()?;
                self.action_line = 0;
                Ok(item)
            }
            _ => self.unexpected(&token, "input"),
        }
    }

    fn action(&mut self) -> Result<Item, String> {
        let token = self.peek_solid().clone();
        if token.sort == TokenSort::Keyword {
            self.at += 1;
            return self.nested(|parser| parser.keyword(&token));
        }
        let pipe = self.pipe("command", TokenSort::Close)?;
        Ok(Item::Node(Node { place: token.place, sort: Sort::Action(pipe) }))
    }

    fn keyword(&mut self, token: &Token) -> Result<Item, String> {
        let node = |sort| Ok(Item::Node(Node { place: token.place, sort }));
        match token.text.as_str() {
            "block" => self.block(),
            "break" => node(self.jump("{{break}}", Sort::Break)?),
            "continue" => node(self.jump("{{continue}}", Sort::Continue)?),
            "else" => self.otherwise(),
            "end" => self.expect(TokenSort::Close, "end").map(|()| Item::End),
            "if" => Ok(Item::Node(branched(self.branch("if")?, Sort::If))),
            "with" => Ok(Item::Node(branched(self.branch("with")?, Sort::With))),
            "range" => Ok(Item::Node(branched(self.branch("range")?, Sort::Range))),
            "template" => self.call(),
            _ => self.unexpected(token, "command"),
        }
    }

    fn jump(&mut self, name: &str, sort: Sort) -> Result<Sort, String> {
        self.expect(TokenSort::Close, name)?;
        if self.ranges == 0 { self.fail(&format!("{name} outside {{{{range}}}}")) } else { Ok(sort) }
    }

    /// An `else` ends a list. What follows it (`if`, `with`) is left to the branch.
    fn otherwise(&mut self) -> Result<Item, String> {
        let next = self.peek_solid();
        if next.sort == TokenSort::Keyword && ["if", "with"].contains(&next.text.as_str()) {
            return Ok(Item::Else);
        }
        self.expect(TokenSort::Close, "else").map(|()| Item::Else)
    }

    fn branch(&mut self, context: &str) -> Result<Branch, String> {
        let variables = self.variables.len();
        let pipe = self.pipe(context, TokenSort::Close)?;
        let is_range = usize::from(context == "range");
        self.ranges += is_range;
        let (list, end) = self.list()?;
        self.ranges -= is_range;
        let otherwise = if matches!(end, Item::Else) { self.otherwise_of(context)? } else { List::new() };
        self.variables.truncate(variables);
        Ok(Branch { pipe, list, otherwise })
    }

    fn otherwise_of(&mut self, context: &str) -> Result<List, String> {
        let next = self.peek().clone();
        if next.sort == TokenSort::Keyword {
            if next.text != context {
                return self.unexpected(&next, "else");
            }
            self.at += 1;
            let branch = self.nested(|parser| parser.branch(context))?;
            return Ok(vec![branched(branch, if context == "if" { Sort::If } else { Sort::With })]);
        }
        let (list, end) = self.list()?;
        if matches!(end, Item::End) { Ok(list) } else { self.fail(&format!("expected end; found {}", end.name())) }
    }

    fn call(&mut self) -> Result<Item, String> {
        const CONTEXT: &str = "template clause";
        let place = self.peek_solid().place;
        let name = self.template_name(CONTEXT)?;
        let pipe = self.optional_pipe(CONTEXT)?;
        Ok(Item::Node(Node { place, sort: Sort::Template(name, pipe) }))
    }

    fn optional_pipe(&mut self, context: &str) -> Result<Option<Pipe>, String> {
        if self.peek_solid().sort == TokenSort::Close {
            self.at += 1;
            return Ok(None);
        }
        self.pipe(context, TokenSort::Close).map(Some)
    }

    /// A definition and a call of it.
    fn block(&mut self) -> Result<Item, String> {
        const CONTEXT: &str = "block clause";
        let place = self.peek_solid().place;
        let name = self.template_name(CONTEXT)?;
        let pipe = self.pipe(CONTEXT, TokenSort::Close)?;
        let list = self.own_world(|parser| {
            let (list, end) = parser.list()?;
            if matches!(end, Item::End) { Ok(list) } else { parser.fail(&format!("unexpected {} in {CONTEXT}", end.name())) }
        })?;
        self.define(name.clone(), list)?;
        Ok(Item::Node(Node { place, sort: Sort::Template(name, Some(pipe)) }))
    }

    fn knows(&self, function: &str) -> bool {
        functions::find(self.functions, function).is_some()
    }
}

/// A node with a body stands where its pipeline does.
fn branched(branch: Branch, sort: fn(Branch) -> Sort) -> Node {
    Node { place: branch.pipe.place, sort: sort(branch) }
}

/// A token as errors show it.
fn printed(token: &Token) -> String {
    match token.sort {
        TokenSort::End => "EOF".into(),
        TokenSort::Error => token.text.clone(),
        TokenSort::Keyword => format!("<{}>", token.text),
        _ if token.text.chars().count() > 10 => {
            let start: String = token.text.chars().take(10).collect();
            format!("{}...", go::quote(&start))
        }
        _ => go::quote(&token.text),
    }
}
