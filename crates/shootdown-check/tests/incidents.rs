//! The table of incidents: complete, true, and the same as in `INCIDENTS.md`.

use std::{collections::HashSet, env, fs, path::Path};

use shootdown::Fix;
use shootdown_check::incidents::{self, State};

#[test]
fn the_file_is_what_the_catalogue_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../INCIDENTS.md");
    let text = incidents::markdown();
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, &text).expect("the file can be written");
    }
    let file = fs::read_to_string(&path).unwrap_or_default();
    assert!(file == text, "INCIDENTS.md is not what the catalogue says; UPDATE_EXPECT=1 rewrites it");
}

#[test]
fn every_fix_is_proved_by_a_scenario() {
    for fix in Fix::ALL {
        assert!(incidents::proving(fix).next().is_some(), "no scenario fails without {}", fix.name());
    }
}

#[test]
fn every_incident_has_one_row_and_every_scenario_it_names_exists() {
    let mut ids = HashSet::new();
    for incident in incidents::all() {
        assert!(ids.insert(incident.id), "{} is there twice", incident.id);
        if let State::Shown(name, _) | State::Holds(name) = incident.state {
            let scenario = shootdown_check::scenarios::by_name(name);
            assert!(scenario.is_some(), "{} names {name}, which does not exist", incident.id);
        }
    }
    let mutations: Vec<String> = (1..=40).map(|number| format!("M{number}")).collect();
    assert!(mutations.iter().all(|id| ids.contains(id.as_str())));
}
