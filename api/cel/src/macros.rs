//! The macros: calls that become folds before anything is checked, so that cost is counted on the fold.

use crate::ast::{ACCUMULATOR, Call, Element, Expr, Fold, Id, Kind, Literal, Select, operators};
use crate::parser::Parser;

/// A name for the variable of a fold that runs over nothing.
pub(crate) const UNUSED: &str = "#unused";
const SORT_INPUT: &str = "@__sortBy_input__";
/// A name from older releases that a variable still must not take.
const OLD_ACCUMULATOR: &str = "__result__";

type Unchanged = (Option<Expr>, Vec<Expr>);

/// What the call becomes; its parts again where it is no macro.
pub(crate) fn expand(parser: &mut Parser<'_>, id: Id, name: &str, target: Option<Expr>, args: Vec<Expr>) -> Result<Expr, Unchanged> {
    let offset = parser.offset_of(id);
    let binds = parser.binds;
    let mut make = Maker { parser, offset };
    let made = match (name, target, args.len()) {
        ("has", None, 1) => make.has(args),
        ("bind", Some(target), 3) if binds && target.as_ident() == Some("cel") => make.bind(args),
        ("all", Some(range), 2 | 3) => make.quantifier(Quantifier::All, range, args),
        ("exists", Some(range), 2 | 3) => make.quantifier(Quantifier::Exists, range, args),
        ("exists_one" | "existsOne", Some(range), 2 | 3) => make.quantifier(Quantifier::ExistsOne, range, args),
        ("map", Some(range), 2 | 3) => make.map(range, args),
        ("filter", Some(range), 2) => make.filter(range, args),
        ("transformList", Some(range), 3 | 4) => make.transform_list(range, args),
        ("transformMap", Some(range), 3 | 4) => make.transform_map(range, args, true),
        ("transformMapEntry", Some(range), 3 | 4) => make.transform_map(range, args, false),
        ("sortBy", Some(range), 2) => make.sort_by(range, args),
        ("optMap", Some(target), 2) => make.opt_map(target, args, true),
        ("optFlatMap", Some(target), 2) => make.opt_map(target, args, false),
        (_, target, _) => return Err((target, args)),
    };
    Ok(made.unwrap_or_else(|Misuse { at, message }| {
        let offset = parser.offset_of(at);
        parser.report(offset, &message);
        parser.new_expr(offset, Kind::Nothing)
    }))
}

/// Arguments that do not fit the macro.
struct Misuse {
    at: Id,
    message: String,
}

type Made = Result<Expr, Misuse>;

#[derive(Clone, Copy, PartialEq)]
enum Quantifier {
    All,
    Exists,
    ExistsOne,
}

/// Makes nodes at the place of the macro's call.
struct Maker<'p, 'a> {
    parser: &'p mut Parser<'a>,
    offset: u32,
}

impl Maker<'_, '_> {
    fn has(&mut self, args: Vec<Expr>) -> Made {
        let [arg] = fixed(args);
        match arg.kind {
            Kind::Select(select) if !select.presence => Ok(self.node(Kind::Select(Box::new(Select { presence: true, ..*select })))),
            _ => Err(Misuse { at: arg.id, message: "invalid argument to has() macro".into() }),
        }
    }

    fn quantifier(&mut self, quantifier: Quantifier, range: Expr, mut args: Vec<Expr>) -> Made {
        let predicate = args.pop().expect("two or three arguments");
        let (var, var2) = variables(&args, "argument must be a simple name")?;
        let accu = |make: &mut Self| make.ident(ACCUMULATOR);
        let (init, condition, step) = match quantifier {
            Quantifier::All => {
                let (checked, before) = (accu(self), accu(self));
                let condition = self.call(operators::NOT_STRICTLY_FALSE, vec![checked]);
                (Literal::Bool(true), condition, self.call(operators::AND, vec![before, predicate]))
            }
            Quantifier::Exists => {
                let (checked, before) = (accu(self), accu(self));
                let not = self.call(operators::NOT, vec![checked]);
                let condition = self.call(operators::NOT_STRICTLY_FALSE, vec![not]);
                (Literal::Bool(false), condition, self.call(operators::OR, vec![before, predicate]))
            }
            Quantifier::ExistsOne => {
                let (before, one, same) = (accu(self), self.literal(Literal::Int(1)), accu(self));
                let more = self.call(operators::ADD, vec![before, one]);
                let step = self.call(operators::CONDITIONAL, vec![predicate, more, same]);
                (Literal::Int(0), self.literal(Literal::Bool(true)), step)
            }
        };
        let init = self.literal(init);
        let mut result = accu(self);
        if quantifier == Quantifier::ExistsOne {
            let one = self.literal(Literal::Int(1));
            result = self.call(operators::EQUALS, vec![result, one]);
        }
        Ok(self.fold(Fold { range, var, var2, accu: ACCUMULATOR.into(), init, condition, step, result }))
    }

    fn map(&mut self, range: Expr, mut args: Vec<Expr>) -> Made {
        let (var, _) = variables(&args[..1], "argument is not an identifier")?;
        let transform = args.pop().expect("two or three arguments");
        let filter = (args.len() == 2).then(|| args.pop().expect("two are left"));
        Ok(self.list_fold(range, var, None, filter, transform))
    }

    fn filter(&mut self, range: Expr, args: Vec<Expr>) -> Made {
        let (var, _) = variables(&args[..1], "argument is not an identifier")?;
        let [element, filter] = fixed(args);
        Ok(self.list_fold(range, var, None, Some(filter), element))
    }

    fn transform_list(&mut self, range: Expr, mut args: Vec<Expr>) -> Made {
        let (var, var2) = variables(&args[..2], "argument must be a simple name")?;
        let transform = args.pop().expect("three or four arguments");
        let filter = (args.len() == 3).then(|| args.pop().expect("three are left"));
        Ok(self.list_fold(range, var, var2, filter, transform))
    }

    fn list_fold(&mut self, range: Expr, var: String, var2: Option<String>, filter: Option<Expr>, element: Expr) -> Expr {
        let list = self.node(Kind::List(vec![Element { value: element, optional: false }]));
        let before = self.ident(ACCUMULATOR);
        let step = self.call(operators::ADD, vec![before, list]);
        let init = self.node(Kind::List(Vec::new()));
        self.filtered_fold(range, (var, var2), filter, init, step)
    }

    /// `with_key`: the transform is the value of the same key; else a map of entries.
    fn transform_map(&mut self, range: Expr, mut args: Vec<Expr>, with_key: bool) -> Made {
        let (var, var2) = variables(&args[..2], "argument must be a simple name")?;
        let transform = args.pop().expect("three or four arguments");
        let filter = (args.len() == 3).then(|| args.pop().expect("three are left"));
        let mut inserted = vec![self.ident(ACCUMULATOR)];
        if with_key {
            inserted.push(self.ident(&var));
        }
        inserted.push(transform);
        let step = self.call(operators::MAP_INSERT, inserted);
        let init = self.node(Kind::Map(Vec::new()));
        Ok(self.filtered_fold(range, (var, var2), filter, init, step))
    }

    fn filtered_fold(&mut self, range: Expr, vars: (String, Option<String>), filter: Option<Expr>, init: Expr, step: Expr) -> Expr {
        let step = match filter {
            Some(filter) => {
                let same = self.ident(ACCUMULATOR);
                self.call(operators::CONDITIONAL, vec![filter, step, same])
            }
            None => step,
        };
        let (condition, result) = (self.literal(Literal::Bool(true)), self.ident(ACCUMULATOR));
        self.fold(Fold { range, var: vars.0, var2: vars.1, accu: ACCUMULATOR.into(), init, condition, step, result })
    }

    fn sort_by(&mut self, range: Expr, args: Vec<Expr>) -> Made {
        if matches!(range.kind, Kind::Literal(_) | Kind::Map(_) | Kind::Struct(_)) {
            let message = "sortBy can only be applied to a list, identifier, comprehension, call or select expression".into();
            return Err(Misuse { at: range.id, message });
        }
        let input = self.ident(SORT_INPUT);
        let keys = self.map(input, args)?;
        let input = self.ident(SORT_INPUT);
        let sorted = self.member_call(operators::SORT_BY_KEYS, input, vec![keys]);
        Ok(self.binding(SORT_INPUT, range, sorted))
    }

    fn opt_map(&mut self, target: Expr, args: Vec<Expr>, wraps: bool) -> Made {
        let [var, mapped] = fixed(args);
        let Some(name) = var.as_ident().map(str::to_owned) else {
            let name = if wraps { "optMap" } else { "optFlatMap" };
            return Err(Misuse { at: var.id, message: format!("{name}() variable name must be a simple identifier") });
        };
        if !self.parser.has_room_for(size(&target)) {
            return Err(Misuse { at: target.id, message: "expression grows too large: optMap copies what it stands on".into() });
        }
        let again = self.copy(&target);
        let checked = self.member_call("hasValue", target, Vec::new());
        let value = self.member_call("value", again, Vec::new());
        let mut bound = self.binding(&name, value, mapped);
        if wraps {
            bound = self.call("optional.of", vec![bound]);
        }
        let none = self.call("optional.none", Vec::new());
        Ok(self.call(operators::CONDITIONAL, vec![checked, bound, none]))
    }

    fn bind(&mut self, args: Vec<Expr>) -> Made {
        let [var, value, result] = fixed(args);
        let name = var.as_ident().ok_or(Misuse { at: var.id, message: "cel.bind() variable names must be simple identifiers".into() })?;
        Ok(self.binding(name, value, result))
    }

    /// `result` with `name` standing for `value`: a fold over nothing.
    fn binding(&mut self, name: &str, value: Expr, result: Expr) -> Expr {
        let range = self.node(Kind::List(Vec::new()));
        let (condition, step) = (self.literal(Literal::Bool(false)), self.ident(name));
        self.fold(Fold { range, var: UNUSED.into(), var2: None, accu: name.into(), init: value, condition, step, result })
    }

    // -- nodes --

    fn node(&mut self, kind: Kind) -> Expr {
        self.parser.new_expr(self.offset, kind)
    }

    fn ident(&mut self, name: &str) -> Expr {
        self.node(Kind::Ident(name.to_owned()))
    }

    fn literal(&mut self, literal: Literal) -> Expr {
        self.node(Kind::Literal(literal))
    }

    fn fold(&mut self, fold: Fold) -> Expr {
        self.node(Kind::Fold(Box::new(fold)))
    }

    fn call(&mut self, function: &str, args: Vec<Expr>) -> Expr {
        self.node(Kind::Call(Box::new(Call { target: None, function: function.into(), args })))
    }

    fn member_call(&mut self, function: &str, target: Expr, args: Vec<Expr>) -> Expr {
        self.node(Kind::Call(Box::new(Call { target: Some(target), function: function.into(), args })))
    }

    /// The same tree with numbers of its own, so that it is checked for itself.
    fn copy(&mut self, expr: &Expr) -> Expr {
        let mut copy = expr.clone();
        self.renumber(&mut copy);
        copy
    }

    fn renumber(&mut self, expr: &mut Expr) {
        let offset = self.parser.offset_of(expr.id);
        expr.id = self.parser.new_id(offset);
        match &mut expr.kind {
            Kind::Literal(_) | Kind::Ident(_) | Kind::Nothing => {}
            Kind::Select(select) => self.renumber(&mut select.operand),
            Kind::Call(call) => call.target.iter_mut().chain(&mut call.args).for_each(|part| self.renumber(part)),
            Kind::List(elements) => elements.iter_mut().for_each(|element| self.renumber(&mut element.value)),
            Kind::Map(entries) => entries.iter_mut().for_each(|entry| {
                self.renumber(&mut entry.key);
                self.renumber(&mut entry.value);
            }),
            Kind::Struct(made) => made.fields.iter_mut().for_each(|field| self.renumber(&mut field.value)),
            Kind::Fold(fold) => {
                for part in [&mut fold.range, &mut fold.init, &mut fold.condition, &mut fold.step, &mut fold.result] {
                    self.renumber(part);
                }
            }
        }
    }
}

/// The number of nodes of a tree.
fn size(expr: &Expr) -> usize {
    1 + expr.children().into_iter().map(size).sum::<usize>()
}

fn fixed<const N: usize>(args: Vec<Expr>) -> [Expr; N] {
    args.try_into().unwrap_or_else(|_| unreachable!("the number of arguments has been matched"))
}

/// The names of a fold's one or two variables.
fn variables(args: &[Expr], complaint: &str) -> Result<(String, Option<String>), Misuse> {
    let mut names = Vec::new();
    for arg in args {
        let misuse = |message: String| Misuse { at: arg.id, message };
        let name = arg.as_ident().ok_or_else(|| misuse(complaint.into()))?;
        if names.contains(&name.to_owned()) {
            return Err(misuse(format!("duplicate variable name: {name}")));
        }
        names.push(name.to_owned());
    }
    if let Some(at) = names.iter().position(|name| name == ACCUMULATOR || name == OLD_ACCUMULATOR) {
        return Err(Misuse { at: args[at].id, message: "iteration variable overwrites accumulator variable".into() });
    }
    let mut names = names.into_iter();
    Ok((names.next().expect("at least one variable"), names.next()))
}
