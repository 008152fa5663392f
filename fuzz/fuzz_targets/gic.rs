//! Any accesses to the interrupt controller, from any core, between any changes of its inputs.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vmm::irq::gicv2::GicState;

fuzz_target!(|data: &[u8]| {
    let mut gic = GicState::new(4, 96);
    for step in data.chunks_exact(8) {
        let cpu = usize::from(step[1] & 3);
        let offset = u64::from(u16::from_le_bytes([step[2], step[3]]));
        let value = u32::from_le_bytes([step[4], step[5], step[6], step[7]]);
        let size = 1 << (step[1] >> 2 & 3);
        match step[0] % 6 {
            0 => drop(gic.dist_read(cpu, offset, size)),
            1 => drop(gic.dist_write(cpu, offset, size, value)),
            2 => drop(gic.cpu_read(cpu, offset)),
            3 => drop(gic.cpu_write(cpu, offset, value)),
            4 => gic.set_shared(value & 0x7f, value & 0x80 != 0),
            _ => gic.set_private(cpu, value & 0x3f, value & 0x80 != 0),
        }
        gic.outputs(cpu);
    }
});
