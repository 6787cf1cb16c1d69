//! The recordings that come with the command.

use std::collections::BTreeMap;

use serde_json::Value;

/// A recording inside the command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bundled {
    pub(crate) name: &'static str,
    pub(crate) bytes: &'static [u8],
    facts: &'static str,
}

/// What `replay` replays if nothing is named: PostgreSQL.
pub(crate) const DEFAULT: &str = "pgbig";

/// All of them, by name.
pub(crate) const ALL: &[Bundled] = include!(concat!(env!("OUT_DIR"), "/bundled.rs"));

/// Finds one by name.
pub(crate) fn by_name(name: &str) -> Option<Bundled> {
    ALL.iter().find(|bundled| bundled.name == name).copied()
}

impl Bundled {
    /// What was run, and how many events that gave, as noted when it was recorded.
    pub(crate) fn facts(self) -> (String, u64) {
        let facts: BTreeMap<String, Value> = serde_json::from_str(self.facts).unwrap_or_default();
        let command = facts.get("cmd").and_then(Value::as_str).unwrap_or_default().to_owned();
        (command, facts.get("events").and_then(Value::as_u64).unwrap_or_default())
    }
}
