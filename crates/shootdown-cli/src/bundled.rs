//! The recordings that come with the command.

/// A recording inside the command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bundled {
    pub(crate) name: &'static str,
    /// What was recorded.
    pub(crate) about: &'static str,
    pub(crate) bytes: &'static [u8],
}

/// What `replay` replays if nothing is named: PostgreSQL.
pub(crate) const DEFAULT: &str = "pgbig";

/// All of them, by name.
pub(crate) const ALL: &[Bundled] = include!(concat!(env!("OUT_DIR"), "/bundled.rs"));

/// Finds one by name.
pub(crate) fn by_name(name: &str) -> Option<Bundled> {
    ALL.iter().find(|bundled| bundled.name == name).copied()
}
