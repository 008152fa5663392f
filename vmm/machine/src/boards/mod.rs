//! The boards that a machine can be: a new one gets its line here.

mod model;
mod tree;
mod virt;

use model::Model;

use crate::board::Board;
use crate::config::{BoardModel, Config};
use crate::fdt::Chosen;
use crate::vcpu::Platform;

/// Returns what the machine knows of a board.
fn model(board: BoardModel) -> &'static dyn Model {
    match board {
        BoardModel::Virt => &virt::Virt(None),
        BoardModel::VirtMvebu => &virt::Virt(Some(virt::Soc::Mvebu)),
        BoardModel::VirtHighbank => &virt::Virt(Some(virt::Soc::Highbank)),
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
            (platform, model.gic(platform)),
            model.devices(platform, config),
        )
    }

    /// Returns the flattened device tree that a kernel is given.
    ///
    /// # Errors
    /// When a string holds a NUL; validation has excluded that.
    pub fn device_tree(&self, chosen: &Chosen<'_>) -> Result<Vec<u8>, vm_fdt::Error> {
        model(self.model).device_tree(self, chosen)
    }
}

#[cfg(test)]
mod tests;
