//! User code touching pages: through the TLB, through a walk, or into a fault.

use shootdown::{Attributes, CpuId, Vpn};

use super::{
    config::TlbModel,
    hardware::Hardware,
    operation::Access,
    tlb::{Standing, Translation},
    violation::Violation,
    walk::{End, Found},
};

const DONE: u64 = 1;
const FAULT: u64 = 0;

/// How an access can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Through a translation that the TLB holds.
    Remembered(Translation),
    /// Through a walk.
    Walk(Found),
    /// Nowhere, and what is remembered of the page is that it is absent.
    Absent,
    /// Nowhere.
    Fault,
    /// Astray.
    Violation(Violation),
}

impl Hardware {
    /// How many ways an access can go now, at least one.
    pub(super) fn n_ways(&self, cpu: CpuId, page: Vpn, access: Access) -> usize {
        self.ways(cpu, page, access).len()
    }

    /// Lets user code of `cpu` touch `page`, in one of the ways in which it can.
    pub(super) fn access(&mut self, cpu: CpuId, page: Vpn, access: Access, way: usize) -> Result<u64, Violation> {
        self.check_standing(cpu, page)?;
        let way = self.ways(cpu, page, access)[way];
        let is_done = match way {
            Way::Remembered(translation) => {
                self.note_write(access, translation);
                true
            }
            Way::Walk(found) => self.access_by_walk(cpu, page, access, found)?,
            Way::Absent => {
                self.remember_absent(cpu, page);
                false
            }
            Way::Fault => false,
            Way::Violation(violation) => return Err(violation),
        };
        if !is_done && self.config.faults_forget {
            self.cpu_mut(cpu).tlb_mut().forget_path(page);
        }
        Ok(if is_done { DONE } else { FAULT })
    }

    fn ways(&self, cpu: CpuId, page: Vpn, access: Access) -> Vec<Way> {
        let mut ways = Vec::new();
        let mut add = |way| {
            if !ways.contains(&way) {
                ways.push(way);
            }
        };
        let tlb = self.cpu(cpu).tlb();
        let mut held = tlb.of_page(page).peekable();
        let knows_absent = tlb.knows_absent(page);
        // A may-set may as well hold nothing.
        let mut may_walk = held.peek().is_none() && !knows_absent || self.config.tlb == TlbModel::MaySets;
        for translation in held {
            let way = match access {
                Access::Read => Some(Way::Remembered(translation)),
                // A remembered translation that forbids it faults, whatever memory says by now (SDM 3A §4.10.4.3, rev 75).
                Access::Write if !translation.is_writable => Some(Way::Fault),
                Access::Write => translation.is_dirty.then_some(Way::Remembered(translation)),
            };
            way.into_iter().for_each(&mut add);
            // One of each size may be held, and either may be used.
            may_walk |= way.is_none();
        }
        if may_walk {
            self.walks(cpu, page).for_each(|walked| match walked {
                Ok(End::Leaf(found)) => add(Way::Walk(found)),
                Ok(End::Absent) => add(Way::Absent),
                Ok(End::Fault) => add(Way::Fault),
                Err(violation) => add(Way::Violation(violation)),
            });
        }
        // Last, since who does not choose takes the first.
        if knows_absent {
            add(Way::Absent);
        }
        ways
    }

    /// Checks what the TLB holds for `page`.
    fn check_standing(&self, cpu: CpuId, page: Vpn) -> Result<(), Violation> {
        self.cpu(cpu).tlb().of_page(page).try_for_each(|translation| match translation.standing {
            Standing::Good => Ok(()),
            Standing::Revoked => Err(Violation::RevokedInUse { cpu, page }),
            Standing::Freed => Err(Violation::StaleInUse { cpu, page, frame: translation.frame }),
        })
    }

    /// Goes through a leaf that a walk has found; a write makes sure that it is dirty: reading the leaf, checking it and
    /// setting the bit are one locked operation (SDM 3A §8.1.2.1, rev 75).
    fn access_by_walk(&mut self, cpu: CpuId, page: Vpn, access: Access, found: Found) -> Result<bool, Violation> {
        self.fill(cpu, page, found)?;
        if access == Access::Read {
            return Ok(true);
        }
        let mut translation = found.translation;
        if !translation.is_writable || !(translation.is_dirty || self.config.sets_dirty) {
            return Ok(false);
        }
        self.mark(cpu, found.at, |attributes| Attributes { dirty: true, ..attributes });
        translation.is_dirty = true;
        self.remember(cpu, page, translation);
        self.note_write(access, translation);
        Ok(true)
    }

    fn note_write(&mut self, access: Access, translation: Translation) {
        if access == Access::Write {
            self.frame_mut(translation.frame).is_written = true;
        }
    }

    /// Lets user code run on `cpu` again.
    pub(super) fn resume_user(&mut self, cpu: CpuId) -> Result<(), Violation> {
        self.cpu_mut(cpu).runs_user = true;
        self.check_standing_of_all(cpu)
    }

    /// Checks all that the TLB holds under the loaded tag.
    pub(super) fn check_standing_of_all(&self, cpu: CpuId) -> Result<(), Violation> {
        (0..super::PAGES as u64).map(Vpn).try_for_each(|page| self.check_standing(cpu, page))
    }
}
