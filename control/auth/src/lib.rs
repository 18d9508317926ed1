//! Who asks, and may they: certificates, tokens, RBAC and the bootstrap policy.
//!
//! | module | what |
//! |---|---|
//! | [`seam`] | the types that every caller of this crate shares: user, question, decision, the traits behind them |

pub mod seam;

pub use seam::{
    Attributes, Authorizer, BoundObject, Decision, Issued, PolicyRule, Rules, TokenIssuer, TokenRequest, TokenReviewer, UserInfo,
};
