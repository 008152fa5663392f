//! Guests of the DMA tester.

use super::*;

/// Registers of the DMA tester (`vmm_devices::dma_tester::spec`).
pub const ADDRESS_LO: u32 = 0x10;
pub const LENGTH: u32 = 0x18;
pub const COUNT: u32 = 0x1c;
pub const DATA_WORD: u32 = 0x34;
pub const COMMAND: u32 = 0x3c;
/// Commands.
pub const READ: u32 = 1;
pub const FILL: u32 = 4;

impl World {
    /// Makes the guest write these words, the last of them for ever.
    pub fn poke(&self, words: &[(u32, u32)]) {
        let words = words.iter().flat_map(|(at, value)| [*at, *value]);
        // An address of zero ends the table.
        let table: Vec<u8> = words.chain([0, 0]).flat_map(u32::to_le_bytes).collect();
        self.put(TABLE, &table);
    }
}

/// Returns a machine with a DMA tester, changed so.
pub fn world(program: &[&[u32]], change: impl FnOnce(&mut Config)) -> World {
    poking(program, |config| {
        config.dma_tester = Some(Default::default());
        change(config);
    })
}

/// Creates a guest that starts the largest burst there is, again and again.
pub fn bursts(time: TimeMode) -> World {
    // again: mov r0, #0; str r0, [r5] (abort); str r6, [r5] (start); b again
    let program = [0xe3a0_0000, 0xe585_0000, 0xe585_6000, 0xeaff_fffb];
    let world = world(&[&POKE[..9], &program], |config| config.time = time);
    let tester = world.registers("dma-tester");
    world.poke(&[
        (tester + ADDRESS_LO, world.base as u32),
        (tester + LENGTH, 16 << 20),
        (tester + COUNT, u32::MAX),
        (tester + COMMAND, READ),
    ]);
    world
}
