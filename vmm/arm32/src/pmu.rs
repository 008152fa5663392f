//! Performance monitors, version 2 (ARM ARM DDI 0406C chapter C12).

use serde::{Deserialize, Serialize};

/// Performance monitor registers of one core.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pmu {
    /// PMUSERENR.EN: PL0 may use the counters.
    pub user_enable: bool,
}

impl Pmu {
    /// The overflow interrupt output, with `cycles` instructions retired.
    pub fn line(&mut self, _cycles: u64) -> bool {
        false
    }

    /// The number of retired instructions at which the output may rise next.
    pub fn next_overflow(&self) -> Option<u64> {
        None
    }
}
