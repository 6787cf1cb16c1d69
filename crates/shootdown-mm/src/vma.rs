//! What a range of addresses is to be: who may do what there, and where its contents come from.

use shootdown::{Attributes, EntryFormat, Level, Vpn};

use crate::storage::ObjectId;

/// What user mode may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Protection {
    /// Loads.
    pub read: bool,
    /// Stores.
    pub write: bool,
    /// Instruction fetches.
    pub execute: bool,
}

impl Protection {
    /// Nothing at all (`PROT_NONE`).
    pub const NONE: Protection = Protection { read: false, write: false, execute: false };
    /// Loads and stores.
    pub const READ_WRITE: Protection = Protection { read: true, write: true, execute: false };
    /// Everything.
    pub const ALL: Protection = Protection { read: true, write: true, execute: true };

    /// Tells whether `access` is allowed. As on x86-64, whatever is mapped for anything can be read.
    #[must_use]
    pub const fn allows(self, access: Access) -> bool {
        match access {
            Access::Read => self.read || self.write || self.execute,
            Access::Write => self.write,
            Access::Execute => self.execute,
        }
    }

    /// What a leaf permits that cannot be written for now.
    pub(crate) const fn without_writes(self) -> Attributes {
        Attributes { executable: self.execute, user: self.allows(Access::Read), ..Attributes::USER_READ }
    }
}

/// What somebody does to a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction fetch.
    Execute,
}

/// Whether stores are seen by others that map the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// No: the first store makes a copy.
    Private,
    /// Yes.
    Shared,
}

/// Where the contents come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backing {
    /// Zeroes.
    Anonymous,
    /// An object, with its page 0 at this address; wraps where the mapping begins later in the object.
    Object {
        /// Which one.
        object: ObjectId,
        /// Where its page 0 would be mapped.
        origin: Vpn,
    },
}

impl Backing {
    /// Maps page `first` of `object` at `at`.
    #[must_use]
    pub const fn object(object: ObjectId, first: u64, at: Vpn) -> Backing {
        Backing::Object { object, origin: Vpn(at.0.wrapping_sub(first)) }
    }

    /// Where in which object `page` is, in base pages from the object's page 0; wraps.
    pub(crate) const fn in_object(self, page: Vpn) -> Option<(ObjectId, u64)> {
        match self {
            Backing::Anonymous => None,
            Backing::Object { object, origin } => Some((object, page.0.wrapping_sub(origin.0))),
        }
    }

    /// The same contents, `distance` pages further up; wraps.
    pub(crate) const fn moved(self, distance: u64) -> Backing {
        match self {
            Backing::Anonymous => Backing::Anonymous,
            Backing::Object { object, origin } => {
                Backing::Object { object, origin: Vpn(origin.0.wrapping_add(distance)) }
            }
        }
    }
}

/// What a fault brings in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageSize {
    /// One base page.
    Base,
    /// One page of this level, as of a huge-page file system.
    Large(Level),
    /// A naturally aligned run of base pages: a large page where tables cannot map one. What is done to a page of it
    /// later is done to that page alone.
    Run {
        /// How many, a power of two. A small number, since there is a copy of this in every mapping.
        n_pages: u16,
    },
}

/// One mapping, without its range. Splitting a range leaves it as it is, and neighbours that are equal are one.
#[doc(alias = "vm_area_struct")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vma {
    /// What user mode may do.
    pub protection: Protection,
    /// Who sees stores.
    pub sharing: Sharing,
    /// Where the contents come from.
    pub backing: Backing,
    /// How large its pages are.
    pub page_size: PageSize,
}

impl Vma {
    /// The object that is mapped, if one is.
    pub(crate) const fn object(&self) -> Option<ObjectId> {
        match self.backing {
            Backing::Object { object, .. } => Some(object),
            Backing::Anonymous => None,
        }
    }

    /// The level whose entries map its pages.
    pub(crate) const fn level(&self) -> Level {
        match self.page_size {
            PageSize::Large(level) => level,
            PageSize::Base | PageSize::Run { .. } => Level::LEAF,
        }
    }

    /// The level of the tables that address spaces which map the same may [have together](crate::habits::LargeTables): those
    /// of large pages whose stores nobody needs to notice, and which nobody takes back.
    pub(crate) fn shared_tables<F: EntryFormat>(&self) -> Option<Level> {
        match (self.page_size, self.sharing, self.object()) {
            (PageSize::Large(level), Sharing::Shared, Some(object)) => {
                let may_share = F::SHARED != 0 && !object.is_stored() && !object.is_of_driver();
                (may_share && Level::LEAF < level && level < F::ROOT).then_some(level)
            }
            _ => None,
        }
    }

    /// Private zeroed memory.
    #[must_use]
    pub const fn anonymous(protection: Protection) -> Vma {
        Vma { protection, sharing: Sharing::Private, backing: Backing::Anonymous, page_size: PageSize::Base }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_may_begin_before_the_mapping_does() {
        let backing = Backing::object(ObjectId(1), 0x26, Vpn(0x10));
        assert_eq!(backing, Backing::Object { object: ObjectId(1), origin: Vpn(0x10_u64.wrapping_sub(0x26)) });
        assert_eq!(backing.moved(0x20), Backing::object(ObjectId(1), 0x26, Vpn(0x30)));
    }
}
