//! A driver of an IOMMU: all that a kernel writes so that a device can use a process's page tables.
//!
//! `cargo run -p shootdown-sim --example iommu` shows what the IOMMU is asked to do while a process maps, unmaps and ends.

use std::sync::Mutex;

use shootdown::{
    Attributes, Gather, Level, Machine, Rmap, SpaceId, Strength, Vpn, VpnRange,
    arch::x86_64::X86_64,
    notify::{DeviceQueue, Event, Registration, SecondaryTlb, Syncs},
    page,
};
use shootdown_sim::sequential::{OTHER_LISTENER, Sequential};

// The driver.

/// What the IOMMU understands.
#[derive(Clone, Debug, PartialEq)]
enum Command {
    InvalidatePages(SpaceId, VpnRange),
    InvalidateDomain(SpaceId),
    InvalidateEverything,
    Unbind(SpaceId),
    WriteWhenDone(u64),
}

struct Iommu<M: Machine> {
    syncs: Syncs<M>,
    registers: Registers,
}

impl<M: Machine> DeviceQueue<M> for Registers {
    type Command = Command;

    fn push(&self, _: &M, command: Command) {
        self.ring(command);
    }

    fn push_sync(&self, _: &M, number: u64) {
        self.ring(Command::WriteWhenDone(number));
    }

    fn reached(&self, _: &M) -> u64 {
        self.last_written()
    }
}

impl<M: Machine> SecondaryTlb<M> for Iommu<M> {
    fn hear(&self, m: &M, event: Event) {
        let command = match event {
            // Pointers to tables go with all of the domain: this IOMMU cannot be asked for less.
            Event::Stricter { space, stale } if stale.strength > Strength::Leaf => Command::InvalidateDomain(space),
            Event::Stricter { space, stale } => Command::InvalidatePages(space, stale.range),
            Event::Looser { space, pages } => Command::InvalidatePages(space, pages),
            Event::Kernel { .. } => Command::InvalidateEverything,
            Event::Ended { space } => Command::Unbind(space),
        };
        self.syncs.push(m, &self.registers, command);
        self.syncs.wait(m, &self.registers);
    }
}

// The device, which stands for hardware, and is done at once.

#[derive(Default)]
struct Registers(Mutex<Vec<Command>>);

impl Registers {
    fn ring(&self, command: Command) {
        self.0.lock().expect("nothing panics here").push(command);
    }

    fn last_written(&self) -> u64 {
        let commands = self.0.lock().expect("nothing panics here");
        let written = commands.iter().rev().find_map(|command| match command {
            Command::WriteWhenDone(number) => Some(*number),
            _ => None,
        });
        written.unwrap_or(0)
    }
}

fn main() {
    let commands = run();
    commands.iter().for_each(|command| println!("{command:?}"));
}

/// Returns what the IOMMU was asked to do.
fn run() -> Vec<Command> {
    let iommu: &Iommu<Sequential<X86_64>> =
        Box::leak(Box::new(Iommu { syncs: Syncs::new(), registers: Registers::default() }));
    let m = Sequential::new(2, &[]).with_listener(iommu);
    let id = m.new_space();
    let space = m.space(id).expect("it was just made");
    space.create(&m).expect("there is memory");

    let registration = Registration::new(&m, OTHER_LISTENER);
    registration.attach(&m, space).expect("it is alive");
    // From here on the device may be told where the root is.

    let frame = page::allocate(&m, Level::LEAF).expect("there is memory");
    space.lock(&m).map(Vpn(5), frame, Attributes::USER_READ).expect("nothing is there");
    let tables = space.lock(&m);
    let mut leaf = tables.find(Vpn(5)).expect("it was just mapped");
    leaf.set_access_flags(Attributes { writable: true, ..leaf.attributes() });
    drop(tables);

    let pages = VpnRange::from_len(Vpn(0), 512);
    let mut gather = Gather::within(&m, space, pages, &page::DropReference);
    gather.unmap(pages, |_| Rmap::Now);
    gather.finish();
    let mut gather = Gather::new(&m, space, &page::DropReference);
    gather.unhook_tables(&mut space.lock(&m), pages, VpnRange::new(Vpn(0), Vpn(u64::MAX)));
    gather.finish();

    assert!(space.retire(&m).is_ok(), "no CPU uses it");
    space.destroy(&m);
    registration.unregister(&m);
    iommu.registers.0.lock().expect("nothing panics here").clone()
}

#[test]
fn the_iommu_hears_of_everything_and_is_waited_for() {
    let (space, page) = (SpaceId(0), VpnRange::from_len(Vpn(5), 1));
    let expected = [
        Command::InvalidatePages(space, page),
        Command::InvalidatePages(space, page),
        Command::InvalidateDomain(space),
        Command::Unbind(space),
    ];
    let commands = run();
    assert_eq!(commands.iter().step_by(2).cloned().collect::<Vec<_>>(), expected);
    let syncs = commands.iter().skip(1).step_by(2).cloned();
    assert!(syncs.eq((1..=4).map(Command::WriteWhenDone)), "each is waited for");
}
