//! Pipelines: declarations, commands, operands.

use schema::go;

use super::{Parser, numbers};
use crate::lexer::{Token, TokenSort};
use crate::nodes::{Command, Pipe, Word, WordSort};

impl Parser<'_> {
    /// A pipeline up to its end, which is read too.
    pub(super) fn pipe(&mut self, context: &str, end: TokenSort) -> Result<Pipe, String> {
        let mut pipe = Pipe { place: self.peek_solid().place, assigns: false, variables: Vec::new(), commands: Vec::new() };
        self.declarations(&mut pipe, context)?;
        loop {
            let token = self.next_solid();
            match token.sort {
                sort if sort == end => return self.checked(pipe, context),
                TokenSort::Bool
                | TokenSort::CharConstant
                | TokenSort::Dot
                | TokenSort::Field
                | TokenSort::Name
                | TokenSort::Number
                | TokenSort::Nil
                | TokenSort::Raw
                | TokenSort::Quoted
                | TokenSort::Variable
                | TokenSort::OpenParen => {
                    self.at -= 1;
                    pipe.commands.push(self.command()?);
                }
                _ => return self.unexpected(&token, context),
            }
        }
    }

    /// `$x :=`, `$x =`, and for a range `$i, $x :=`.
    fn declarations(&mut self, pipe: &mut Pipe, context: &str) -> Result<(), String> {
        loop {
            let start = self.at;
            let variable = self.next_solid();
            if variable.sort != TokenSort::Variable {
                self.at = start;
                return Ok(());
            }
            let next = self.next_solid();
            match next.sort {
                TokenSort::Assign | TokenSort::Declare => {
                    pipe.assigns = next.sort == TokenSort::Assign;
                    self.declare(pipe, variable);
                    return Ok(());
                }
                TokenSort::Char if next.text == "," => self.declare(pipe, variable),
                _ => {
                    self.at = start;
                    return Ok(());
                }
            }
            if context != "range" || pipe.variables.len() > 1 {
                return self.fail(&format!("too many declarations in {context}"));
            }
            if !matches!(self.peek_solid().sort, TokenSort::Variable | TokenSort::Close | TokenSort::CloseParen) {
                return self.fail("range can only initialize variables");
            }
        }
    }

    fn declare(&mut self, pipe: &mut Pipe, variable: Token) {
        self.variables.push(variable.text.clone());
        pipe.variables.push(variable.text);
    }

    fn checked(&self, pipe: Pipe, context: &str) -> Result<Pipe, String> {
        if pipe.commands.is_empty() {
            return self.fail(&format!("missing value for {context}"));
        }
        let is_plain = |command: &Command| {
            let first = command.words.first().map(|word| &word.sort);
            use WordSort::{Bool, Dot, Nil, Number, Text};
            matches!(first, Some(Bool(_) | Dot | Nil | Number(..) | Text(..)))
        };
        match pipe.commands.iter().skip(1).position(is_plain) {
            Some(at) => self.fail(&format!("non executable command in pipeline stage {}", at + 2)),
            None => Ok(pipe),
        }
    }

    fn command(&mut self) -> Result<Command, String> {
        let mut command = Command { place: self.peek_solid().place, words: Vec::new() };
        loop {
            self.skip_space();
            command.words.extend(self.operand()?);
            let token = self.next();
            match token.sort {
                TokenSort::Space => {}
                TokenSort::Close | TokenSort::CloseParen => {
                    self.at -= 1;
                    break;
                }
                TokenSort::Pipe => break,
                _ => return self.unexpected(&token, "operand"),
            }
        }
        if command.words.is_empty() { self.fail("empty command") } else { Ok(command) }
    }

    /// A term and the fields after it.
    fn operand(&mut self) -> Result<Option<Word>, String> {
        let Some(term) = self.term()? else { return Ok(None) };
        let place = self.peek().place;
        let mut fields = Vec::new();
        while self.peek().sort == TokenSort::Field {
            fields.push(self.next().text[1..].to_owned());
        }
        if fields.is_empty() {
            return Ok(Some(term));
        }
        let sort = match term.sort {
            WordSort::Field(names) => WordSort::Field([names, fields].concat()),
            WordSort::Variable(name, names) => WordSort::Variable(name, [names, fields].concat()),
            WordSort::Pipe(_) | WordSort::Function(_) | WordSort::Chain(..) => WordSort::Chain(Box::new(term), fields),
            _ => return self.fail(&format!("unexpected . after term {}", go::quote(&term.to_string()))),
        };
        Ok(Some(Word { place, sort }))
    }

    fn term(&mut self) -> Result<Option<Word>, String> {
        let start = self.at;
        let token = self.next_solid();
        let sort = match token.sort {
            TokenSort::Name if !self.knows(&token.text) => {
                return self.fail(&format!("function {} not defined", go::quote(&token.text)));
            }
            TokenSort::Name => WordSort::Function(token.text.clone()),
            TokenSort::Dot => WordSort::Dot,
            TokenSort::Nil => WordSort::Nil,
            TokenSort::Bool => WordSort::Bool(token.text == "true"),
            TokenSort::Variable if !self.variables.contains(&token.text) => {
                return self.fail(&format!("undefined variable {}", go::quote(&token.text)));
            }
            TokenSort::Variable => WordSort::Variable(token.text.clone(), Vec::new()),
            TokenSort::Field => WordSort::Field(vec![token.text[1..].to_owned()]),
            TokenSort::CharConstant | TokenSort::Number => match numbers::parse(&token.text) {
                Ok(number) => WordSort::Number(token.text.clone(), number),
                Err(why) => return self.fail(&why),
            },
            TokenSort::Quoted | TokenSort::Raw => WordSort::Text(token.text.clone(), self.unquoted(&token)?),
            TokenSort::OpenParen => WordSort::Pipe(self.nested(|parser| parser.pipe("parenthesized pipeline", TokenSort::CloseParen))?),
            _ => {
                self.at = start;
                return Ok(None);
            }
        };
        Ok(Some(Word { place: token.place, sort }))
    }
}
