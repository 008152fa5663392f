//! What a program finds: page tables, modes, registers.
//!
//! Physical memory is [`PAGES`] pages of RAM: tables, code and data. Page tables, where they are
//! on, repeat them all over the address space, so that nearly any address is mapped; code is
//! read-only and data is not executable.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the machine's memory lies below 4 GiB, and words are cut out of wider ones"
)]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use arm32::state::CpuState;

use super::common::{DEVICE, RAM};
use super::image::Image;

/// Pages of RAM.
pub const PAGES: u64 = 32;
/// Where code is in RAM, how much, and the first instruction behind the vectors.
pub const CODE: u64 = 0x8000;
pub const CODE_SIZE: u64 = 0x4000;
pub const FIRST: u64 = 0x100;
/// Where data is in RAM: up to its end.
pub const DATA: u64 = 0x1_0000;
/// Second-level tables: of short descriptors, of long ones, and third-level.
const SHORT_SECOND: u64 = 0x4000;
const LONG_SECOND: u64 = 0x5000;
const LONG_THIRD: u64 = 0x6000;

/// The surroundings in which a program runs.
#[derive(Arbitrary, Debug)]
pub struct Setting {
    thumb: bool,
    both: bool,
    tables: Tables,
    mode: u8,
    /// Bits of CPSR: flags, masks, endianness.
    status: u32,
    /// Bits of SCTLR to turn, of those that do not move code.
    control: u32,
    registers: [Pointer; 15],
    vectors: u64,
    /// Descriptors to change: the page, and bits to turn.
    changes: [(u8, u16); 4],
    domains: Option<u32>,
}

/// Which page tables.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Tables {
    None,
    Short,
    Long,
    /// Short ones, the upper half of addresses by TTBR1.
    Split,
    LongSplit,
}

/// A value for a register.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Pointer {
    /// Into data.
    Data(u16),
    /// To a multiple of 8 there.
    Aligned(u16),
    /// Into data, elsewhere in the address space.
    Far(u16, u16),
    Device(u8),
    Code(u16),
    Small(i8),
    Any(u32),
}

impl Pointer {
    /// Returns the value.
    pub fn value(self) -> u32 {
        let ram = RAM as u32;
        match self {
            Self::Data(at) => ram + DATA as u32 + u32::from(at),
            Self::Aligned(at) => ram + DATA as u32 + u32::from(at & !7),
            Self::Far(high, at) => u32::from(high) << 20 | DATA as u32 | u32::from(at),
            // Page 1 of any megabyte, where there are tables.
            Self::Device(at) => {
                [ram + 0x1000, DEVICE as u32][usize::from(at & 1)] + u32::from(at >> 6)
            }
            Self::Code(at) => (RAM + CODE) as u32 + u32::from(at & 0x3fff),
            Self::Small(value) => value as i32 as u32,
            Self::Any(value) => value,
        }
    }
}

/// Returns what page `page` of each repetition is: its physical address, whether it is code,
/// whether it is a device.
fn target(page: u64) -> Option<(u64, bool, bool)> {
    match page % PAGES {
        1 => Some((DEVICE, false, true)),
        2 => None,
        page @ 8..=11 => Some((RAM + page * 0x1000, true, false)),
        page => Some((RAM + DATA + page % 16 * 0x1000, false, false)),
    }
}

fn short(page: u64) -> u32 {
    let Some((to, code, device)) = target(page) else {
        return 0;
    };
    // Small pages: read-only for everyone or full access; XN; device or normal write-back memory.
    let access = if code { 0x230 } else { 0x31 };
    let kind = if device { 0x4 } else { 0x4c };
    to as u32 | 2 | access & !1 | access & 1 | kind
}

fn long(page: u64) -> u64 {
    let Some((to, code, device)) = target(page) else {
        return 0;
    };
    // AF, inner shareable; AP[2:1]; XN; attribute 0 is normal memory, 1 device.
    let access = if code { 3 << 6 } else { 1 << 6 | 1 << 54 };
    to | 3 | 0x700 | access | u64::from(device) << 2
}

/// RAM with nothing but page tables, for each of [`Tables`].
static TABLES: LazyLock<[Image; 5]> = LazyLock::new(|| {
    let mut short_tables = Image::new();
    let first = (RAM + SHORT_SECOND) as u32 | 1;
    short_tables.words(0, &[first; 4096]);
    short_tables.words(SHORT_SECOND, &(0..256).map(short).collect::<Vec<_>>());
    let mut long_tables = Image::new();
    let table = |at: u64| [(RAM + at) as u32 | 3, 0];
    long_tables.words(0, &table(LONG_SECOND).repeat(4));
    long_tables.words(LONG_SECOND, &table(LONG_THIRD).repeat(512));
    let pages = (0..512).map(long);
    let words: Vec<u32> = pages
        .flat_map(|page| [page as u32, (page >> 32) as u32])
        .collect();
    long_tables.words(LONG_THIRD, &words);
    [
        Image::new(),
        short_tables.clone(),
        long_tables.clone(),
        short_tables,
        long_tables,
    ]
});

impl Setting {
    /// Returns whether the program is T32 code.
    pub fn thumb(&self) -> bool {
        self.thumb
    }

    /// Returns whether the second core runs too.
    pub fn both(&self) -> bool {
        self.both
    }

    /// Writes the page tables, and data.
    pub fn memory(&self, image: &mut Image) {
        image.copy(&TABLES[self.tables as usize]);
        for (page, bits) in self.changes {
            let (page, attributes) = (u64::from(page), u64::from(bits & 0xfff));
            match self.tables {
                Tables::None => {}
                Tables::Short | Tables::Split => {
                    image.turn::<4>(SHORT_SECOND + 4 * page, attributes);
                }
                Tables::Long | Tables::LongSplit => {
                    let upper = u64::from(bits >> 12) << 52;
                    image.turn::<8>(LONG_THIRD + 8 * page, attributes | upper);
                }
            }
        }
        let data: [u32; 64] = std::array::from_fn(|i| {
            let pointer = self.registers[i % 15];
            pointer.value().rotate_left(i as u32)
        });
        image.words(DATA, &data);
    }

    /// Sets up a core.
    pub fn core(&self, s: &mut CpuState, core: usize) {
        // User, FIQ, IRQ, Supervisor, Abort, Undefined, System.
        let mode = [0x13, 0x10, 0x1f, 0x13, 0x11, 0x12, 0x17, 0x1b][usize::from(self.mode & 7)];
        s.set_cpsr(self.status & 0xf80f_03c0 | mode | u32::from(self.thumb) << 5);
        let control = &mut s.cp15.sctlr;
        // A, CP15BEN, SW, Z, RR, EE, TRE and AFE may change, not where vectors are and whether data
        // is code.
        *control ^=
            self.control & (0x2 | 0x20 | 0x400 | 0x800 | 0x4000 | 1 << 25 | 1 << 28 | 1 << 29);
        s.cp15.dacr = self.domains.unwrap_or(0x5555_5555);
        s.cp15.prrr_mair0 = 0xff44_04ff;
        (s.cp15.ttbr0, s.cp15.ttbr1) = (RAM, RAM);
        s.cp15.ttbcr = match self.tables {
            Tables::None | Tables::Short => 0,
            Tables::Split => 1,
            Tables::Long => 0x8000_0000,
            Tables::LongSplit => 0x8001_0000,
        };
        match self.tables {
            Tables::None => *control &= !1,
            Tables::Split => {
                // The lower half: 8 KiB of entries, as far as 2 GiB reach.
                *control |= 1;
            }
            Tables::Long | Tables::LongSplit => {
                *control |= 1;
                s.cp15.prrr_mair0 = 0xff44_04ff ^ 0xfb00;
            }
            Tables::Short => *control |= 1,
        }
        s.cp15.cpacr = 0x00f0_0000;
        s.fpexc = 1 << 30;
        s.cp15.vbar = (RAM + CODE) as u32;
        for (register, pointer) in s.r[..15].iter_mut().zip(&self.registers) {
            *register = pointer.value();
        }
        for (n, byte) in self.vectors.to_le_bytes().iter().enumerate() {
            s.fp.set_d(
                n as u8,
                u64::from(*byte)
                    .wrapping_mul(0x3ff0_1234_8765_0101)
                    .rotate_left(n as u32 * 7),
            );
        }
        s.r[15] = (RAM + CODE + FIRST) as u32 + if core == 0 { 0 } else { 8 };
    }
}
