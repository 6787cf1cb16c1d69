//! The hardware a replay simulates.

/// A machine that recordings can be played on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hardware {
    /// What the recordings are of.
    X86_64,
    /// No ranges, no huge pages, a smaller address space.
    Alpha,
}

impl Hardware {
    /// All of them.
    pub const ALL: [Hardware; 2] = [Hardware::X86_64, Hardware::Alpha];

    /// What every recording was made on.
    pub const RECORDED: Hardware = Hardware::X86_64;

    /// Returns the name used on command lines and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Hardware::X86_64 => "x86-64",
            Hardware::Alpha => "alpha",
        }
    }

    /// Returns what it is like, and what becomes of a recording there.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Hardware::X86_64 => {
                "4 levels of 512 entries, 4 KiB pages, huge pages of 2 MiB, single pages flushed up to 33 at a time: what \
                 the recordings were made on"
            }
            Hardware::Alpha => {
                "3 levels of 1024 entries, 8 KiB pages, no huge pages, and no ranges: every flush drops everything. A \
                 recorded page becomes one of 8 KiB, and regions of addresses move closer together"
            }
        }
    }

    /// Whether it has an IOMMU that translates through the page tables of processes. Alpha's translate through tables of their
    /// own, which have another format.
    #[must_use]
    pub const fn has_iommu(self) -> bool {
        match self {
            Hardware::X86_64 => true,
            Hardware::Alpha => false,
        }
    }

    /// Finds one by its name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Hardware> {
        Hardware::ALL.into_iter().find(|hardware| hardware.name() == name)
    }
}
