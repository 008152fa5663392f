//! The bits of the FPSCR (ARM ARM DDI 0406C B4.1.58).

/// Negative condition flag.
pub const N: u32 = 1 << 31;
/// Zero condition flag.
pub const Z: u32 = 1 << 30;
/// Carry condition flag.
pub const C: u32 = 1 << 29;
/// Overflow condition flag.
pub const V: u32 = 1 << 28;
/// All four condition flags.
pub const NZCV: u32 = N | Z | C | V;
/// Cumulative saturation.
pub const QC: u32 = 1 << 27;
/// Alternative half precision.
pub const AHP: u32 = 1 << 26;
/// Default NaN mode.
pub const DN: u32 = 1 << 25;
/// Flush to zero.
pub const FZ: u32 = 1 << 24;
/// Lowest bit of the rounding mode, which has two.
pub const RMODE_SHIFT: u32 = 22;
/// The rounding mode; 0 is to nearest.
pub const RMODE: u32 = 3 << RMODE_SHIFT;
/// Input denormal, cumulative.
pub const IDC: u32 = 1 << 7;
/// Inexact, cumulative.
pub const IXC: u32 = 1 << 4;
/// Underflow, cumulative.
pub const UFC: u32 = 1 << 3;
/// Overflow, cumulative.
pub const OFC: u32 = 1 << 2;
/// Division by zero, cumulative.
pub const DZC: u32 = 1 << 1;
/// Invalid operation, cumulative.
pub const IOC: u32 = 1 << 0;
/// The cumulative exception flags without [`QC`].
pub const FLAGS: u32 = IDC | IXC | UFC | OFC | DZC | IOC;
/// The bits that exist on a Cortex-A15. Len and Stride (short vectors, MVFR0.FPSHVEC = 0) and the
/// trap enables are RAZ/WI there (Cortex-A15 TRM, floating-point features), and so here.
pub const WRITABLE: u32 = NZCV | QC | AHP | DN | FZ | RMODE | FLAGS;
