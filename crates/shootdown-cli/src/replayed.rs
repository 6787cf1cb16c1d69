//! One recording replayed, and what is to be shown beside it.

use std::time::Duration;

use shootdown_recording::Header;
use shootdown_replay::{Placement, Report};

/// A replay of one recording.
pub(crate) struct Replayed {
    /// What the recording says of itself.
    pub(crate) header: Header,
    /// What was recorded, if it is a recording that comes with the command.
    pub(crate) about: Option<&'static str>,
    pub(crate) report: Report,
    /// The same recording once more, played otherwise.
    pub(crate) beside: Option<Beside>,
    pub(crate) placement: Placement,
    pub(crate) took: Duration,
}

/// Another replay of the same recording.
pub(crate) enum Beside {
    /// With every fix kept.
    Kept(Report),
    /// As another kernel would do it.
    Versus(Report),
}

/// Two replays of one recording, and what is different in them.
pub(crate) struct Comparison<'a> {
    pub(crate) names: [&'static str; 2],
    pub(crate) before: &'a Report,
    pub(crate) after: &'a Report,
}

impl Replayed {
    pub(crate) fn comparison(&self) -> Option<Comparison<'_>> {
        let report = &self.report;
        self.beside.as_ref().map(|beside| match beside {
            Beside::Kept(kept) => Comparison { names: ["kept", "left out"], before: kept, after: report },
            Beside::Versus(other) => {
                Comparison { names: [report.profile, other.profile], before: report, after: other }
            }
        })
    }

    /// Every replay that was asked for: one, or under two profiles. That every fix was kept once is only for comparison.
    pub(crate) fn reports(&self) -> Vec<&Report> {
        match &self.beside {
            Some(Beside::Versus(other)) => vec![&self.report, other],
            Some(Beside::Kept(_)) | None => vec![&self.report],
        }
    }
}
