//! Programs for the cores, and for devices that need no memory set up.

use super::*;

/// Creates a machine with as many cores that runs this program.
pub fn world(time: TimeMode, cpus: u8, program: &[u32]) -> World {
    let file = kernel(&[program]);
    let config = Config {
        time,
        cpus,
        ..config(&file)
    };
    let machine = Machine::builder(&config, Box::new(Discard))
        .build()
        .unwrap();
    World {
        base: machine.board().ram.base,
        machine,
        _files: vec![file],
    }
}

/// mov r1, #0x08000000 (the distributor); str r0, [r1, #0x100]; b back
pub const GIC: &[u32] = &[0xe3a0_1302, 0xe581_0100, 0xeaff_fffd];

/// GICD_CTLR = GICC_CTLR = 1, GICC_PMR = 0xff; again: GICD_SGIR = to oneself, 0; r0 = GICC_IAR;
/// GICC_EOIR = r0; add r6, r1, #0x400 (priorities); ldm r6, {r7-r12}; stm r6, {r7-r12}; b again
pub const SGI: &[u32] = &[
    0xe3a0_1302,
    0xe3a0_0001,
    0xe581_0000,
    0xe281_3801,
    0xe583_0000,
    0xe3a0_40ff,
    0xe583_4004,
    0xe3a0_2402,
    0xe581_2f00,
    0xe593_000c,
    0xe583_0010,
    0xe281_6b01,
    0xe896_1f80,
    0xe886_1f80,
    0xeaff_fff8,
];

/// mov r1, #0x09000000; add r1, r1, #0x10000 (the real-time clock); RTCIMSC = 1; again: RTCLR =
/// RTCMR = RTCDR; RTCICR = 1; b again: the alarm goes off each time.
pub const RTC: &[u32] = &[
    0xe3a0_1409,
    0xe281_1801,
    0xe3a0_0001,
    0xe581_0010,
    0xe591_2000,
    0xe581_2008,
    0xe581_2004,
    0xe581_001c,
    0xeaff_fffa,
];

/// mov r1, #0x09000000 (the UART); mov r0, #'x'; strb r0, [r1]; b back
pub const OUTPUT: &[u32] = &[0xe3a0_1409, 0xe3a0_0078, 0xe5c1_0000, 0xeaff_fffd];

/// mov r1, #0x09000000 (the UART); ldm r1, {r2-r12}; b back
pub const MULTIPLE: &[u32] = &[0xe3a0_1409, 0xe891_1ffc, 0xeaff_fffd];

/// CPACR = 0xf00000; FPEXC = 0x40000000; mov r1, #0x09000000 (the UART); mov r2, #0x40000000 (RAM);
/// again: vldmia r2, {d0-d15}; vldmia r1, {d0-d15}; vstmia r2, {d16-d31}; vld4.8 {d0-d3}, [r1];
/// vst4.8 {d0-d3}, [r2]; b again. Those at the UART may well abort: then the vector, which holds
/// nothing, is the loop.
pub const VECTORS: &[u32] = &[
    0xe3a0_060f,
    0xee01_0f50,
    0xe3a0_0101,
    0xeee8_0a10,
    0xe3a0_1409,
    0xe3a0_2101,
    0xec92_0b20,
    0xec91_0b20,
    0xecc2_0b20,
    0xf421_000f,
    0xf402_000f,
    0xeaff_fff9,
];

/// ldr r3, =0xe1a00000; add r1, pc, #8; again: str r3, [r1]; ICIALLU; eor r3, r3, #1; mov r0, r0; b
/// again
pub const MODIFYING: &[u32] = &[
    0xe59f_3014,
    0xe28f_1008,
    0xe581_3000,
    0xee07_0f15,
    0xe223_3001,
    0xe1a0_0000,
    0xeaff_fffa,
    0xe1a0_0000,
];

/// mov r1, #0xf0000000; ldr r0, [r1]: a data abort, whose vector lies nowhere either
pub const ABORTS: &[u32] = &[0xe3a0_120f, 0xe591_0000];

/// udf #0
pub const UNDEFINED: &[u32] = &[0xe7f0_00f0];

/// mov r0, #0x84000000 (PSCI_VERSION); hvc #0; b to the first
pub const FIRMWARE: &[u32] = &[0xe3a0_0484, 0xe140_0070, 0xeaff_fffc];

/// As [`SLEEPS`], with CPU_SUSPEND (standby) in place of WFI.
pub const SUSPENDS: &[u32] = &[
    0xe3a0_1302,
    0xe3a0_0001,
    0xe581_0000,
    0xe3a0_2101,
    0xe581_2100,
    0xe281_3801,
    0xe583_0000,
    0xe3a0_40ff,
    0xe583_4004,
    0xe3a0_0001,
    0xee0e_0f12,
    0xee0e_0f32,
    0xe3a0_0484,
    0xe380_0001,
    0xe3a0_1000,
    0xe140_0070,
    0xeaff_fff7,
];

/// add r5, pc, #28; again: CPU_ON of core 1 at r5; b again; two nops; CPU_OFF, which is what core 1
/// does
pub const SWITCHES: &[u32] = &[
    0xe28f_501c,
    0xe3a0_0484,
    0xe380_0003,
    0xe3a0_1001,
    0xe1a0_2005,
    0xe140_0070,
    0xeaff_fff9,
    0xe320_f000,
    0xe320_f000,
    0xe3a0_0484,
    0xe380_0002,
    0xe140_0070,
];

/// GICD_CTLR = 1, GICD_ISENABLER0 = 1 << 30, GICC_CTLR = 1, GICC_PMR = 0xff; again: CNTP_TVAL = 1;
/// CNTP_CTL = 1; wfi; b again
pub const SLEEPS: &[u32] = &[
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

/// mov r0, #0x09000000 (the UART); TTBR0 = r0; mvn r0, #0; DACR = r0; SCTLR.M = 1: tables in device
/// registers
pub const TABLES: &[u32] = &[
    0xe3a0_0409,
    0xee02_0f10,
    0xe3e0_0000,
    0xee03_0f10,
    0xee11_0f10,
    0xe380_0001,
    0xee01_0f10,
    0xeaff_fffe,
];
