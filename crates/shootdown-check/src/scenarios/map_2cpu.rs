//! A walker that comes to a new table, while there may be no memory for one.

use shootdown::{Attributes, CpuId, Machine};
use shootdown_sim::smp::Config;

use super::script::{PAGE_0, TWO_CACHING_CPUS, use_everywhere};
use crate::{machine::Sim, scenario::Scenario};

pub(super) static MAP_2CPU: Scenario = Scenario {
    name: "map_2cpu",
    goal: "A walker reads a table before it is zeroed; or a frame is lost when there is no memory for the table.",
    method: "CPU 0 maps a page below a new table, which may be refused, while CPU 1 touches the page.",
    machine: Config { may_refuse_tables: true, ..TWO_CACHING_CPUS },
    setup: |m| use_everywhere(m, 0),
    main,
    ..Scenario::BLANK
};

fn main(m: &Sim) {
    if m.cpu() == CpuId(0) {
        let frame = m.alloc_frame();
        let mapped = m.user_space().lock(m).map(PAGE_0, frame, Attributes::USER_READ);
        if let Err(refused) = mapped {
            m.free_frame(refused.frame);
        }
    }
    m.access(PAGE_0);
}
