//! The boards that a machine can be: a new one gets its line here.

mod ecx2000;
mod koelsch;
mod model;
mod tree;
mod virt;

use model::Model;

use crate::board::Board;
use crate::config::{BoardModel, Config};
use crate::fdt::{Chosen, TreeError};
use crate::vcpu::Platform;

/// Returns what the machine knows of a board.
fn model(board: BoardModel) -> &'static dyn Model {
    match board {
        BoardModel::Virt => &virt::Virt(None),
        BoardModel::VirtMvebu => &virt::Virt(Some(virt::Soc::Mvebu)),
        BoardModel::VirtHighbank => &virt::Virt(Some(virt::Soc::Highbank)),
        BoardModel::Ecx2000 => &ecx2000::Ecx2000,
        BoardModel::Koelsch => &koelsch::Koelsch,
    }
}

impl Board {
    /// Returns the machine that `config`, which must be valid, describes, with emulated cores.
    pub fn new(config: &Config) -> Self {
        Self::on(Platform::EMULATED, config)
    }

    /// Returns the machine that `config`, which must be valid, describes, on `platform`.
    pub fn on(platform: Platform, config: &Config) -> Self {
        let model = model(config.board);
        Self::with_parts(
            (model.model(), config.ram(), config.cpus),
            (platform, model.gic(platform), model.firmware()),
            model.devices(platform, config),
        )
    }

    /// Returns the flattened device tree that a kernel is given: of a board that does not generate
    /// it, `given` with `/chosen` and `/memory` filled in.
    ///
    /// # Errors
    /// When a string holds a NUL, which validation has excluded; or `given` is no device tree.
    pub fn device_tree(
        &self,
        chosen: &Chosen<'_>,
        given: Option<&[u8]>,
    ) -> Result<Vec<u8>, TreeError> {
        model(self.model).device_tree(self, chosen, given)
    }
}

#[cfg(test)]
mod tests;
