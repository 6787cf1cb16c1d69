//! `shootdown import` as a user runs it: what it writes and prints, and with which status it ends.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

fn shootdown(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shootdown")).args(arguments).output().expect("the command runs")
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("it prints UTF-8")
}

fn bundled(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../recordings/{name}.tlbt.zst"))
}

/// An empty folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("import").join(name);
    // Of an earlier run, if it is there.
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder).expect("the temporary folder can be written");
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).expect("the folder is there");
    let mut names: Vec<String> =
        files.map(|file| file.expect("readable").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// Imports, and asserts that all went well.
fn imported(arguments: &[&str]) -> Output {
    let output = shootdown(&[&["import"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    output
}

/// Imports what cannot be: status 2, nothing on standard output, and an error that says all of `expected`.
fn refused(arguments: &[&str], expected: &[&str]) {
    let output = shootdown(&[&["import"], arguments].concat());
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "", "{arguments:?}");
    let error = text(&output.stderr);
    for words in ["error: ", "expected"].iter().chain(expected) {
        assert!(error.contains(words), "{arguments:?}: no {words:?} in {error}");
    }
}

/// The report of a file, but for the recording's name.
fn report(file: &Path) -> Value {
    let output = shootdown(&["replay", path(file), "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one object")
}

#[test]
fn what_was_imported_is_replayed_as_the_original_is() {
    let folder = folder("replayed");
    for name in ["java", "pmdshare"] {
        let original = report(&bundled(name));
        let [columns, again] = ["once.tlbt.zst", "twice.tlbt"].map(|end| folder.join(format!("{name}-{end}")));
        imported(&[path(&bundled(name)), "-o", path(&columns)]);
        assert_eq!(report(&columns), original);
        imported(&[path(&columns), "-o", path(&again)]);
        assert_eq!(report(&again), original);
        assert!(fs::read(&again).expect("it is there").starts_with(b"# tlbt-sample 1\n"));
        let sizes = [&columns, &bundled(name)].map(|file| fs::metadata(file).expect("it is there").len());
        assert!(sizes[0] < sizes[1], "{sizes:?}");
    }
    assert_eq!(names(&folder).len(), 4, "nothing else is left: {:?}", names(&folder));
}

#[test]
fn text_goes_to_standard_output_and_the_summary_aside() {
    let folder = folder("standard-output");
    let output = imported(&[path(&bundled("jemalloc")), "-o", "-", "--name", "renamed"]);
    assert!(text(&output.stdout).starts_with("# tlbt-sample 1\n# workload: renamed\n"));
    assert!(text(&output.stderr).starts_with("renamed: 13,931 events"), "{}", text(&output.stderr));
    let written = folder.join("written.tlbt");
    fs::write(&written, &output.stdout).expect("the temporary folder can be written");
    let mut original = report(&bundled("jemalloc"));
    original["recording"] = "renamed".into();
    assert_eq!(report(&written), original);
}

#[test]
fn the_summary_says_what_was_imported() {
    let folder = folder("summary");
    let file = folder.join("java.tlbt.zst");
    let output = imported(&[path(&bundled("java")), "-o", path(&file)]);
    for words in ["java: 46,427 events of ", " tasks, ", " s, to ", path(&file), " bytes an event); ", " MB/s read"] {
        assert!(text(&output.stdout).contains(words), "no {words:?} in {}", text(&output.stdout));
    }
    assert!(!text(&output.stdout).contains("calls only") && !text(&output.stdout).contains("lost"));

    let output = imported(&[path(&bundled("java")), "-o", path(&file), "--force", "--json"]);
    let summary: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!((&summary["schema"], &summary["form"]), (&1.into(), &"columns".into()));
    assert_eq!((&summary["recording"], &summary["detail"]), (&"java".into(), &"full".into()));
    assert_eq!((&summary["events"], &summary["lost_events"]), (&46_427.into(), &0.into()));
    assert_eq!(summary["output_bytes"], fs::metadata(&file).expect("it is there").len());
    assert_eq!(summary["input_bytes"], fs::metadata(bundled("java")).expect("it is there").len());
    let replayed = report(&file);
    assert_eq!((&summary["tasks"], &summary["seconds"]), (&replayed["tasks"], &replayed["seconds"]));
}

#[test]
fn what_the_recorder_left_out_is_said() {
    let folder = folder("left-out");
    let file = folder.join("calls.tlbt");
    let header = "# tlbt-sample 1\n# workload: calls\n# root: 1000\n# detail: calls\n";
    fs::write(&file, format!("{header}0\t0\t1000\tC\n5\t0\t1000\tL\t1234\n")).expect("it can be written");
    let output = imported(&[path(&file)]);
    assert_eq!(names(&folder), ["calls.tlbt", "calls.tlbt.zst"]);
    let summary = text(&output.stdout);
    assert!(summary.contains("the recorder lost 1,234 events: no replay of it is exact"), "{summary}");
    assert!(summary.contains("calls only: a replay of it is an upper bound"), "{summary}");
}

#[test]
fn an_output_without_name_is_beside_its_input() {
    let folder = folder("beside");
    let file = folder.join("some.old.tlbt");
    fs::write(&file, "# tlbt-sample 1\n# workload: w\n# root: 1000\n0\t0\t1000\tC\n").expect("it can be written");
    imported(&[path(&file)]);
    assert_eq!(names(&folder), ["some.old.tlbt", "some.old.tlbt.zst"]);
}

#[test]
fn what_is_there_is_replaced_only_by_force() {
    let folder = folder("there");
    let file = folder.join("there.tlbt");
    fs::write(&file, "mine").expect("the temporary folder can be written");
    refused(&[path(&bundled("pmdshare")), "-o", path(&file)], &[path(&file), "is there already", "--force"]);
    assert_eq!(fs::read(&file).expect("it is there"), b"mine");
    imported(&[path(&bundled("pmdshare")), "-o", path(&file), "--force"]);
    assert_eq!(report(&file), report(&bundled("pmdshare")));
    // Onto itself: the input is read to its end before it is replaced.
    imported(&[path(&file), "-o", path(&file), "--force"]);
    assert_eq!(report(&file), report(&bundled("pmdshare")));
    refused(&[path(&file), "-o", path(&folder), "--force"], &["no form has this name"]);
    fs::create_dir(folder.join("folder.tlbt")).expect("the temporary folder can be written");
    refused(&[path(&file), "-o", path(&folder.join("folder.tlbt")), "--force"], &["is a directory"]);
}

#[test]
fn an_error_names_the_file_and_leaves_no_output() {
    let folder = folder("errors");
    let output = folder.join("out.tlbt.zst");
    let bad = |name: &str, contents: &[u8], expected: &[&str]| {
        let file = folder.join(name);
        fs::write(&file, contents).expect("the temporary folder can be written");
        refused(&[path(&file), "-o", path(&output)], &[&[name], expected].concat());
        fs::remove_file(&file).expect("it is there");
        assert_eq!(names(&folder), [""; 0], "{name}");
    };
    let whole = fs::read(bundled("stmremap")).expect("a bundled recording");
    bad("half.tlbt.zst", &whole[..whole.len() / 2], &["line ", "cut short"]);
    bad("foreign.txt", b"hello\n", &["line 1", "not a recording", "hello"]);
    bad("empty", b"", &["line 1", "is empty"]);
    bad("bad.tlbt", b"# tlbt-sample 1\n# workload: w\n# root: 1000\n5\t0\t1000\tZ\n", &["line 4", "unknown kind `Z`"]);

    let columns = folder.join("columns.tlbt.zst");
    imported(&[path(&bundled("stmremap")), "-o", path(&columns)]);
    let whole = fs::read(&columns).expect("it is there");
    fs::remove_file(&columns).expect("it is there");
    bad("half-columns.tlbt.zst", &whole[..whole.len() / 2], &["byte ", "cut short"]);

    refused(&[path(&folder.join("nowhere")), "-o", path(&output)], &["nowhere: no such file"]);
    assert_eq!(names(&folder), [""; 0]);
}

#[test]
fn a_name_that_says_no_form_is_refused_with_those_that_do() {
    let folder = folder("names");
    for name in ["out", "out.txt", "out.zst", ".tlbt", ".tlbt.zst", "out.tlbt.gz"] {
        let output = folder.join(name);
        let expected = ["NAME.tlbt.zst (compact), NAME.tlbt (text) or - (text to standard output)", name];
        refused(&[path(&bundled("pmdshare")), "-o", path(&output)], &expected);
    }
    refused(
        &[path(&bundled("pmdshare")), "-o", path(&folder.join("nowhere/out.tlbt"))],
        &["nowhere/out.tlbt: No such file", "a directory with room"],
    );
    assert_eq!(names(&folder), [""; 0]);
}

#[test]
fn wrong_questions_are_answered_with_status_2() {
    for (arguments, words) in [
        (&[][..], "required arguments were not provided"),
        (&["x", "--root", "a-name-of-16-byte"], "a name of 1 to 15 bytes"),
        (&["x", "--frobnicate"], "unexpected argument"),
    ] {
        let output = shootdown(&[&["import"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(words), "no {words:?} in {}", text(&output.stderr));
    }
}

#[test]
fn help_has_examples() {
    let output = shootdown(&["import", "--help"]);
    for words in ["Examples:", "--root", "--symbols", "--name", "--force", "standard output", "Exit status:"] {
        assert!(text(&output.stdout).contains(words), "no {words:?} in {}", text(&output.stdout));
    }
}
