//! What a board is.

use crate::board::Board;
use crate::config::{BoardModel, Config};
use crate::fdt::{Chosen, TreeError};
use crate::parts::Placed;
use crate::psci::Firmware;
use crate::vcpu::{GicMap, Platform};

/// A board: where everything is, and how a kernel is told.
pub(super) trait Model: Sync {
    /// Returns which board it is.
    fn model(&self) -> BoardModel;

    /// Returns where its interrupt controller is, which `platform` says the kind of.
    fn gic(&self, platform: Platform) -> GicMap;

    /// Returns which firmware it has.
    fn firmware(&self) -> Firmware {
        Firmware::default()
    }

    /// Returns its devices, in the order of their nodes, for a valid `config`.
    fn devices(&self, platform: Platform, config: &Config) -> Vec<Placed>;

    /// Returns the flattened device tree of `board`, which is of this model: one that is generated
    /// from its devices (`tree.rs`), or `given`, with what `chosen` says and where RAM is written
    /// into it.
    ///
    /// # Errors
    /// When a string holds a NUL, which validation has excluded; or `given` is no device tree.
    fn device_tree(
        &self,
        board: &Board,
        chosen: &Chosen<'_>,
        given: Option<&[u8]>,
    ) -> Result<Vec<u8>, TreeError>;
}
