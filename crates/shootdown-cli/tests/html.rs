//! The page that `shootdown replay --html` writes: what is in it, that it needs nothing else, and that a browser shows it.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use roxmltree::{Document, Node, ParsingOptions};
use serde_json::Value;

fn replay(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shootdown")).arg("replay").args(arguments).output().expect("the command runs")
}

/// A folder of this test's own, empty.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("html").join(name);
    if path.exists() {
        fs::remove_dir_all(&path).expect("it is ours");
    }
    fs::create_dir_all(&path).expect("the temporary folder can be written");
    path
}

/// Writes a page and returns its path; there is nothing else in its folder.
fn page_of(name: &str, arguments: &[&str]) -> PathBuf {
    let folder = folder(name);
    let path = folder.join("report.html");
    let output = replay(&[arguments, &["--html", path.to_str().expect("a UTF-8 path")]].concat());
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 1, "the page, and nothing that was temporary");
    path
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a page in UTF-8")
}

/// Reads a page as XML, which is stricter than HTML: everything that is opened is closed.
fn parse(page: &str) -> Document<'_> {
    Document::parse_with_options(page, ParsingOptions { allow_dtd: true, ..ParsingOptions::default() })
        .unwrap_or_else(|error| panic!("{error}"))
}

fn reports(arguments: &[&str]) -> Vec<Value> {
    let output = replay(&[arguments, &["--json"]].concat());
    let text = String::from_utf8(output.stdout).expect("it prints UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

fn text_of(node: Node<'_, '_>) -> String {
    node.descendants().filter_map(|node| node.text().filter(|_| node.is_text())).collect()
}

fn named<'a, 'input: 'a>(node: Node<'a, 'input>, name: &'a str) -> impl Iterator<Item = Node<'a, 'input>> {
    node.descendants().filter(move |node| node.has_tag_name(name))
}

/// The cells of a row, in the first table of `node` that has this as a column's name.
fn row(node: Node<'_, '_>, column: &str, name: &str) -> Vec<String> {
    let table = named(node, "table").find(|table| named(*table, "th").any(|header| text_of(header) == column));
    let table = table.unwrap_or_else(|| panic!("no table with {column:?}"));
    let rows = named(table, "tr").map(|row| named(row, "th").chain(named(row, "td")).map(text_of).collect::<Vec<_>>());
    let mut rows = rows.filter(|cells| cells.first().is_some_and(|cell| cell == name));
    rows.next().unwrap_or_else(|| panic!("no {name:?} in the table with {column:?}"))
}

fn number(text: &str) -> u64 {
    text.replace(',', "").parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

fn total(report: &Value, kind: &str, side: &str) -> u64 {
    report[kind][side].as_object().expect("by cause").values().filter_map(Value::as_u64).sum()
}

/// The sums of what the titles of a picture's bars say: predicted and recorded.
fn sums_of_bars(figure: Node<'_, '_>) -> (u64, u64) {
    let titles = named(figure, "title").map(text_of);
    titles.fold((0, 0), |(predicted, recorded), title| {
        let (_, counts) = title.rsplit_once(": ").expect("when and where");
        let (one, other) = counts.split_once(" predicted, ").expect("two counts");
        (predicted + number(one), recorded + number(other.trim_end_matches(" recorded")))
    })
}

/// The section of a recording has the numbers of its JSON, and its pictures add up to them.
fn assert_section_is_of(section: Node<'_, '_>, report: &Value) {
    let all = row(section, "off by", "all");
    let totals = |kind| (total(report, kind, "predicted"), total(report, kind, "recorded"));
    assert_eq!((number(&all[1]), number(&all[2])), totals("flushes"));
    assert_eq!((number(&all[4]), number(&all[5])), totals("remote"));
    let figures: Vec<Node<'_, '_>> = named(section, "figure").collect();
    assert_eq!(figures.len(), 2);
    assert_eq!(sums_of_bars(figures[0]), totals("flushes"));
    assert_eq!(sums_of_bars(figures[1]), totals("remote"));
    let text = text_of(section);
    let (_, stale) = text.rsplit_once("stale accesses: ").expect("it is said");
    let stale: String = stale.chars().take_while(|letter| letter.is_ascii_digit() || *letter == ',').collect();
    assert_eq!(Some(number(&stale)), report["stale_accesses"].as_u64());
}

fn assert_needs_nothing_else(page: &str) {
    for words in ["http:", "https:", "//", "url(", "@import", "<script", "<link", "<img", "<iframe", "javascript:"] {
        assert!(!page.contains(words), "{words:?} is in the page");
    }
    for node in parse(page).descendants().filter(Node::is_element) {
        for attribute in node.attributes() {
            assert!(!["src", "srcset", "data", "style"].contains(&attribute.name()), "{attribute:?}");
            assert!(attribute.name() != "href" || attribute.value().starts_with('#'), "{attribute:?}");
            assert!(!attribute.name().starts_with("on"), "{attribute:?}");
        }
    }
}

#[test]
fn a_page_has_what_the_json_has_and_needs_nothing_else() {
    let page = read(&page_of("one", &["pgbig", "--cost", "kvm-guest"]));
    assert_needs_nothing_else(&page);
    let document = parse(&page);
    let report = &reports(&["pgbig", "--cost", "kvm-guest", "--by", "process", "--by", "call", "--by", "range"])[0];
    let section = named(document.root(), "section").next().expect("a section");
    assert_section_is_of(section, report);
    let text = text_of(section);
    for words in ["PostgreSQL", "301,645 events of 271 tasks", "58,376", "2 munmap, 4 fault", "estimate", " ms"] {
        assert!(text.contains(words), "no {words:?} in the page");
    }
    for grouping in ["process", "call", "range"] {
        let by = report["by"].as_array().into_iter().flatten();
        let worst = by.into_iter().find(|offender| offender["grouping"] == grouping).expect("somebody");
        let cells = row(section, grouping, worst["name"].as_str().expect("a name"));
        assert_eq!(Some(number(&cells[1])), worst["counters"]["flushes"].as_u64(), "{grouping}");
    }
    for part in report["cost"]["parts"].as_array().expect("parts") {
        assert!(text.contains(part["source"].as_str().expect("a source")), "each price with its source");
    }
}

#[test]
fn several_recordings_have_a_section_each_and_a_list_of_contents() {
    for (name, more, columns) in [
        ("without", ["--without", "flush-remote"], ["kept", "left out"]),
        ("versus", ["--versus", "linux-6.12"], ["linux-6.18", "linux-6.12"]),
    ] {
        let arguments = [&["java", "gcc"], &more[..]].concat();
        let page = read(&page_of(name, &arguments));
        assert_needs_nothing_else(&page);
        let document = parse(&page);
        let sections: Vec<Node<'_, '_>> = named(document.root(), "section").collect();
        // Under two profiles there are two objects a recording; the page has one section for both.
        let reports = reports(&arguments);
        let per_recording = reports.len() / 2;
        assert_eq!((sections.len(), reports.len() % 2), (2, 0));
        for (section, reports) in sections.iter().zip(reports.chunks(per_recording)) {
            assert_section_is_of(*section, &reports[0]);
            let after = &reports[per_recording - 1];
            let id = section.attribute("id").expect("where the contents lead to");
            let link = format!("#{id}");
            assert!(named(document.root(), "a").any(|a| a.attribute("href") == Some(&link)));
            let headers: Vec<String> = named(*section, "th").map(text_of).collect();
            assert!(columns.iter().all(|column| headers.iter().any(|header| header == column)), "{headers:?}");
            let cells = row(*section, columns[1], "remote requests");
            assert_eq!(number(&cells[2]), total(after, "remote", "predicted"), "{name}");
            let cells = row(*section, columns[1], "stale accesses");
            assert_eq!(Some(number(&cells[2])), after["stale_accesses"].as_u64(), "{name}");
        }
    }
}

#[test]
fn of_256_cpus_the_busiest_are_shown_and_the_others_summed_up() {
    let page = read(&page_of("many", &["gcc", "--cpus", "256", "--without", "flush-before-free"]));
    let document = parse(&page);
    let section = named(document.root(), "section").next().expect("a section");
    assert_section_is_of(section, &reports(&["gcc", "--cpus", "256", "--without", "flush-before-free"])[0]);
    for figure in named(section, "figure") {
        let names: Vec<String> =
            named(figure, "text").filter(|text| text.attribute("class") == Some("name")).map(text_of).collect();
        assert!(names.len() <= 9 && names.last().is_some_and(|name| name.ends_with(" other CPUs")), "{names:?}");
    }
    assert!(text_of(section).contains("Tasks are spread"));
}

#[test]
fn another_machine_a_device_and_a_hostile_name_are_no_trouble() {
    let page = read(&page_of("alpha", &["java", "--machine", "alpha"]));
    let text = text_of(parse(&page).root());
    assert!(text.contains("no yardstick") && text.contains("on x86-64") && !text.contains("off by"));
    let page = read(&page_of("device", &["java", "--device", "iommu", "--without", "tell-devices"]));
    let text = text_of(parse(&page).root());
    assert!(text.contains("stale DMA: ") && text.contains("device, address space 1"));
    let header =
        "# tlbt-sample 0\n# workload: <script>alert('&')</script>\n# root: 1000\n# detail: calls\n# kernel: <b> 6.18\n";
    let path = folder("hostile").join("hostile.tlbt");
    let events = "0\t0\t1000\tE\t11\t1000\t1000\n0\t0\t0\tL\t17\n";
    fs::write(&path, format!("{header}{events}")).expect("it can be written");
    let page = read(&page_of("hostile-page", &[path.to_str().expect("UTF-8")]));
    assert_needs_nothing_else(&page);
    let text = text_of(parse(&page).root());
    assert!(text.contains("<script>alert('&')</script>") && text.contains("kernel") && text.contains("<b> 6.18"));
    for words in ["Flush operations: none", "upper bound: calls only were recorded", "the recorder lost 17 events"] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
}

#[test]
fn what_is_printed_stays_the_same() {
    let path = folder("same").join("report.html");
    let path = path.to_str().expect("a UTF-8 path");
    for arguments in [&["java", "--json"][..], &["java", "--json", "--timeline", "--by", "call"]] {
        let with_page = replay(&[arguments, &["--html", path]].concat());
        assert_eq!(with_page.stdout, replay(arguments).stdout, "{arguments:?}");
    }
    // All but the line that says how long it took.
    let lines = |arguments: &[&str]| -> Vec<String> {
        let text = String::from_utf8(replay(arguments).stdout).expect("it prints UTF-8");
        text.lines().filter(|line| !line.contains("events/s")).map(str::to_owned).collect()
    };
    assert_eq!(
        lines(&["java", "--without", "flush-remote", "--html", path]),
        lines(&["java", "--without", "flush-remote"])
    );
}

#[test]
fn an_error_leaves_no_page_and_no_half_of_one() {
    let folder = folder("error");
    let path = folder.join("report.html");
    let page = path.to_str().expect("a UTF-8 path");
    fs::write(&path, "what was there before").expect("it can be written");
    let bad = folder.join("bad.tlbt");
    fs::write(&bad, "# tlbt-sample 0\n# workload: bad\n# root: 1000\nx\n").expect("it can be written");
    let output = replay(&["java", bad.to_str().expect("UTF-8"), "--html", page]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(read(&path), "what was there before");
    assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 2, "nothing temporary is left");
    for (place, words) in [(folder.to_str().expect("UTF-8"), "it is no file"), ("/nowhere/at/all.html", "No such file")]
    {
        let output = replay(&["java", "--html", place]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{place}: before anything is replayed");
        assert!(error.contains(place) && error.contains(words) && error.contains("expected"), "{error}");
    }
}

/// Lets a browser do something with a page. `None` where there is no browser; a minute is its limit.
fn chromium(name: &str, page: &Path, arguments: &[&str]) -> Option<Output> {
    static N_SKIPPED: AtomicU32 = AtomicU32::new(0);
    if Command::new("chromium").arg("--version").output().is_err() {
        let n_skipped = N_SKIPPED.fetch_add(1, Relaxed) + 1;
        // Not by `eprintln`, which is shown only where a test fails.
        writeln!(io::stderr(), "skipped: {n_skipped} looks at a page; there is no chromium").expect("it prints");
        return None;
    }
    let profile = folder(&format!("{name}-profile"));
    // By `timeout`, which also ends the processes that a browser begins.
    let output = Command::new("timeout")
        .args(["--kill-after=5", "60", "chromium", "--headless", "--no-sandbox", "--disable-gpu"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(arguments)
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("the browser begins");
    assert_eq!(output.status.code(), Some(0), "124 is a timeout: {}", String::from_utf8_lossy(&output.stderr));
    Some(output)
}

/// What a browser painted.
struct Picture {
    width: usize,
    pixels: Vec<[u8; 3]>,
}

impl Picture {
    fn read(path: &Path) -> Self {
        let mut decoder = png::Decoder::new(io::BufReader::new(fs::File::open(path).expect("a screenshot")));
        decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
        let mut reader = decoder.read_info().expect("a PNG");
        let mut bytes = vec![0; reader.output_buffer_size().expect("it fits into memory")];
        let frame = reader.next_frame(&mut bytes).expect("a whole PNG");
        let pixels = bytes[..frame.buffer_size()].chunks(frame.color_type.samples());
        Picture { width: frame.width as usize, pixels: pixels.map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect() }
    }

    /// Where this colour is: how often, from which line on, to which, and in how many columns.
    fn find(&self, colour: [u8; 3]) -> (usize, usize, usize, usize) {
        let places: Vec<usize> =
            self.pixels.iter().enumerate().filter(|(_, pixel)| **pixel == colour).map(|(place, _)| place).collect();
        let columns: std::collections::BTreeSet<usize> = places.iter().map(|place| place % self.width).collect();
        let line = |place: Option<&usize>| place.map_or(0, |place| place / self.width);
        (places.len(), line(places.first()), line(places.last()), columns.len())
    }
}

const PREDICTED: [u8; 3] = [0x25, 0x63, 0xc9];
const RECORDED: [u8; 3] = [0xc2, 0x57, 0x0c];

#[test]
fn a_browser_paints_the_timeline() {
    let page = page_of("painted", &["pgbig"]);
    let path = page.with_file_name("page.png");
    let screenshot = format!("--screenshot={}", path.display());
    if chromium("painted", &page, &[&screenshot, "--window-size=1200,1600"]).is_none() {
        return;
    }
    let picture = Picture::read(&path);
    assert_eq!((picture.width, picture.pixels.len()), (1200, 1200 * 1600));
    let colours: std::collections::BTreeSet<[u8; 3]> = picture.pixels.iter().copied().collect();
    assert!(colours.len() > 50, "{} colours", colours.len());
    // Hundreds of bars of both colours, over most of the time; predictions begin and end higher up.
    let (n_predicted, first_predicted, last_predicted, wide_predicted) = picture.find(PREDICTED);
    let (n_recorded, first_recorded, last_recorded, wide_recorded) = picture.find(RECORDED);
    assert!(n_predicted > 3_000 && n_recorded > 3_000, "{n_predicted} and {n_recorded} pixels of bars");
    assert!(wide_predicted > 300 && wide_recorded > 300, "{wide_predicted} and {wide_recorded} columns of bars");
    assert!(first_predicted <= first_recorded && last_predicted < last_recorded);
    // What is written beside the axes is painted, too.
    let lines = first_predicted * picture.width..last_recorded * picture.width;
    let is_dark = |pixel: &&[u8; 3]| pixel.iter().all(|part| *part < 0x60);
    assert!(picture.pixels[lines].iter().filter(is_dark).count() > 200, "there is text in the timeline");
}

#[test]
fn a_browser_understands_the_page() {
    let page = page_of("understood", &["java", "jemalloc", "--versus", "linux-6.12"]);
    let Some(output) = chromium("understood", &page, &["--dump-dom"]) else {
        return;
    };
    let dom = String::from_utf8(output.stdout).expect("UTF-8");
    for words in ["<th scope=\"row\">fault</th><td>1,041</td><td>1,039</td><td>+2</td>", "<svg", "linux-6.12</th>"] {
        assert!(dom.contains(words), "no {words:?} in what the browser made of the page");
    }
    let bars = |text: &str| text.matches("class=\"predicted\"").count();
    assert!(bars(&dom) > 50, "{} bars", bars(&dom));
    assert_eq!(bars(&dom), bars(&read(&page)), "nothing was moved or dropped");
}
