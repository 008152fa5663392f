//! Debug registers of coprocessor 14 (ARM ARM DDI 0406C chapter C11).

use serde::{Deserialize, Serialize};

/// Debug registers of one core.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Debug {
    /// DBGDSCR, the bits that hold state.
    pub dscr: u32,
}
