//! Names for failures: one for the kind, and the number of the invariant that it breaks.

use shootdown_sim::smp::Violation;

use crate::failure::Failure;

impl Failure {
    /// Returns the name of its kind, without whom it concerns: that of the variant, as `stale-at-free`.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Failure::Violation(violation) => hyphenated(&format!("{violation:?}")),
            Failure::Race(_) => "race".to_owned(),
            Failure::Panic(..) => "panic".to_owned(),
            Failure::Doomed(doom) => hyphenated(&format!("{doom:?}")),
        }
    }

    /// Returns the invariant that it breaks, one of those that the documentation of the checker lists.
    #[must_use]
    pub const fn invariant(&self) -> &'static str {
        match self {
            Failure::Violation(violation) => of_violation(violation),
            Failure::Race(_) => "owned",
            Failure::Panic(..) => "panic",
            Failure::Doomed(_) => "I9",
        }
    }
}

const fn of_violation(violation: &Violation) -> &'static str {
    match violation {
        Violation::WalkerInFreedTable { .. } | Violation::WalkedNoTable { .. } => "I2",
        Violation::EntryOfNoTable { .. } => "I3",
        Violation::StaleAfterReturn { .. } | Violation::RevokedInUse { .. } => "I4",
        Violation::LostStore { .. } => "I5",
        Violation::TwoSizes { .. } => "I14",
        Violation::DoubleFree { .. } | Violation::WrongFree { .. } | Violation::Leaked { .. } => "I17",
        // A translation that leads to another frame than it should.
        _ => "I1",
    }
}

/// The first word of a Rust name as words with hyphens.
fn hyphenated(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars().take_while(|letter| letter.is_ascii_alphanumeric()) {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use shootdown::{CpuId, Pfn, Vpn};

    use super::*;
    use crate::failure::Doom;

    #[test]
    fn a_kind_is_the_variants_name() {
        let walker = Violation::WalkerInFreedTable { cpu: CpuId(0), table: Pfn(2) };
        assert_eq!(Failure::Violation(walker).kind(), "walker-in-freed-table");
        let sizes = Failure::Violation(Violation::TwoSizes { cpu: CpuId(0), page: Vpn(1) });
        assert_eq!((sizes.kind().as_str(), sizes.invariant()), ("two-sizes", "I14"));
        assert_eq!(Failure::Doomed(Doom::LostKick).kind(), "lost-kick");
    }
}
