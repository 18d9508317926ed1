//! What a template is made of.

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// Outside of braces.
    Text(String),
    /// Within a pair of braces: each part goes on from what the one before found.
    Action(Vec<Part>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    /// A member of a map.
    Name(String),
    /// `*`: all values of a map or list.
    All,
    /// `..`: everything below, what is looked at included.
    Below,
    Slice(Slice),
    /// `[0,2]`: each in turn.
    Union(Vec<Vec<Part>>),
    Filter(Filter),
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Range,
    End,
    /// A word that means nothing: refused when it is reached.
    Word(String),
}

/// `[start:end:step]`
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Slice {
    pub start: Option<i64>,
    pub end: End,
    pub step: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    Open,
    At(i64),
    /// Of a single place: the one after it. After the last of all (`[-1]`) that is the end of the list.
    After(i64),
}

/// `[?(left operator right)]`
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Filter {
    pub left: Vec<Part>,
    /// None asks whether `left` is there.
    pub compared: Option<(String, Vec<Part>)>,
}
