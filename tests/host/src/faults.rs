//! Host functions that fail when a test wants them to.

use std::collections::BTreeMap;

use crate::abi::Status;

/// What a host function does in place of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misdeed {
    /// Does nothing and returns this. [`Status::OK`] is a lie, with nothing written.
    Returns(Status),
    /// Traps.
    Traps,
}

/// A host function that is to fail.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Its name, `proxy_http_call` say.
    pub function: String,
    /// How.
    pub misdeed: Misdeed,
    /// Calls that go well before the first that fails.
    pub after: usize,
    /// How many fail; the ones behind them go well again.
    pub times: usize,
}

impl Fault {
    /// From the next call on, always.
    pub fn returns(function: &str, status: Status) -> Self {
        Self::of(function, Misdeed::Returns(status))
    }

    /// The next call traps, once.
    pub fn traps(function: &str) -> Self {
        Self {
            times: 1,
            ..Self::of(function, Misdeed::Traps)
        }
    }

    /// That many calls go well first.
    #[must_use]
    pub const fn after(mut self, calls: usize) -> Self {
        self.after = calls;
        self
    }

    /// Only that many fail.
    #[must_use]
    pub const fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    fn of(function: &str, misdeed: Misdeed) -> Self {
        Self {
            function: function.to_owned(),
            misdeed,
            after: 0,
            times: usize::MAX,
        }
    }
}

/// The faults in force, and how often each function was called.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub in_force: Vec<Fault>,
    pub calls: BTreeMap<String, usize>,
    /// Calls that a fault hit.
    pub hit: usize,
}

impl Faults {
    pub(crate) fn on_call(&mut self, function: &str) -> Option<Misdeed> {
        *self.calls.entry(function.to_owned()).or_default() += 1;
        for fault in &mut self.in_force {
            if fault.function != function {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                self.hit += 1;
                return Some(fault.misdeed);
            }
        }
        None
    }
}
