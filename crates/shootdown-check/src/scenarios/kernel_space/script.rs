//! What scenarios of kernel space have in common.

use std::sync::atomic::Ordering::{Acquire, Release};

use shootdown::{
    Attributes, Level, Machine, Vpn, VpnRange,
    kspace::{Absence, FreeRange, MappedRange, Sealed},
    page,
};
use shootdown_sim::smp::{Access, Config, MemoryModel};

use crate::machine::Sim;

/// The first page of kernel space.
pub(super) const PAGE: Vpn = Vpn(2);

/// A word that says that CPU 1 may use the page.
const TOLD: usize = 0;

/// Two CPUs whose walkers find what their own CPU has stored, and whose stores come in order.
pub(super) const TWO_X86_CPUS: Config = Config {
    memory: MemoryModel::Tso,
    serializes: true,
    walker_forwards: true,
    caches_walks: true,
    faults_forget: true,
    ..Config::with_cpus(2)
};

/// Two CPUs with tags and walk caches whose walkers set no bits, and which find out late what others have stored.
pub(super) const TWO_ALPHA_CPUS: Config =
    Config { has_tags: true, caches_walks: true, sets_dirty: false, ..Config::with_cpus(2) };

/// Tells CPU 1 that it may use the page.
#[track_caller]
pub(super) fn tell(m: &Sim) {
    m.scratch(TOLD).store(m, 1, Release);
}

/// Tells whether CPU 1 may.
#[track_caller]
pub(super) fn is_told(m: &Sim) -> bool {
    m.scratch(TOLD).load(m, Acquire) != 0
}

/// Of its addresses everybody knows by their numbers.
pub(super) fn seal(m: &Sim) {
    let (_, _addresses) = m.kernel().build(m).expect("the machine has frames for the slots").seal(m);
}

pub(in super::super) fn build(m: &Sim) {
    seal(m);
    for id in [0, 1] {
        m.address_space(id).create_in(m, &sealed(m)).expect("the machine has a frame for the root");
    }
}

/// Each CPU on the root of an address space, one of two.
pub(in super::super) fn run_in_kernel(m: &Sim) {
    m.address_space(usize::from(m.cpu().0) % 2).switch_to(m);
    m.stop_user();
}

pub(in super::super) fn sealed(m: &Sim) -> Sealed<'_, Sim> {
    m.kernel().sealed(m).expect("it was sealed before anything else")
}

/// The addresses that the setup knows of by their numbers.
pub(super) fn free(page: Vpn) -> FreeRange {
    // SAFETY: what `seal` returned is dropped, and one CPU takes each address once.
    #[expect(unsafe_code, reason = "a scenario keeps nothing between its setup and its end")]
    unsafe {
        FreeRange::claim(VpnRange::from_len(page, 1))
    }
}

pub(super) fn mapped(page: Vpn) -> MappedRange {
    // SAFETY: the setup has mapped it and dropped what it was given for it.
    #[expect(unsafe_code, reason = "a scenario keeps nothing between its setup and its end")]
    unsafe {
        MappedRange::claim(VpnRange::from_len(page, 1))
    }
}

pub(super) fn map(m: &Sim, range: FreeRange) {
    let frame = page::allocate(m, Level::LEAF).expect("the machine has a frame");
    let mapped = sealed(m).map(m, range, [frame], Attributes::USER_WRITE);
    assert!(mapped.is_ok(), "nothing is there");
}

/// Kernel code uses a page, and does not expect a fault: but where CPUs remember absence, its handler looks again.
pub(in super::super) fn assert_works(m: &Sim, page: Vpn) {
    let looks_again = || m.absence() == Absence::LookedAtAgain && sealed(m).look_again(m, page);
    let works = m.tries(page, Access::Read) || (looks_again() && m.tries(page, Access::Read));
    assert!(works, "a fault at a kernel address");
}
