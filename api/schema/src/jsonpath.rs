//! Paths into documents in the dialect of `kubectl` and of printer columns: `.spec.x`, `['a.b']`, `[0]`, `[-1]`, `[1:3:2]`,
//! `[*]`, `[0,2]`, `..name` and filters (`[?(@.type=="Ready")].status`). One path, without the template around it.

use crate::Value;

/// A path that has been read.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Member(String),
    /// All values of a map or list.
    All,
    Slice {
        start: Option<i64>,
        end: Option<i64>,
        step: Option<i64>,
    },
    /// `[0,2]`: each in turn.
    Union(Vec<Vec<Step>>),
    Filter {
        left: Operand,
        compared: Option<(Comparison, Operand)>,
    },
    /// `..`: everything below, this value included.
    Below,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(JsonPath),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl JsonPath {
    /// Reads a path such as `.spec.replicas`; a leading `$` or `@` is the document itself.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { text, at: 0 };
        let steps = reader.steps()?;
        if reader.at < text.len() {
            return Err(format!("unexpected {:?} at {}", &text[reader.at..], reader.at));
        }
        Ok(Self { steps })
    }

    /// Everything that the path leads to, in order; nothing where something on the way is missing.
    pub fn find<'a>(&self, doc: &'a Value) -> Vec<&'a Value> {
        self.steps.iter().fold(vec![doc], |found, step| found.into_iter().flat_map(|value| step.of(value)).collect())
    }

    /// The names on the way, where the path is nothing but names.
    pub fn names(&self) -> Option<Vec<&str>> {
        fn name(step: &Step) -> Option<&str> {
            match step {
                Step::Member(name) => Some(name),
                _ => None,
            }
        }
        self.steps.iter().map(name).collect()
    }
}

impl Step {
    fn of<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Self::Member(name) => value.get(name.as_str()).into_iter().collect(),
            Self::All => children(value),
            Self::Slice { start, end, step } => slice(value, *start, *end, *step),
            Self::Union(parts) => {
                let one = |steps: &Vec<Self>| JsonPath { steps: steps.clone() }.find(value);
                parts.iter().flat_map(one).collect()
            }
            Self::Filter { left, compared } => {
                let elements = value.as_array().map(|items| items.iter().collect()).unwrap_or_else(|| vec![value]);
                elements.into_iter().filter(|element| holds(element, left, compared.as_ref())).collect()
            }
            Self::Below => {
                let mut all = vec![value];
                all.extend(children(value).into_iter().flat_map(|child| self.of(child)));
                all
            }
        }
    }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(members) => members.values().collect(),
        _ => Vec::new(),
    }
}

/// As Python's slices; an index beyond the end finds nothing.
fn slice(value: &Value, start: Option<i64>, end: Option<i64>, step: Option<i64>) -> Vec<&Value> {
    let Value::Array(items) = value else { return Vec::new() };
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let place = |at: i64| if at < 0 { at.saturating_add(length) } else { at };
    let (from, to) = (place(start.unwrap_or(0)), place(end.unwrap_or(length)).min(length));
    let step = usize::try_from(step.unwrap_or(1)).unwrap_or(1).max(1);
    let Ok(from) = usize::try_from(from) else { return Vec::new() };
    let to = usize::try_from(to).unwrap_or_default();
    items.get(from..to).unwrap_or_default().iter().step_by(step).collect()
}

fn holds(element: &Value, left: &Operand, compared: Option<&(Comparison, Operand)>) -> bool {
    let value = |operand: &Operand| match operand {
        Operand::Path(path) => path.find(element).first().map(|found| (*found).clone()),
        Operand::Literal(value) => Some(value.clone()),
    };
    let Some((comparison, right)) = compared else { return value(left).is_some() };
    let (Some(left), Some(right)) = (value(left), value(right)) else { return false };
    let order = match (left.as_f64(), right.as_f64()) {
        (Some(a), Some(b)) => a.partial_cmp(&b),
        _ => left.as_str().zip(right.as_str()).map(|(a, b)| a.cmp(b)),
    };
    let equal = order.map_or(left == right, std::cmp::Ordering::is_eq);
    match comparison {
        Comparison::Equal => equal,
        Comparison::NotEqual => !equal,
        Comparison::Less => order.is_some_and(std::cmp::Ordering::is_lt),
        Comparison::LessOrEqual => order.is_some_and(std::cmp::Ordering::is_le),
        Comparison::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
        Comparison::GreaterOrEqual => order.is_some_and(std::cmp::Ordering::is_ge),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn accept(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn spaces(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn steps(&mut self) -> Result<Vec<Step>, String> {
        let _ = self.accept("$") || self.accept("@");
        let mut steps = Vec::new();
        loop {
            if self.accept("..") {
                steps.push(Step::Below);
                if !self.rest().starts_with('[') {
                    steps.push(self.name()?);
                }
            } else if self.accept(".") {
                if !self.rest().starts_with('[') {
                    steps.push(self.name()?);
                }
            } else if self.accept("[") {
                steps.push(self.bracket()?);
            } else {
                return Ok(steps);
            }
        }
    }

    fn name(&mut self) -> Result<Step, String> {
        let mut name = String::new();
        let mut characters = self.rest().char_indices();
        let mut length = self.rest().len();
        while let Some((at, c)) = characters.next() {
            match c {
                '\\' => name.extend(characters.next().map(|(_, escaped)| escaped)),
                '.' | '[' | ']' | ')' | '(' | ' ' | '=' | '!' | '<' | '>' | ',' | '}' | '{' => {
                    length = at;
                    break;
                }
                c => name.push(c),
            }
        }
        self.at += length;
        match name.as_str() {
            "" => Err(format!("a name is missing at {}", self.at)),
            "*" => Ok(Step::All),
            _ => Ok(Step::Member(name)),
        }
    }

    fn bracket(&mut self) -> Result<Step, String> {
        if self.accept("?(") {
            let step = self.filter()?;
            return if self.accept(")]") { Ok(step) } else { Err("unterminated filter".into()) };
        }
        let mut parts = vec![vec![self.subscript()?]];
        while self.accept(",") {
            parts.push(vec![self.subscript()?]);
        }
        if !self.accept("]") {
            return Err("unterminated array".into());
        }
        Ok(if parts.len() == 1 { parts.remove(0).remove(0) } else { Step::Union(parts) })
    }

    fn subscript(&mut self) -> Result<Step, String> {
        self.spaces();
        if let Some(quote @ ('\'' | '"')) = self.rest().chars().next() {
            return self.quoted(quote).map(Step::Member);
        }
        if self.accept("*") {
            return Ok(Step::All);
        }
        let length = self.rest().find([',', ']']).ok_or("unterminated array")?;
        let text = self.rest()[..length].trim();
        self.at += length;
        let number = |text: &str| match text {
            "" => Ok(None),
            text => text.parse::<i64>().map(Some).map_err(|_| format!("invalid array index {text}")),
        };
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            [""] => Err("invalid array index".into()),
            [index] => {
                let index = number(index)?;
                Ok(Step::Slice { start: index, end: index.map(|at| at.wrapping_add(1)).filter(|end| *end != 0), step: None })
            }
            [start, end] => Ok(Step::Slice { start: number(start)?, end: number(end)?, step: None }),
            [start, end, step] => Ok(Step::Slice { start: number(start)?, end: number(end)?, step: number(step)? }),
            _ => Err(format!("invalid array index {text}")),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::new();
        let mut characters = self.rest().char_indices().skip(1);
        while let Some((at, c)) = characters.next() {
            match c {
                '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
                c if c == quote => {
                    self.at += at + c.len_utf8();
                    return Ok(text);
                }
                c => text.push(c),
            }
        }
        Err("unterminated quoted string".into())
    }

    fn filter(&mut self) -> Result<Step, String> {
        const COMPARISONS: [(&str, Comparison); 6] = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let left = self.operand()?;
        self.spaces();
        let comparison = COMPARISONS.iter().find(|(token, _)| self.accept(token)).map(|(_, comparison)| *comparison);
        let compared = comparison.map(|comparison| Ok::<_, String>((comparison, self.operand()?))).transpose()?;
        self.spaces();
        Ok(Step::Filter { left, compared })
    }

    fn operand(&mut self) -> Result<Operand, String> {
        self.spaces();
        match self.rest().chars().next() {
            Some('@' | '$' | '.') => Ok(Operand::Path(JsonPath { steps: self.steps()? })),
            Some(quote @ ('\'' | '"')) => self.quoted(quote).map(|text| Operand::Literal(text.into())),
            _ => {
                let length = self.rest().find([' ', ')', '=', '!', '<', '>']).unwrap_or(self.rest().len());
                let text = &self.rest()[..length];
                self.at += length;
                serde_json::from_str(text).map(Operand::Literal).map_err(|_| format!("unrecognized literal {text:?}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn paths_lead_to_what_is_there() {
        let doc = json!({"spec": {"a.b": 1, "list": [{"t": "x", "n": 1}, {"t": "y", "n": 2}, {"t": "z", "n": 3}]}});
        for (path, want) in [
            (".spec['a.b']", json!([1])),
            (".spec.a\\.b", json!([1])),
            (".spec.list[0].t", json!(["x"])),
            (".spec.list[-1].t", json!(["z"])),
            (".spec.list[0:2].n", json!([1, 2])),
            (".spec.list[::2].n", json!([1, 3])),
            (".spec.list[*].n", json!([1, 2, 3])),
            (".spec.list[0,2].n", json!([1, 3])),
            (".spec.list[?(@.t==\"y\")].n", json!([2])),
            (".spec.list[?(@.n >= 2)].t", json!(["y", "z"])),
            (".spec.list[?(@.t)].n", json!([1, 2, 3])),
            ("$..n", json!([1, 2, 3])),
            (".spec.missing.deep", json!([])),
            (".spec.list[7]", json!([])),
        ] {
            let found = JsonPath::parse(path).unwrap_or_else(|why| panic!("{path}: {why}"));
            assert_eq!(json!(found.find(&doc)), want, "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for bad in [".spec[", ".spec[?(@.a", ".spec['a", "spec", ".a..", ".a[x]", ".a[]"] {
            assert!(JsonPath::parse(bad).is_err(), "{bad}");
        }
    }
}
