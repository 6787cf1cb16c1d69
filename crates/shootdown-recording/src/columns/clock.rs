//! The clock that the recorder read.
//!
//! Owns [`Clock`], which says when the next event will be but for a whole number of steps. Clocks are given in
//! nanoseconds and seldom count them: that of many an AMD or virtual CPU steps by 10 ns or so, an Arm one by 18 to 42,
//! and a text with six decimals by 1000. Timestamps are most of what a recording holds, and on such a clock a third of
//! their bits are known. It deliberately needs no clock to be like that: with a step of 1 ns nothing is predicted.

/// A step is kept in this fraction of a nanosecond.
const FRACTION_BITS: u32 = 16;
/// A nanosecond.
const ONE_NS: i128 = 1 << FRACTION_BITS;
/// How far one rounding moves the guess of what was rounded.
const GAIN: i128 = ONE_NS / 10;
/// CPUs whose clocks are told apart; others share.
const N_OFFSETS: usize = 64;

/// The distance of two readings that follow one another, in 2^-16 ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step(u64);

impl Step {
    pub(super) const ONE_NS: Self = Self(1 << FRACTION_BITS);
    /// A step of a day, which is beyond any clock and keeps products within 128 bits.
    const MAX: u64 = 1 << 62;

    /// Accepts a step of a file.
    pub(super) fn from_code(code: u64) -> Option<Self> {
        (Self::ONE_NS.0..=Self::MAX).contains(&code).then_some(Self(code))
    }

    pub(super) fn code(self) -> u64 {
        self.0
    }
}

/// The distance of two events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticks {
    /// In steps.
    pub(super) n_steps: u64,
    /// What is to be added then, in ns; modulo 2^64.
    pub(super) rest_ns: u64,
}

/// A clock, as far as it can be known.
pub(super) struct Clock {
    step: i128,
    /// How much more the clock would show now if it did not round.
    phase: i128,
    /// How much later than others a CPU's clock steps.
    offsets: [i128; N_OFFSETS],
}

impl Clock {
    pub(super) fn new(step: Step) -> Self {
        Self { step: i128::from(step.0), phase: ONE_NS / 2, offsets: [0; N_OFFSETS] }
    }

    /// Splits the time since the event before.
    pub(super) fn ticks(&mut self, since_ns: u64, cpu: u16) -> Ticks {
        let unrounded = (i128::from(since_ns) << FRACTION_BITS) + ONE_NS / 2 - self.phase - self.offset(cpu);
        let n_steps = u64::try_from(((unrounded + self.step / 2) / self.step).max(0)).unwrap_or(u64::MAX);
        let rest_ns = since_ns.wrapping_sub(self.predicted(n_steps, cpu));
        self.advance(Ticks { n_steps, rest_ns }, cpu);
        Ticks { n_steps, rest_ns }
    }

    /// Returns the time since the event before.
    pub(super) fn since_ns(&mut self, ticks: Ticks, cpu: u16) -> u64 {
        let since_ns = self.predicted(ticks.n_steps, cpu).wrapping_add(ticks.rest_ns);
        self.advance(ticks, cpu);
        since_ns
    }

    fn predicted(&self, n_steps: u64, cpu: u16) -> u64 {
        let shown = i128::from(n_steps) * self.step + self.phase + self.offset(cpu);
        (shown >> FRACTION_BITS) as u64
    }

    fn offset(&self, cpu: u16) -> i128 {
        self.offsets.get(usize::from(cpu) % N_OFFSETS).copied().unwrap_or_default()
    }

    /// Learns from what was not predicted.
    fn advance(&mut self, ticks: Ticks, cpu: u16) {
        let rest = i128::from(ticks.rest_ns.cast_signed());
        let shown = i128::from(ticks.n_steps) * self.step + self.phase + self.offset(cpu);
        let after = shown - (shown >> FRACTION_BITS << FRACTION_BITS);
        let learnt = match rest {
            -1..=1 => after - rest * (ONE_NS - GAIN),
            _ => {
                if let Some(offset) = self.offsets.get_mut(usize::from(cpu) % N_OFFSETS) {
                    *offset = (*offset + rest * ONE_NS) % self.step;
                }
                ONE_NS / 2
            }
        };
        self.phase = learnt - self.offset(cpu);
    }
}
