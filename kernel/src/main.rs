//! A small kernel that embeds the library unchanged and tests it on an MMU, with interrupts, on several CPUs.
//!
//! `machine` is the port, and `frames` what address spaces want besides: what a kernel writes to use the library. The rest is
//! what any kernel has (`boot.s`, `smp`, `cpu`, `tlb`, `apic`, `interrupt`, `memory`, `heap`, `serial`), programs (`user`), and the
//! tests (`tests`, `jobs`, `access`, `witness`). What to do is on the kernel command line, see `command_line`; what came of it
//! goes to the serial line, and the verdict to QEMU, see `exit`.
#![no_std]
#![no_main]

extern crate alloc;

use core::arch::global_asm;

use command_line::CommandLine;
use cpu::Number;
use machine::Metal;
use serial::{print, println};
use shootdown::call;

mod access;
mod apic;
mod command_line;
mod cpu;
mod exit;
mod frames;
mod heap;
mod interrupt;
mod jobs;
mod machine;
mod memory;
mod panic;
mod places;
mod port;
mod random;
mod serial;
mod smp;
mod tests;
mod timer;
mod tlb;
mod user;
mod without_c;
mod witness;

global_asm!(include_str!("boot.s"), options(att_syntax));
// Together: they share macros.
global_asm!(include_str!("interrupt.s"), include_str!("user/gates.s"), options(att_syntax));

/// Where the first CPU comes to from `boot.s`, with the physical address of what QEMU says about the machine.
#[unsafe(no_mangle)]
extern "C" fn kernel_main(start_information: u64) -> ! {
    port::mask_old_interrupt_controllers();
    interrupt::fill_table();
    cpu::set_up(Number(0));
    let command_line = CommandLine::read(start_information);
    places::choose(&command_line);
    begin(Number(0));
    let n_cpus = smp::start_others();
    smp::drop_identity_map(&Metal);
    print!("shootdown on {n_cpus} CPUs, {}, ", apic::mode_name());
    tlb::abilities().for_each(|ability| print!("{ability}, "));
    println!("seed {}, left out: {}", command_line.seed, command_line.left_out.map_or("nothing", shootdown::Fix::name),);
    tests::run(&Metal, &command_line)
}

/// Where every other CPU comes to, with its number.
#[unsafe(no_mangle)]
extern "C" fn kernel_main_of_another(number: u64) -> ! {
    let number = Number(number as u16);
    cpu::set_up(number);
    begin(number);
    smp::has_come();
    jobs::idle(&Metal)
}

/// Takes part from now on.
fn begin(number: Number) {
    random::seed(number, places::seed());
    call::arrive(&Metal);
    timer::start();
    cpu::enable_interrupts();
}
