//! Memory orders of the library made weaker, one at a time: who notices is as in `docs/orders.txt`, and what is found
//! replays. With sets of several words there are others.

#![cfg(not(feature = "many-words"))]

use std::{env, fs, path::Path, thread};

use shootdown_check::{
    Schedule,
    orders::{self, Orders, Table},
    scenarios,
};

#[test]
fn the_file_says_who_notices_a_weaker_order() {
    let orders = Orders::collect(scenarios::ALL);
    let table = Table::new(orders.sites());
    let mut text = table.heading() + "\n";
    let n_threads = thread::available_parallelism().map_or(1, usize::from);
    orders.check(n_threads, |row| text += &(table.line(&row) + "\n"));

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/orders.txt");
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, &text).expect("the file can be written");
    }
    let file = fs::read_to_string(&path).unwrap_or_default();
    assert!(file == text, "docs/orders.txt is not what comes of it; UPDATE_EXPECT=1 rewrites it. Now it is:\n{text}");
}

#[test]
fn what_a_weaker_order_leads_to_replays_from_its_string() {
    let scenario = scenarios::by_name("lazy").expect("the scenario exists");
    let mut n_noticed = 0;
    Orders::collect([scenario]).check(1, |row| {
        if let Some(noticed) = row.noticed {
            let schedule: Schedule =
                noticed.finding.schedule.to_string().parse().expect("what was printed can be read");
            let replayed = orders::replay(scenario, &schedule).expect("it fails again");
            assert_eq!(replayed.failure, Some(noticed.finding.failure));
            assert_eq!(replayed.trace, noticed.finding.trace);
            n_noticed += 1;
        }
    });
    assert!(n_noticed > 1, "the store of the lazy mark and the hand-over of requests");
}
