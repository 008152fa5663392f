//! What an operation obeys and what it raises: the FPSCR seen by arithmetic (ARM ARM A2.6.2, A2.7).

use crate::fpscr;

/// The rounding modes of FPSCR.RMode, in its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// To nearest, ties to even.
    Nearest,
    /// Towards plus infinity.
    Up,
    /// Towards minus infinity.
    Down,
    /// Towards zero.
    Zero,
}

impl Rounding {
    /// Returns the mode that the two bits FPSCR\[23:22\] of `fpscr` select.
    #[must_use]
    pub fn from_fpscr(fpscr: u32) -> Self {
        match (fpscr >> fpscr::RMODE_SHIFT) & 3 {
            0 => Self::Nearest,
            1 => Self::Up,
            2 => Self::Down,
            _ => Self::Zero,
        }
    }
}

/// Control bits and cumulative exception flags of one operation, or of several in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Env {
    /// How results are rounded.
    pub rounding: Rounding,
    /// FPSCR.FZ: denormal operands and results (not half-precision ones) become zero.
    pub flush: bool,
    /// FPSCR.DN: every NaN result is the default NaN.
    pub default_nan: bool,
    /// FPSCR.AHP: half precision has no infinities and NaNs but one exponent more.
    pub alternative_half: bool,
    /// The flags raised so far, at their places in the FPSCR ([`fpscr::FLAGS`] and [`fpscr::QC`]).
    pub flags: u32,
}

impl Env {
    /// Creates what scalar (VFP) instructions obey: the FPSCR as it is. `flags` starts with the
    /// FPSCR's.
    #[must_use]
    pub fn vfp(fpscr: u32) -> Self {
        Self {
            rounding: Rounding::from_fpscr(fpscr),
            flush: fpscr & fpscr::FZ != 0,
            default_nan: fpscr & fpscr::DN != 0,
            alternative_half: fpscr & fpscr::AHP != 0,
            // With IXC set already, host arithmetic need not find out whether a result is exact.
            flags: fpscr & (fpscr::FLAGS | fpscr::QC),
        }
    }

    /// Creates what Advanced SIMD obeys: the "standard FPSCR value", which keeps only AHP (ARM ARM
    /// A2.7.6).
    #[must_use]
    pub fn standard(fpscr: u32) -> Self {
        Self {
            rounding: Rounding::Nearest,
            flush: true,
            default_nan: true,
            alternative_half: fpscr & fpscr::AHP != 0,
            flags: fpscr & (fpscr::FLAGS | fpscr::QC),
        }
    }

    /// Sets the cumulative flags in `flags` (FPProcessException of the manual, without traps: the
    /// Cortex-A15 has none, FPSCR\[15,12:8\] are RAZ/WI).
    #[inline]
    pub fn raise(&mut self, flags: u32) {
        self.flags |= flags;
    }
}
