//! Making nodes, and holding the tree to its bounds.

use super::{DEPTH_MAX, HEIGHT_MAX, Lost, NODES_MAX, Parsed, Parser};
use crate::ast::{Expr, Id, Kind};
use crate::source::Location;

impl Parser<'_> {
    pub(crate) fn new_id(&mut self, offset: u32) -> Id {
        self.offsets.push(offset);
        self.offsets.len() as Id - 1
    }

    pub(crate) fn offset_of(&self, id: Id) -> u32 {
        self.offsets[id as usize]
    }

    pub(crate) fn new_expr(&mut self, offset: u32, kind: Kind) -> Expr {
        Expr { id: self.new_id(offset), kind }
    }

    pub(crate) fn report(&mut self, offset: u32, message: &str) {
        self.issues.report(offset, message);
    }

    pub(super) fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == DEPTH_MAX {
            return Err(self.too_much());
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// The node, unless its tree has become too high or too large.
    pub(super) fn held(&mut self, expr: Expr) -> Parsed<Expr> {
        let height = self.height(&expr);
        self.heights.resize(self.offsets.len(), 0);
        self.heights[expr.id as usize] = height;
        if height > HEIGHT_MAX || self.offsets.len() > NODES_MAX { Err(self.too_much()) } else { Ok(expr) }
    }

    /// Whether so many nodes more are bearable.
    pub(crate) fn has_room_for(&self, nodes: usize) -> bool {
        self.offsets.len() + nodes <= NODES_MAX
    }

    pub(super) fn height(&self, expr: &Expr) -> u16 {
        match self.heights.get(expr.id as usize) {
            Some(known) if *known > 0 => *known,
            _ => 1 + expr.children().into_iter().map(|child| self.height(child)).max().unwrap_or(0),
        }
    }

    pub(super) fn too_much(&mut self) -> Lost {
        self.issues.report_at(Location::NOWHERE, format!("expression recursion limit exceeded: {DEPTH_MAX}"));
        Lost
    }
}
