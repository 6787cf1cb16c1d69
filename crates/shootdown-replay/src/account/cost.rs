//! What flushes take, by a model that is data: a price for each thing the library counts, with its source.
//!
//! Owns [`CostModel`] and what may be in its file. It measures nothing: whatever comes of it is an estimate.

use std::{collections::BTreeMap, ops::RangeInclusive};

use serde::{Deserialize, Serialize};
use shootdown::Counter;
use toml::Spanned;

/// Prices of what the library counts.
#[derive(Clone, Debug, PartialEq)]
pub struct CostModel {
    /// The name in reports.
    pub name: String,
    /// What machine it is of.
    pub about: String,
    /// What turns cycles into time.
    pub clock_ghz: f64,
    /// The prices, in the order of [`Counter::ALL`].
    pub prices: Vec<Price>,
}

/// What one of something takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Price {
    /// What it is the price of.
    pub counter: Counter,
    /// That in words.
    pub about: String,
    /// Time for each.
    pub ns: f64,
    /// Where the number is from.
    pub source: String,
}

/// What a replay would have cost: an estimate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CostReport {
    /// Always [`ESTIMATE`](Self::ESTIMATE), so that nobody takes it for a measurement.
    pub label: &'static str,
    /// The model's name.
    pub model: String,
    /// What has a price.
    pub parts: Vec<CostPart>,
    /// CPU time of all parts, on all CPUs together.
    pub seconds: f64,
    /// Time in which recorded CPUs ran recorded tasks, if the recorder saw who ran where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded_cpu_seconds: Option<f64>,
    /// The one as a share of the other, if there is any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
}

/// What one kind of thing would have cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CostPart {
    /// The library's counter.
    pub counter: &'static str,
    /// That in words.
    pub about: String,
    /// How many there were.
    pub count: u64,
    /// The price of one.
    pub ns_each: f64,
    /// The price of all.
    pub seconds: f64,
    /// Where the price is from.
    pub source: String,
}

impl CostReport {
    /// What a cost is.
    pub const ESTIMATE: &'static str = "estimate";
}

/// Why a cost model cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {problem}", .line.map_or_else(String::new, |line| format!(": line {line}")))]
pub struct CostError {
    /// The file.
    pub file: String,
    /// The line, from 1, if it is one line's fault.
    pub line: Option<usize>,
    /// What is wrong.
    pub problem: CostProblem,
}

/// What is wrong with a cost model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CostProblem {
    /// It is no TOML, or a key is missing, unknown or of another type.
    #[error("{0}; expected a cost model: name, about, clock_ghz, and [price.COUNTER] with cycles or ns, and source")]
    Form(String),
    /// A price of something that is not counted.
    #[error("there is no counter {0:?}; expected one of the library's")]
    UnknownCounter(String),
    /// A number that is no price.
    #[error("{key} of {of} is {value}; expected a number from {expected}")]
    Number {
        /// The key.
        key: &'static str,
        /// Whose key.
        of: String,
        /// The number.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A price in no unit, or in two.
    #[error("the price of {0} has {1}; expected one of them")]
    Unit(String, &'static str),
    /// A price of nowhere.
    #[error(
        "the price of {0} has no source; expected where the number is from: a manual, a paper, a commit, a measurement"
    )]
    NoSource(String),
    /// A model without a price.
    #[error("it has no price; expected at least one [price.COUNTER]")]
    NoPrice,
}

/// Numbers that a file may give: so that no sum of them is infinite.
struct Bounds {
    range: RangeInclusive<f64>,
    text: &'static str,
}

const CLOCKS: Bounds = Bounds { range: 0.001..=1000.0, text: "0.001 to 1000" };
/// Up to what is more than a minute.
const PRICES: Bounds = Bounds { range: 0.0..=1e12, text: "0 to 1e12" };

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelFile {
    name: String,
    #[serde(default)]
    about: String,
    clock_ghz: Spanned<f64>,
    #[serde(default)]
    price: BTreeMap<Spanned<String>, PriceFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceFile {
    #[serde(default)]
    about: String,
    cycles: Option<Spanned<f64>>,
    ns: Option<Spanned<f64>>,
    source: Option<Spanned<String>>,
}

/// A problem, and the byte where it is.
type Located = (CostProblem, Option<usize>);

impl CostModel {
    /// The models that come with the crate, as text, by name.
    const BUNDLED: [(&str, &str); 2] = [
        ("bare-metal", include_str!("../../costs/bare-metal.toml")),
        ("kvm-guest", include_str!("../../costs/kvm-guest.toml")),
    ];

    /// Returns the models that come with the crate.
    ///
    /// # Panics
    /// Never: a test reads them all.
    #[must_use]
    pub fn bundled() -> Vec<CostModel> {
        let read = |(name, text)| CostModel::from_toml(name, text).expect("bundled models are well-formed");
        Self::BUNDLED.into_iter().map(read).collect()
    }

    /// Reads a model from the text of `file`, which is named in errors.
    ///
    /// # Errors
    /// [`CostError`] with the line, at the first thing that is not as it must be.
    pub fn from_toml(file: &str, text: &str) -> Result<CostModel, CostError> {
        let read = || -> Result<CostModel, Located> {
            let model: ModelFile = toml::from_str(text).map_err(|error| {
                (CostProblem::Form(error.message().to_owned()), error.span().map(|span| span.start))
            })?;
            model.check()
        };
        read().map_err(|(problem, at)| CostError {
            file: file.to_owned(),
            line: at.map(|at| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()),
            problem,
        })
    }

    /// Says what all this would cost, of which the recorded tasks ran for so many seconds.
    pub(crate) fn estimate(&self, count: impl Fn(Counter) -> u64, recorded_cpu_seconds: Option<f64>) -> CostReport {
        let parts: Vec<CostPart> = self
            .prices
            .iter()
            .map(|price| {
                let Price { counter, about, ns, source } = price.clone();
                let count = count(counter);
                let seconds = count as f64 * ns / 1e9;
                CostPart { counter: counter.name(), about, count, ns_each: ns, seconds, source }
            })
            .collect();
        let seconds = parts.iter().map(|part| part.seconds).sum();
        CostReport {
            label: CostReport::ESTIMATE,
            model: self.name.clone(),
            parts,
            seconds,
            recorded_cpu_seconds,
            share: recorded_cpu_seconds.filter(|recorded| *recorded > 0.0).map(|recorded| seconds / recorded),
        }
    }
}

impl ModelFile {
    fn check(self) -> Result<CostModel, Located> {
        let ModelFile { name, about, clock_ghz, price } = self;
        let clock_ghz = number("clock_ghz", "the model", &clock_ghz, CLOCKS)?;
        let mut prices =
            price.into_iter().map(|(name, price)| price.check(&name, clock_ghz)).collect::<Result<Vec<Price>, _>>()?;
        if prices.is_empty() {
            return Err((CostProblem::NoPrice, None));
        }
        prices.sort_by_key(|price| price.counter as usize);
        Ok(CostModel { name, about, clock_ghz, prices })
    }
}

impl PriceFile {
    fn check(self, name: &Spanned<String>, clock_ghz: f64) -> Result<Price, Located> {
        let PriceFile { about, cycles, ns, source } = self;
        let at = Some(name.span().start);
        let name = name.get_ref().clone();
        let Some(counter) = Counter::ALL.into_iter().find(|counter| counter.name() == name) else {
            return Err((CostProblem::UnknownCounter(name), at));
        };
        let ns = match (cycles, ns) {
            (Some(cycles), None) => number("cycles", &name, &cycles, PRICES)? / clock_ghz,
            (None, Some(ns)) => number("ns", &name, &ns, PRICES)?,
            (None, None) => return Err((CostProblem::Unit(name, "neither cycles nor ns"), at)),
            (Some(_), Some(_)) => return Err((CostProblem::Unit(name, "both cycles and ns"), at)),
        };
        match source.map(Spanned::into_inner).filter(|source| !source.trim().is_empty()) {
            Some(source) => Ok(Price { counter, about, ns, source }),
            None => Err((CostProblem::NoSource(name), at)),
        }
    }
}

fn number(key: &'static str, of: &str, number: &Spanned<f64>, bounds: Bounds) -> Result<f64, Located> {
    let value = *number.get_ref();
    // Not a number is in no range.
    if bounds.range.contains(&value) {
        return Ok(value);
    }
    let problem = CostProblem::Number { key, of: of.to_owned(), value: value.to_string(), expected: bounds.text };
    Err((problem, Some(number.span().start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "name = \"mine\"\nclock_ghz = 2\n\n[price.flushes]\ncycles = 300\nsource = \"a manual\"\n";

    #[test]
    fn bundled_models_have_a_source_for_each_price_and_the_names_they_are_found_by() {
        for (model, (name, _)) in CostModel::bundled().iter().zip(CostModel::BUNDLED) {
            assert_eq!(model.name, name);
            assert!(!model.about.is_empty());
            for price in &model.prices {
                assert!(price.ns > 0.0 && price.source.len() > 20 && !price.about.is_empty(), "{price:?}");
            }
        }
    }

    #[test]
    fn cycles_become_time_and_times_become_a_share() {
        let model = CostModel::from_toml("mine.toml", GOOD).expect("it is well-formed");
        assert_eq!((model.prices[0].counter, model.prices[0].ns), (Counter::FlushLocal, 150.0));
        let report = model.estimate(|counter| 1_000_000 * u64::from(counter == Counter::FlushLocal), Some(3.0));
        assert_eq!((report.label, report.seconds, report.share), ("estimate", 0.15, Some(0.15 / 3.0)));
        assert_eq!((report.parts[0].counter, report.parts[0].count), ("flushes", 1_000_000));
        assert_eq!(model.estimate(|_| 1, None).share, None);
        assert_eq!(model.estimate(|_| 1, Some(0.0)).share, None);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (good, bad, line, words) in [
            ("flushes", "flashes", Some(4), "no counter \"flashes\"; expected"),
            ("source = \"a manual\"", "", Some(4), "flushes has no source; expected"),
            ("a manual", " ", Some(4), "flushes has no source; expected"),
            ("300", "-300", Some(5), "cycles of flushes is -300; expected a number from 0 to 1e12"),
            ("300", "inf", Some(5), "cycles of flushes is inf; expected a number"),
            ("300", "nan", Some(5), "cycles of flushes is NaN; expected a number"),
            ("300", "\"many\"", Some(5), "\"many\""),
            ("cycles = 300", "cycles = 1\nns = 2", Some(4), "both cycles and ns; expected one"),
            ("cycles = 300", "", Some(4), "neither cycles nor ns; expected one"),
            ("cycles", "cicles", Some(5), "unknown field `cicles`, expected"),
            ("= 2", "= 0", Some(2), "clock_ghz of the model is 0; expected a number from 0.001 to 1000"),
            ("= 2", "= -2", Some(2), "clock_ghz of the model is -2; expected"),
            ("clock_ghz = 2", "", Some(1), "missing field `clock_ghz`; expected"),
            ("name", "nmae", Some(1), "unknown field `nmae`, expected"),
            ("[price.flushes]", "[price.flushes", Some(4), "expected"),
            ("source", "cycles", Some(6), "duplicate key"),
            ("[price.flushes]\ncycles = 300\nsource = \"a manual\"\n", "", None, "no price; expected"),
        ] {
            assert!(GOOD.contains(good), "{good}");
            let error = CostModel::from_toml("mine.toml", &GOOD.replacen(good, bad, 1)).expect_err(words);
            assert_eq!(error.line, line, "{error}");
            let text = error.to_string();
            assert!(text.starts_with("mine.toml: ") && text.contains(words), "no {words:?} in {text}");
        }
    }
}
