//! What was predicted beside what was recorded.

use serde::Serialize;

/// A prediction beside what the kernel recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Compared<T> {
    /// What the model did.
    pub predicted: T,
    /// What the kernel did.
    pub recorded: T,
}
