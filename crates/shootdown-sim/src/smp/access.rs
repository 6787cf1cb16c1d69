//! User code touching pages: through the TLB, through a walk, or into a fault.

use shootdown::{Attributes, CpuId, EntryFormat, Vpn, arch::tiny::Tiny};

use super::{
    act::WalkFrom,
    cpu::{Standing, Translation},
    hardware::Hardware,
    operation::{Access, Location},
    violation::Violation,
};

const DONE: u64 = 1;
const FAULT: u64 = 0;

impl Hardware {
    /// Lets user code of `cpu` touch `page`; outcome 0 walks from the root where a walk is needed.
    pub(super) fn access(&mut self, cpu: CpuId, page: Vpn, access: Access, outcome: u8) -> Result<u64, Violation> {
        let from = if outcome == 0 { WalkFrom::Root } else { WalkFrom::Cache };
        let remembered = self.cpu(cpu).translation(page);
        if let Some(translation) = remembered {
            self.check_standing(cpu, page, translation)?;
        }
        let is_done = match (access, remembered) {
            (Access::Read, Some(_)) => true,
            (Access::Read, None) => self.fill(cpu, page, from)?.is_some(),
            // A remembered translation that forbids it faults, whatever memory says by now (SDM 3A §4.10.4.3, rev 75).
            (Access::Write, Some(translation)) if !translation.is_writable => false,
            (Access::Write, Some(translation)) if translation.is_dirty => self.write(translation),
            (Access::Write, _) => self.write_through_memory(cpu, page, from)?,
        };
        if !is_done && self.config.faults_forget {
            self.cpu_mut(cpu).forget_path(page);
        }
        Ok(if is_done { DONE } else { FAULT })
    }

    fn check_standing(&self, cpu: CpuId, page: Vpn, translation: Translation) -> Result<(), Violation> {
        match translation.standing {
            Standing::Good => Ok(()),
            Standing::Revoked => Err(Violation::RevokedInUse { cpu, page }),
            Standing::Freed => Err(Violation::StaleInUse { cpu, page, frame: translation.frame }),
        }
    }

    /// Writes after a walk that makes sure that the entry is dirty: reading it, checking it and setting the bit are one
    /// locked operation (SDM 3A §8.1.2.1, rev 75).
    fn write_through_memory(&mut self, cpu: CpuId, page: Vpn, from: WalkFrom) -> Result<bool, Violation> {
        let Some(found) = self.fill(cpu, page, from)? else {
            return Ok(false);
        };
        let mut translation = found.translation;
        if !translation.is_writable || !(translation.is_dirty || self.config.sets_dirty) {
            return Ok(false);
        }
        let at = Location::Entry(found.at);
        let raw = self.peek_from(cpu, at);
        let dirty = Attributes { dirty: true, ..Tiny::attributes(raw) };
        self.poke(at, Tiny::with_attributes(raw, dirty));
        translation.is_dirty = true;
        self.cpu_mut(cpu).tlb[page.0 as usize] = Some(translation);
        Ok(self.write(translation))
    }

    fn write(&mut self, translation: Translation) -> bool {
        self.frame_mut(translation.frame).is_written = true;
        true
    }

    /// Lets user code run on `cpu` again.
    pub(super) fn resume_user(&mut self, cpu: CpuId) -> Result<(), Violation> {
        self.cpu_mut(cpu).runs_user = true;
        let here = self.cpu(cpu);
        here.translations().try_for_each(|(page, translation)| self.check_standing(cpu, page, translation))
    }
}
