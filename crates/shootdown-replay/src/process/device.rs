//! The devices a replay simulates.

/// A device that does in each process what the process does: it touches what faults, and reads and stores the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// One behind an IOMMU that translates through the page tables of processes.
    Iommu,
}

impl Device {
    /// All of them.
    pub const ALL: [Device; 1] = [Device::Iommu];

    /// Returns the name used on command lines and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Device::Iommu => "iommu",
        }
    }

    /// Finds one by its name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Device> {
        Device::ALL.into_iter().find(|device| device.name() == name)
    }
}
