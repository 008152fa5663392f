//! Programs for the core alone.

use super::*;

#[test]
fn cores_that_do_the_most_they_can_hold_nothing_up() {
    // mov r1, #0x08000000 (the distributor); str r0, [r1, #0x100]; b back
    let gic: &[u32] = &[0xe3a0_1302, 0xe581_0100, 0xeaff_fffd];
    // mov r1, #0x09000000 (the UART); ldm r1, {r2-r12}; b back
    let multiple: &[u32] = &[0xe3a0_1409, 0xe891_1ffc, 0xeaff_fffd];
    // ldr r3, =0xe1a00000; add r1, pc, #8; again: str r3, [r1]; ICIALLU; eor r3, r3, #1; mov r0, r0; b again
    let modifying: &[u32] = &[
        0xe59f_3014,
        0xe28f_1008,
        0xe581_3000,
        0xee07_0f15,
        0xe223_3001,
        0xe1a0_0000,
        0xeaff_fffa,
        0xe1a0_0000,
    ];
    // mov r1, #0xf0000000; ldr r0, [r1]: a data abort, whose vector lies nowhere either
    let aborts: &[u32] = &[0xe3a0_120f, 0xe591_0000];
    // udf #0
    let undefined: &[u32] = &[0xe7f0_00f0];
    // mov r0, #0x84000000 (PSCI_VERSION); hvc #0; b to the first
    let firmware: &[u32] = &[0xe3a0_0484, 0xe140_0070, 0xeaff_fffc];
    // GICD_CTLR = 1, GICD_ISENABLER0 = 1 << 30, GICC_CTLR = 1, GICC_PMR = 0xff; again: CNTP_TVAL = 1; CNTP_CTL = 1; wfi; b again
    let sleeps: &[u32] = &[
        0xe3a0_1302,
        0xe3a0_0001,
        0xe581_0000,
        0xe3a0_2101,
        0xe581_2100,
        0xe281_3801,
        0xe583_0000,
        0xe3a0_40ff,
        0xe583_4004,
        0xee0e_0f12,
        0xee0e_0f32,
        0xe320_f003,
        0xeaff_fffb,
    ];
    // mov r0, #0x09000000 (the UART); TTBR0 = r0; mvn r0, #0; DACR = r0; SCTLR.M = 1: tables in device registers
    let tables: &[u32] = &[
        0xe3a0_0409,
        0xee02_0f10,
        0xe3e0_0000,
        0xee03_0f10,
        0xee11_0f10,
        0xe380_0001,
        0xee01_0f10,
        0xeaff_fffe,
    ];
    // mov r1, #0x09000000; mov r0, #'x'; strb r0, [r1]; b back
    let talk: &[u32] = &[0xe3a0_1409, 0xe3a0_0078, 0xe5c1_0000, 0xeaff_fffd];
    for (what, program) in [
        ("interrupt controller", gic),
        ("load multiple", multiple),
        ("self-modifying code", modifying),
        ("aborts", aborts),
        ("undefined instructions", undefined),
        ("firmware calls", firmware),
        ("sleeps", sleeps),
        ("tables in devices", tables),
        ("console", talk),
    ] {
        for time in [TimeMode::Virtual, TimeMode::Host] {
            let file = kernel(&[program]);
            let config = Config {
                time,
                ..config(&file)
            };
            let machine = Machine::new(&config, Box::new(Discard)).unwrap();
            let mut world = World {
                base: machine.board().ram.base,
                machine,
                _files: vec![file],
            };
            world.ends_when_told(&format!("{what}, {time:?}"));
        }
    }
}
