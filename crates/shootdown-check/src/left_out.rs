//! What a run does without.

use std::{fmt, panic::Location as Source};

use shootdown::Fix;
use shootdown_sim::smp::Operation;

use crate::{fix_set::FixSet, orders::Weakened};

/// What a run does without: steps of the library, and part of one memory order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Steps of the library.
    pub fixes: FixSet,
    /// A place where the library asks for a memory order and gets a weaker one.
    pub order: Option<Weakened>,
}

impl LeftOut {
    /// Nothing: the library as it ships.
    pub const NOTHING: LeftOut = LeftOut { fixes: FixSet::NONE, order: None };

    /// Tells whether `fix` is left out.
    pub(crate) fn contains(self, fix: Fix) -> bool {
        self.fixes.contains(fix)
    }

    /// What becomes of an operation that code asks for at this place of the source.
    pub(crate) fn weaken(self, operation: Operation, at: &Source<'static>) -> Operation {
        self.order.map_or(operation, |weakened| weakened.apply(operation, at))
    }
}

impl From<FixSet> for LeftOut {
    fn from(fixes: FixSet) -> Self {
        LeftOut { fixes, order: None }
    }
}

impl From<&[Fix]> for LeftOut {
    fn from(fixes: &[Fix]) -> Self {
        FixSet::from(fixes).into()
    }
}

impl From<Weakened> for LeftOut {
    fn from(order: Weakened) -> Self {
        LeftOut { fixes: FixSet::NONE, order: Some(order) }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fixes.fmt(f)?;
        match self.order {
            Some(order) => write!(f, ", {order}"),
            None => Ok(()),
        }
    }
}
