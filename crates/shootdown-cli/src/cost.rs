//! Which cost model is meant: a bundled one, or a file.

use std::{fs, path::Path};

use shootdown::Counter;
use shootdown_replay::{CostModel, CostProblem};

use crate::names;

type Error = Box<dyn std::error::Error>;

/// Reads the model of this name: a file if there is one, else a bundled model.
pub(crate) fn model(name: &str) -> Result<CostModel, Error> {
    let mut bundled = CostModel::bundled();
    if !Path::new(name).exists() {
        let Some(found) = bundled.iter().position(|model| model.name == name) else {
            let hint = names::near(name, bundled.iter().map(|model| &*model.name));
            let expected = "expected a TOML file or a bundled one (see `shootdown replay --cost list`)";
            return Err(format!("there is no cost model {name:?}{hint}; {expected}").into());
        };
        return Ok(bundled.swap_remove(found));
    }
    let text = fs::read_to_string(name).map_err(|error| format!("{name}: {error}; expected a cost model in TOML"))?;
    CostModel::from_toml(name, &text).map_err(|error| {
        let hint = match &error.problem {
            CostProblem::UnknownCounter(counter) => names::near(counter, Counter::ALL.map(Counter::name)),
            _ => String::new(),
        };
        format!("{error}{hint}").into()
    })
}
