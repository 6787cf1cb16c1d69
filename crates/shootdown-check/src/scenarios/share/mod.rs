//! Page tables that several address spaces have at once, and what the last one who has such a table may do with it.

pub(super) mod count;
pub(super) mod flush;
pub(super) mod race;
pub(super) mod script;
pub(super) mod split;
pub(super) mod walk;
