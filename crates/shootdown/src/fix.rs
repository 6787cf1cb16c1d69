//! The steps of the protocol that exist because of a known class of bug, each with a name.
//!
//! Library code asks [`Machine::keeps`](crate::Machine::keeps) before each such step. Real machines answer `true`, a
//! constant, and the question vanishes; the checker answers `false` for one of them and must then find the bug.

/// A step that can be left out on a simulated machine, to show that it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fix {
    /// A frame goes back to its owner only after the flush of the translation that reached it.
    ///
    /// Without: the frame is reused while a TLB still reaches it; a stale store lands in somebody else's page. The
    /// base bug of the field; Linux batches pages in `mmu_gather` for nothing else.
    FlushBeforeFree,
    /// The issuer of a remote flush waits until every target has run it.
    ///
    /// Without: the frame is reused while the request is still on its way. Quark frees pages after kicking virtual
    /// CPUs without waiting for them (its issues 375, 387, 442, 639).
    WaitForAcks,
    /// A flush reaches every CPU that may hold the translation, not only the issuer.
    ///
    /// Without: the other CPUs keep the old translation for as long as they like.
    FlushRemote,
    /// A CPU that switches to an address space says so before it reads the generation.
    ///
    /// Without, where residency bits stay behind: a flusher takes it for a CPU that has loaded something else, and the
    /// CPU has read the generation already, so neither sees the other (Linux fea4e317f9e7, of 2025).
    ShowSwitching,
}

impl Fix {
    /// All of them.
    pub const ALL: [Fix; 4] = [Fix::FlushBeforeFree, Fix::WaitForAcks, Fix::FlushRemote, Fix::ShowSwitching];

    /// Returns the name used on command lines and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Fix::FlushBeforeFree => "flush-before-free",
            Fix::WaitForAcks => "wait-for-acks",
            Fix::FlushRemote => "flush-remote",
            Fix::ShowSwitching => "show-switching",
        }
    }

    /// Finds a fix by its [`name`](Fix::name).
    #[must_use]
    pub fn by_name(name: &str) -> Option<Fix> {
        Fix::ALL.into_iter().find(|fix| fix.name() == name)
    }
}
