//! Text to tree, by recursive descent.
//!
//! Own code rather than a library's: the tree must carry places and macros in the form that cost and messages are defined
//! on, an expression may hold 100,000 characters and nest 250 deep but no more, and a refusal must read as clients know it.
//! After a small slip (one token too many, one closing sign missing) parsing goes on, after others it ends.

mod literals;
mod nodes;
mod tokens;

use crate::ast::{Call, Element, Entry, Expr, Field, Id, Kind, Literal, Select, Struct, Tree, operators};
use crate::lexer::{self, Lexeme, Token};
use crate::macros;
use crate::source::{Issues, Location, Source};

/// Longer texts are refused, in code points.
const CODE_POINTS_MAX: usize = 100_000;
/// Deeper nesting is refused.
const DEPTH_MAX: usize = 250;
/// So are higher trees: chains and macros add to nesting. What walks a tree later relies on this for its stack.
const HEIGHT_MAX: u16 = 600;
/// And larger ones: some macros copy what they stand on.
const NODES_MAX: usize = 400_000;

const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

const OPERAND: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
const ARGUMENT: &str =
    "{'[', '{', '(', ')', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
const INDEX: &str = "{'[', '{', '(', '.', '-', '!', '?', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

/// Parses `text`; `binds` allows `cel.bind`, which Kubernetes' own environments do not have.
pub(crate) fn parse(text: &str, binds: bool) -> Result<(Tree, Source), Box<Issues>> {
    let source = Source::new(text);
    let mut issues = Issues::new(source.clone());
    let chars: Vec<char> = text.chars().collect();
    if chars.len() > CODE_POINTS_MAX {
        let size = chars.len();
        issues.report_at(Location::NOWHERE, format!("expression code point size exceeds limit: size: {size}, limit {CODE_POINTS_MAX}"));
        return Err(Box::new(issues));
    }
    let lexemes = lexer::tokens(&chars, &mut issues);
    let mut parser = Parser { chars: &chars, lexemes: &lexemes, at: 0, depth: 0, offsets: vec![0], heights: Vec::new(), issues, binds };
    let root = parser.whole();
    let tree = Tree { root: root.unwrap_or(Expr { id: 0, kind: Kind::Nothing }), offsets: parser.offsets };
    parser.issues.finish((tree, source))
}

/// The text cannot be followed further; an issue has been reported.
pub(crate) struct Lost;

type Parsed<T> = Result<T, Lost>;

pub(crate) struct Parser<'a> {
    chars: &'a [char],
    lexemes: &'a [Lexeme],
    at: usize,
    depth: usize,
    offsets: Vec<u32>,
    /// By node, where it is known; zero where not.
    heights: Vec<u16>,
    issues: Issues,
    pub(crate) binds: bool,
}

/// How tightly a binary operator binds, and its function.
fn binary(token: Token) -> Option<(u8, &'static str)> {
    Some(match token {
        Token::Sign("<") => (1, "_<_"),
        Token::Sign("<=") => (1, "_<=_"),
        Token::Sign(">") => (1, "_>_"),
        Token::Sign(">=") => (1, "_>=_"),
        Token::Sign("==") => (1, operators::EQUALS),
        Token::Sign("!=") => (1, operators::NOT_EQUALS),
        Token::In => (1, operators::IN),
        Token::Sign("+") => (2, operators::ADD),
        Token::Sign("-") => (2, "_-_"),
        Token::Sign("*") => (3, "_*_"),
        Token::Sign("/") => (3, "_/_"),
        Token::Sign("%") => (3, "_%_"),
        _ => return None,
    })
}

fn starts_operand(token: Token) -> bool {
    !matches!(token, Token::End | Token::In | Token::EscapedIdent)
        && (!matches!(token, Token::Sign(_)) || matches!(token, Token::Sign("[" | "{" | "(" | "." | "-" | "!")))
}

impl Parser<'_> {
    fn whole(&mut self) -> Parsed<Expr> {
        let root = self.expr()?;
        if self.token() != Token::End {
            let word = if self.peek(1).token == Token::End { "extraneous" } else { "mismatched" };
            self.syntax(self.peek(0), &format!("{word} input {} expecting <EOF>", self.shown(self.peek(0))));
        }
        Ok(root)
    }

    fn expr(&mut self) -> Parsed<Expr> {
        self.deeper(|parser| {
            let condition = parser.logical(operators::OR, "||")?;
            let sign = parser.peek(0);
            if !parser.take("?") {
                return parser.held(condition);
            }
            let id = parser.new_id(sign.start);
            let then = parser.logical(operators::OR, "||")?;
            parser.expect(":", "':'", false)?;
            let otherwise = parser.expr()?;
            parser.held(call(id, operators::CONDITIONAL, vec![condition, then, otherwise]))
        })
    }

    /// A chain of `||` or `&&`, as a balanced tree: a long chain stays shallow.
    fn logical(&mut self, function: &'static str, sign: &str) -> Parsed<Expr> {
        let mut terms = vec![self.logical_term(function)?];
        let mut signs = Vec::new();
        loop {
            let here = self.peek(0);
            if !self.take(sign) {
                return Ok(balanced(function, &signs, &mut terms.into_iter()));
            }
            terms.push(self.logical_term(function)?);
            signs.push(self.new_id(here.start));
        }
    }

    fn logical_term(&mut self, function: &str) -> Parsed<Expr> {
        if function == operators::OR { self.logical(operators::AND, "&&") } else { self.calculation(1) }
    }

    /// Left-associative operators that bind at least as tightly as `tightness`.
    fn calculation(&mut self, tightness: u8) -> Parsed<Expr> {
        let mut left = self.unary()?;
        while let Some((bound, function)) = binary(self.token()).filter(|(bound, _)| *bound >= tightness) {
            let sign = self.next();
            let right = self.calculation(bound + 1)?;
            let id = self.new_id(sign.start);
            left = self.held(call(id, function, vec![left, right]))?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed<Expr> {
        let first = self.peek(0);
        if first.token == Token::Sign("!") {
            return self.repeated("!", operators::NOT, first);
        }
        let signed = matches!(self.peek(1).token, Token::Int | Token::Float);
        if first.token == Token::Sign("-") && !signed {
            return self.repeated("-", operators::NEGATE, first);
        }
        self.member()
    }

    /// An even number of signs is none.
    fn repeated(&mut self, sign: &str, function: &str, first: Lexeme) -> Parsed<Expr> {
        let mut count = 0;
        while self.take(sign) {
            count += 1;
        }
        if sign == "!" && self.token() == Token::Sign("-") && !matches!(self.peek(1).token, Token::Int | Token::Float) {
            let (minus, after) = (self.peek(0), self.peek(1));
            self.syntax(minus, &format!("no viable alternative at input '{}'", self.between(minus.start, after.end)));
            return Err(Lost);
        }
        let id = self.new_id(first.start);
        let operand = self.member()?;
        Ok(if count % 2 == 0 { operand } else { call(id, function, vec![operand]) })
    }

    fn member(&mut self) -> Parsed<Expr> {
        let mut operand = self.primary()?;
        loop {
            let sign = self.peek(0);
            operand = match sign.token {
                Token::Sign(".") => self.selection(operand)?,
                Token::Sign("[") => self.index(operand)?,
                _ => return Ok(operand),
            };
            operand = self.held(operand)?;
        }
    }

    /// `.field`, `.?field`, `.method(…)`
    fn selection(&mut self, operand: Expr) -> Parsed<Expr> {
        let dot = self.next();
        let optional = self.take("?");
        let name = self.peek(0);
        if !matches!(name.token, Token::Ident | Token::EscapedIdent) {
            self.no_field(dot, name, optional);
            return Err(Lost);
        }
        self.next();
        let text = self.field_name(name);
        if optional {
            let id = self.new_id(dot.start);
            let field = self.new_expr(name.start, Kind::Literal(Literal::String(text)));
            return Ok(call(id, operators::OPTIONAL_SELECT, vec![operand, field]));
        }
        let open = self.peek(0);
        if name.token == Token::Ident && self.take("(") {
            let args = self.arguments()?;
            let id = self.new_id(open.start);
            return Ok(self.receiver_call(id, operand, text, args));
        }
        Ok(self.new_expr(dot.start, Kind::Select(Box::new(Select { operand, field: text, presence: false }))))
    }

    fn no_field(&mut self, dot: Lexeme, name: Lexeme, optional: bool) {
        let message = match name.token {
            _ if optional => format!("mismatched input {} expecting {{IDENTIFIER, ESC_IDENTIFIER}}", self.shown(name)),
            Token::True | Token::False | Token::Null => format!("mismatched input {} expecting IDENTIFIER", self.shown(name)),
            _ => format!("no viable alternative at input '{}'", self.between(dot.start, name.end)),
        };
        self.syntax(name, &message);
    }

    fn index(&mut self, operand: Expr) -> Parsed<Expr> {
        let open = self.next();
        if self.token() != Token::Sign("?") && !starts_operand(self.token()) {
            self.syntax(self.peek(0), &format!("mismatched input {} expecting {INDEX}", self.shown(self.peek(0))));
            return Err(Lost);
        }
        let function = if self.take("?") { operators::OPTIONAL_INDEX } else { operators::INDEX };
        let id = self.new_id(open.start);
        let index = self.expr()?;
        self.expect("]", "']'", true)?;
        Ok(call(id, function, vec![operand, index]))
    }

    fn primary(&mut self) -> Parsed<Expr> {
        self.skip_one_too_many();
        let first = self.peek(0);
        match first.token {
            Token::Sign("(") => self.nested(),
            Token::Sign("[") => self.list(),
            Token::Sign("{") => self.map(),
            Token::Sign(".") | Token::Ident => self.named(),
            Token::Sign("-") | Token::Int | Token::Uint | Token::Float | Token::String | Token::Bytes => self.literal(),
            Token::True | Token::False | Token::Null => self.literal(),
            _ => {
                let word = if self.at > 0 && self.lexemes[self.at - 1].token == Token::Sign("!") { "extraneous" } else { "mismatched" };
                self.syntax(first, &format!("{word} input {} expecting {OPERAND}", self.shown(first)));
                Err(Lost)
            }
        }
    }

    /// A stray token before an operand is told and passed over.
    fn skip_one_too_many(&mut self) {
        let (first, second) = (self.peek(0), self.peek(1));
        if first.token != Token::End && !starts_operand(first.token) && starts_operand(second.token) {
            self.syntax(first, &format!("extraneous input {} expecting {OPERAND}", self.shown(first)));
            self.next();
        }
    }

    fn nested(&mut self) -> Parsed<Expr> {
        self.next();
        let inner = self.expr()?;
        self.expect(")", "')'", true)?;
        Ok(inner)
    }

    fn list(&mut self) -> Parsed<Expr> {
        let open = self.next();
        let id = self.new_id(open.start);
        let mut elements = Vec::new();
        while self.token() != Token::Sign("]") {
            let optional = self.take("?");
            elements.push(Element { value: self.expr()?, optional });
            if !self.another("]", "{']', ','}")? {
                break;
            }
        }
        self.expect("]", "']'", false)?;
        Ok(Expr { id, kind: Kind::List(elements) })
    }

    fn map(&mut self) -> Parsed<Expr> {
        let open = self.next();
        let id = self.new_id(open.start);
        let mut entries = Vec::new();
        while self.token() != Token::Sign("}") {
            let optional = self.take("?");
            let key = self.expr()?;
            self.expect(":", "':'", true)?;
            entries.push(Entry { key, value: self.expr()?, optional });
            if !self.another("}", "{'}', ','}")? {
                break;
            }
        }
        self.expect("}", "'}'", false)?;
        Ok(Expr { id, kind: Kind::Map(entries) })
    }

    /// After an element: true where a comma leads on.
    fn another(&mut self, close: &'static str, expected: &str) -> Parsed<bool> {
        if self.token() == Token::Sign(close) {
            return Ok(false);
        }
        if self.take(",") {
            return Ok(true);
        }
        let here = self.peek(0);
        let next = self.peek(1).token;
        if next == Token::Sign(close) || next == Token::Sign(",") {
            self.syntax(here, &format!("extraneous input {} expecting {expected}", self.shown(here)));
            self.next();
            return self.another(close, expected);
        }
        self.syntax(here, &format!("mismatched input {} expecting {expected}", self.shown(here)));
        Err(Lost)
    }

    /// An identifier, a call of a function, or `Type{…}`.
    fn named(&mut self) -> Parsed<Expr> {
        let dot = self.peek(0);
        let leading = self.take(".");
        let name = self.peek(0);
        if name.token != Token::Ident {
            self.syntax(name, &format!("no viable alternative at input '{}'", self.between(dot.start, name.end)));
            return Err(Lost);
        }
        if let Some(made) = self.maybe_struct(leading)? {
            return Ok(made);
        }
        self.next();
        let text = self.text(name);
        if RESERVED.contains(&text.as_str()) {
            self.issues.report(dot.start, format!("reserved identifier: {text}"));
            if self.token() == Token::Sign("(") {
                self.next();
                self.arguments()?;
            }
            return Ok(self.new_expr(dot.start, Kind::Nothing));
        }
        let text = if leading { format!(".{text}") } else { text };
        let open = self.peek(0);
        if self.take("(") {
            let args = self.arguments()?;
            let id = self.new_id(open.start);
            return Ok(self.global_call(id, text, args));
        }
        Ok(self.new_expr(name.start, Kind::Ident(text)))
    }

    /// `a.b.Type{field: value}`; nothing is taken where no brace follows the names.
    fn maybe_struct(&mut self, leading: bool) -> Parsed<Option<Expr>> {
        let mut ahead = 1;
        while self.peek(ahead).token == Token::Sign(".") && self.peek(ahead + 1).token == Token::Ident {
            ahead += 2;
        }
        if self.peek(ahead).token != Token::Sign("{") {
            return Ok(None);
        }
        let mut name = String::from(if leading { "." } else { "" });
        for _ in 0..ahead {
            let part = self.next();
            name.push_str(&self.text(part));
        }
        let open = self.next();
        let id = self.new_id(open.start);
        let mut fields = Vec::new();
        while self.token() != Token::Sign("}") {
            fields.push(self.field()?);
            if !self.another("}", "{'}', ','}")? {
                break;
            }
        }
        self.expect("}", "'}'", false)?;
        Ok(Some(Expr { id, kind: Kind::Struct(Box::new(Struct { name, fields })) }))
    }

    fn field(&mut self) -> Parsed<Field> {
        let optional = self.take("?");
        let name = self.peek(0);
        if !matches!(name.token, Token::Ident | Token::EscapedIdent) {
            self.syntax(name, &format!("mismatched input {} expecting {{'}}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}}", self.shown(name)));
            return Err(Lost);
        }
        self.next();
        let text = self.field_name(name);
        let colon = self.peek(0);
        self.expect(":", "':'", true)?;
        let id = self.new_id(colon.start);
        Ok(Field { id, name: text, value: self.expr()?, optional })
    }

    /// What stands between parentheses, whose first has been taken.
    fn arguments(&mut self) -> Parsed<Vec<Expr>> {
        let mut args = Vec::new();
        if self.take(")") {
            return Ok(args);
        }
        if !starts_operand(self.token()) && !starts_operand(self.peek(1).token) {
            self.syntax(self.peek(0), &format!("mismatched input {} expecting {ARGUMENT}", self.shown(self.peek(0))));
            return Err(Lost);
        }
        loop {
            args.push(self.expr()?);
            if !self.take(",") {
                self.expect(")", "')'", true)?;
                return Ok(args);
            }
        }
    }

    fn literal(&mut self) -> Parsed<Expr> {
        let first = self.next();
        let negative = first.token == Token::Sign("-");
        let number = if negative { self.next() } else { first };
        let text = self.text(number);
        let literal = match number.token {
            Token::True => Ok(Literal::Bool(true)),
            Token::False => Ok(Literal::Bool(false)),
            Token::Null => Ok(Literal::Null),
            Token::Int => literals::int(&text, negative).map(Literal::Int).ok_or("invalid int literal"),
            Token::Uint => literals::uint(&text).map(Literal::Uint).ok_or("invalid uint literal"),
            Token::Float => literals::double(&text, negative).map(Literal::Double).ok_or("invalid double literal"),
            Token::String => literals::string(&text).map(Literal::String),
            Token::Bytes => literals::bytes(&text).map(Literal::Bytes),
            _ => {
                self.syntax(first, &format!("no viable alternative at input '{}'", self.between(first.start, number.end)));
                return Err(Lost);
            }
        };
        let kind = literal.map_or_else(
            |wrong| {
                self.issues.report(first.start, wrong);
                Kind::Nothing
            },
            Kind::Literal,
        );
        Ok(self.new_expr(first.start, kind))
    }

    fn global_call(&mut self, id: Id, function: String, args: Vec<Expr>) -> Expr {
        macros::expand(self, id, &function, None, args).unwrap_or_else(|unchanged| call(id, function, unchanged.1))
    }

    fn receiver_call(&mut self, id: Id, target: Expr, function: String, args: Vec<Expr>) -> Expr {
        macros::expand(self, id, &function, Some(target), args)
            .unwrap_or_else(|(target, args)| Expr { id, kind: Kind::Call(Box::new(Call { target, function, args })) })
    }
}

fn call(id: Id, function: impl Into<String>, args: Vec<Expr>) -> Expr {
    Expr { id, kind: Kind::Call(Box::new(Call { target: None, function: function.into(), args })) }
}

/// The terms around `signs` as a tree of even depth.
fn balanced(function: &str, signs: &[Id], terms: &mut impl Iterator<Item = Expr>) -> Expr {
    if signs.is_empty() {
        return terms.next().expect("one term more than signs");
    }
    let middle = signs.len() / 2;
    let left = balanced(function, &signs[..middle], terms);
    let right = balanced(function, &signs[middle + 1..], terms);
    call(signs[middle], function, vec![left, right])
}
