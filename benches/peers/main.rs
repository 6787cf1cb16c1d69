//! What mapping and unmapping a page costs, beside other crates that do page tables.
//!
//! Each crate maps the same pages to the same frames by the fastest way it has, in tables that lie in the same memory. Only
//! tables are read and written, never a page. They are there before, but for `page-table-generic`, which gives a table back
//! that becomes empty, and takes it again. There is one CPU, and no TLB: a process cannot invalidate it.
//!
//! The samples are criterion's, and so are the reports on the way; the table at the end has their medians.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};

use crate::{
    measure::{Peer, map, unmap},
    shootdown::Frames,
    summary::Summary,
};

mod aarch64_paging;
mod measure;
mod memory;
mod page_table_generic;
mod page_table_multiarch;
mod roots;
mod shootdown;
mod summary;
mod swap;
mod x86_64;

const SIZES: [u64; 5] = [1, 16, 512, 10_000, 100_000];

/// Slots of kernel space, each of 512 GiB.
const SLOTS: [u64; 4] = [1, 16, 64, 256];

/// One row of the table, with page tables of its own.
struct Row {
    name: &'static str,
    time: Box<dyn FnMut(u64, u64) -> Duration>,
}

fn row<P: Peer + 'static>(
    name: &'static str,
    mut peer: P,
    time: impl Fn(&mut P, u64, u64) -> Duration + 'static,
) -> Row {
    measure::prepare(&mut peer);
    Row { name, time: Box::new(move |n_pages, n_times| time(&mut peer, n_pages, n_times)) }
}

fn main() {
    let groups = [
        (
            "map",
            vec![
                row("shootdown map_each", shootdown::Whole::clean(Frames::OneByOne), map),
                row("shootdown map", shootdown::Whole::page_by_page(), map),
                row("x86_64 map_to", x86_64::Tables::new(), map),
                row("page_table_multiarch map_region", page_table_multiarch::Tables::new(), map),
                row("aarch64-paging map_range", aarch64_paging::ModifyRange::new(), map),
                row("page-table-generic map", page_table_generic::Tables::new(), map),
            ],
        ),
        (
            "unmap",
            vec![
                row("a locked swap, and nothing else", swap::Entries::new(), unmap),
                row("shootdown unhook", shootdown::Unhook::new(), unmap),
                row("shootdown unmap", shootdown::Whole::clean(Frames::OneByOne), unmap),
                row("shootdown unmap, runs of frames", shootdown::Whole::clean(Frames::InRuns), unmap),
                row("shootdown unmap, dirty pages", shootdown::Whole::dirty(Frames::OneByOne), unmap),
                row("shootdown unmap, both", shootdown::Whole::dirty(Frames::InRuns), unmap),
                row("x86_64 unmap", x86_64::Tables::new(), unmap),
                row("page_table_multiarch unmap_region", page_table_multiarch::Tables::new(), unmap),
                row("aarch64-paging modify_range", aarch64_paging::ModifyRange::new(), unmap),
                row("aarch64-paging map_range", aarch64_paging::MapRange::new(), unmap),
                row("page-table-generic unmap", page_table_generic::Tables::new(), unmap),
            ],
        ),
    ];
    // Short, since what is not timed between two samples takes longer than what is.
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300))
        .sample_size(100)
        .nresamples(10_000)
        .configure_from_args();
    let mut summary = Summary::new(&SIZES);
    for (operation, mut rows) in groups {
        for n_pages in SIZES {
            let mut group = criterion.benchmark_group(operation);
            group.throughput(Throughput::Elements(n_pages)).sampling_mode(SamplingMode::Flat);
            for row in &mut rows {
                let mut samples = Vec::new();
                group.bench_function(BenchmarkId::new(row.name, n_pages), |bencher| {
                    bencher.iter_custom(|n_times| {
                        let time = (row.time)(n_pages, n_times);
                        samples.push((n_times, time));
                        time
                    });
                });
                summary.add(operation, row.name, n_pages, &samples);
            }
            group.finish();
        }
    }
    let roots = make_roots(&mut criterion);
    criterion.final_summary();
    print!("{summary}{roots}");
}

fn make_roots(criterion: &mut Criterion) -> Summary {
    let mut summary = Summary::of_roots(&SLOTS);
    for n_slots in SLOTS {
        let (mut ours, mut by_hand) = (shootdown::Roots::new(n_slots), roots::ByHand::new(n_slots));
        let rows: [(&str, &mut dyn FnMut(u64) -> Duration); 2] = [
            ("a page zeroed and slots copied", &mut |n_times| roots::time(&mut by_hand, n_times)),
            ("shootdown create_in", &mut |n_times| roots::time(&mut ours, n_times)),
        ];
        let mut group = criterion.benchmark_group("root");
        for (name, time) in rows {
            let mut samples = Vec::new();
            group.bench_function(BenchmarkId::new(name, n_slots), |bencher| {
                bencher.iter_custom(|n_times| {
                    let time = time(n_times);
                    samples.push((n_times, time));
                    time
                });
            });
            summary.add("root", name, n_slots, &samples);
        }
        group.finish();
    }
    summary
}
