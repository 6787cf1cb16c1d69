//! A device that touches what the processes touch: nothing stale is used on any recording, and it shows what is not told.

use std::{fs, io::Cursor, path::PathBuf};

use shootdown::Fix;
use shootdown_recording::Recording;
use shootdown_replay::{Cause, Device, DeviceReport, Hardware, Options, Placement, Profile, Report, replay};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../recordings")
}

fn all_names() -> Vec<String> {
    let files = fs::read_dir(folder()).expect("the recordings are there");
    let names = files.filter_map(|file| file.expect("readable").file_name().into_string().ok());
    names.filter_map(|name| name.strip_suffix(".tlbt.zst").map(str::to_owned)).collect()
}

fn with_device() -> Options {
    Options { device: Some(Device::Iommu), ..Options::default() }
}

fn run(name: &str, options: &Options) -> Report {
    let recording = Recording::open(folder().join(format!("{name}.tlbt.zst"))).expect("a bundled recording");
    replay(recording, options, |_| {}).expect("a bundled recording can be replayed")
}

fn device(report: &Report) -> &DeviceReport {
    report.device.as_ref().expect("there was a device")
}

fn without(name: &str, fix: Fix) -> Report {
    run(name, &Options { without: vec![fix], ..with_device() })
}

#[test]
fn no_device_uses_anything_stale_and_no_cpu_notices_it() {
    let names = all_names();
    assert_eq!(names.len(), 14);
    for name in names {
        let report = run(&name, &with_device());
        let told = device(&report);
        assert_eq!((told.stale_dma, told.stuck, report.n_violations()), (0, 0, 0), "{name}");
        assert!(told.touches > 0, "{name}");
        // Whatever was flushed, and an exit flushes nothing that a device still has.
        let flushes = report.flushes.predicted.total() - report.flushes.predicted[Cause::Exec];
        assert!(told.less.total() >= flushes, "{name}: told {} times of {flushes} flushes", told.less.total());
        assert!((1..=report.address_spaces).contains(&told.ended.total()), "{name}");
        assert_eq!(Report { device: None, ..report }, run(&name, &Options::default()), "{name}");
    }
}

#[test]
fn a_device_that_is_not_told_of_flushes_is_found() {
    for name in ["dontneed2", "gitscript", "java", "msync"] {
        let report = without(name, Fix::TellDevices);
        let told = device(&report);
        assert!(told.stale_dma > 0, "{name}");
        assert_eq!((told.less.total(), report.stale_accesses), (0, 0), "{name}");
        assert!(report.violations.iter().any(|violation| violation.cpu.is_none()), "{name}");
    }
}

/// Each walks from a root that is freed.
#[test]
fn a_device_that_is_not_told_of_the_end_is_found() {
    for name in ["gitscript", "java", "jemalloc"] {
        let report = without(name, Fix::EndDevices);
        let told = device(&report);
        assert_eq!(told.stale_dma, device(&run(name, &with_device())).ended.total(), "{name}");
        assert_eq!(told.ended.total(), 0, "{name}");
    }
}

/// Each msync makes pages read-only that the program, and the device, store to again.
#[test]
fn a_device_that_is_not_told_of_rights_is_stuck() {
    let report = without("msync", Fix::TellOfPermissions);
    let told = device(&report);
    assert!(told.stuck > 1_000, "{}", told.stuck);
    assert_eq!((told.more.total(), told.stale_dma), (0, 0));
}

#[test]
fn nothing_stale_is_used_on_other_machines_by_other_kernels_and_on_more_cpus() {
    for options in [
        Options { machine: Hardware::Alpha, ..with_device() },
        Options { profile: Profile::LINUX_6_12, ..with_device() },
        Options { placement: Placement::Spread { n_cpus: 16 }, ..with_device() },
    ] {
        for name in ["java", "pmdshare", "redis"] {
            let report = run(name, &options);
            assert_eq!(report.n_violations(), 0, "{name}");
            assert!(device(&report).less.total() > 0, "{name}");
        }
    }
}

fn play(lines: &str, options: &Options) -> Report {
    let mut text = String::from("# tlbt-sample 0\n# workload: rule\n# root: 1000\n");
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        text += &format!("1000000\t{}\n", line.replace(' ', "\t"));
    }
    let recording = Recording::from_reader("rule.tlbt", Cursor::new(text)).expect("a whole header");
    replay(recording, options, |_| {}).expect("a whole recording")
}

/// Two pages are stored to, may only be read, may be stored to again, and go; then the process does.
const PRIVATE: &str = "
    0 1000 E 9 0 10000 3 22 ffffffff 0
    0 1000 X 9 7f0000000000
    0 1000 F 7f0000000000 6
    0 1000 F 7f0000001000 6
    0 1000 E 10 7f0000000000 10000 1
    0 1000 X 10 0
    0 1000 F 7f0000000000 4
    0 1000 E 10 7f0000000000 10000 3
    0 1000 X 10 0
    0 1000 F 7f0000000000 6
    0 1000 E 11 7f0000000000 10000
    0 1000 X 11 0
    0 1000 E 231 0
    0 1000 Q
    0 1000 M
";

/// A page of a file is read, and then stored to.
const SHARED: &str = "
    0 1000 E 9 0 1000 3 1 3 0
    0 1000 X 9 7f0000000000
    0 1000 F 7f0000000000 4
    0 1000 F 7f0000000000 7
";

#[test]
fn what_the_device_is_told_is_counted_by_cause() {
    let report = play(PRIVATE, &with_device());
    let told = device(&report);
    assert_eq!((told.touches, report.n_violations()), (4, 0));
    assert_eq!((told.less[Cause::Mprotect], told.less[Cause::Munmap], told.less.total()), (2, 1, 3));
    assert_eq!(told.more.total(), 0, "who gives rights back flushes, and that tells the device");
    assert_eq!((told.ended[Cause::Exit], told.ended.total()), (1, 1));
    let report = play(SHARED, &with_device());
    let told = device(&report);
    assert_eq!((told.touches, report.n_violations()), (2, 0));
    assert_eq!((told.less.total(), told.more[Cause::Fault], told.ended.total()), (0, 1, 0));
}

#[test]
fn each_thing_that_is_not_told_has_its_own_name() {
    for (lines, fix, (stale_dma, stuck), kind) in [
        // Two pages by the first mprotect; one that it may store to again since the second, and does not know; and three tables by
        // the munmap.
        (PRIVATE, Fix::TellDevices, (5, 1), "operation returned while cached"),
        // The root.
        (PRIVATE, Fix::EndDevices, (1, 0), "table freed while cached"),
        (SHARED, Fix::TellOfPermissions, (0, 1), "less cached than permitted"),
    ] {
        let report = play(lines, &Options { without: vec![fix], ..with_device() });
        let told = device(&report);
        assert_eq!((told.stale_dma, told.stuck), (stale_dma, stuck), "{}", fix.name());
        assert_eq!((report.violations[0].kind, report.violations[0].cpu), (kind, None), "{}", fix.name());
    }
}
