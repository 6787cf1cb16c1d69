//! What there is to check.

use serde_json::json;
use shootdown_check::{Scenario, describe, incidents, scenarios};

/// The scenarios: as paragraphs, as JSON, or as the table of incidents.
pub(super) fn text(is_markdown: bool, is_json: bool) -> String {
    if is_markdown {
        return incidents::markdown();
    }
    let each = if is_json { object } else { paragraph };
    scenarios::all_and_models().map(each).collect()
}

fn proves(scenario: &Scenario) -> Vec<&'static str> {
    scenario.proves.iter().map(|proof| proof.fix.name()).collect()
}

fn incident_ids(scenario: &Scenario) -> Vec<&'static str> {
    incidents::of_scenario(scenario).map(|incident| incident.id).collect()
}

fn paragraph(scenario: &'static Scenario) -> String {
    let model = if scenarios::is_model(scenario) { ", a model of somebody else's protocol" } else { "" };
    let list = |names: Vec<&str>| if names.is_empty() { "-".to_owned() } else { names.join(", ") };
    format!(
        "{}: {}{model}\n  {}\n  {}\n  proves: {}\n  incidents: {}\n\n",
        scenario.name,
        describe(&scenario.machine),
        scenario.goal,
        scenario.method,
        list(proves(scenario)),
        list(incident_ids(scenario)),
    )
}

fn object(scenario: &'static Scenario) -> String {
    let object = json!({
        "scenario": scenario.name,
        "cpus": scenario.machine.cpus,
        "machine": describe(&scenario.machine),
        "goal": scenario.goal,
        "method": scenario.method,
        "model": scenarios::is_model(scenario),
        "proves": proves(scenario),
        "incidents": incident_ids(scenario),
    });
    format!("{object}\n")
}
