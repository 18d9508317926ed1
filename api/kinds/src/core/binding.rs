//! Binding: puts a pod on a node; never stored.

use crate::descriptor::Verbs;
use crate::kind::{Kind, Meta, Question};

/// Puts a pod on a node; never stored.
pub struct Binding;

impl Kind for Binding {
    const META: Meta = Meta { verbs: Verbs::CreateOnly, ..Meta::namespaced("", "Binding", "bindings") };
    const NOTHING: &[Question] = &[
        Question::Columns,
        Question::Fields,
        Question::Defaults,
        Question::Rules,
        Question::Updates,
        Question::Subresources,
        Question::Warnings,
    ];
}
