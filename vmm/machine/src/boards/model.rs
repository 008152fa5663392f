//! What a board is.

use crate::board::Board;
use crate::config::{BoardModel, Config};
use crate::fdt::Chosen;
use crate::parts::Placed;
use crate::vcpu::{GicMap, Platform};

/// A board: where everything is, and how a kernel is told.
pub(super) trait Model: Sync {
    /// Returns which board it is.
    fn model(&self) -> BoardModel;

    /// Returns where its interrupt controller is, which `platform` says the kind of.
    fn gic(&self, platform: Platform) -> GicMap;

    /// Returns its devices, in the order of their nodes, for a valid `config`.
    fn devices(&self, platform: Platform, config: &Config) -> Vec<Placed>;

    /// Returns the flattened device tree of `board`, which is of this model: one that is generated
    /// from its devices (`tree.rs`), or one that exists, with what `chosen` says and where RAM is
    /// written into it.
    ///
    /// # Errors
    /// When a string holds a NUL; validation has excluded that.
    fn device_tree(&self, board: &Board, chosen: &Chosen<'_>) -> Result<Vec<u8>, vm_fdt::Error>;
}
