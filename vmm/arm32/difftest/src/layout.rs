//! Where things lie in the test program: the same addresses here and under QEMU.
//!
//! Everything is far from the values that random registers like to hold, so that a stray access
//! faults on both sides.

/// Cases in one program, and so in one run of QEMU.
pub const SLOTS: u32 = 512;

/// A page of run-time code, readable and executable.
pub const RUNTIME: u32 = 0x2a30_0000;
/// Offset of the first instruction of the run-time within its page. Its variables, in the next
/// page, are within reach of a PC-relative access from everywhere behind it.
pub const RUNTIME_ORIGIN: u32 = 0x800;
/// The run-time's variables, readable and writable; its signal stack follows.
pub const VARIABLES: u32 = RUNTIME + 0x1000;
/// The signal stack.
pub const SIGNAL_STACK: u32 = VARIABLES + 0x1000;
/// Bytes of the signal stack.
pub const SIGNAL_STACK_SIZE: u32 = 0x8000;

/// What QEMU writes to its standard output begins here: the output blocks, then the scratch memory.
pub const OUTPUT: u32 = RUNTIME + 0x1_0000;
/// Scratch memory of the first slot.
pub const SCRATCH: u32 = OUTPUT + (SLOTS * Output::STRIDE).next_multiple_of(0x1000);
/// Bytes a case may use.
pub const SCRATCH_SIZE: u32 = 384;
/// Of them, those that loads and stores of any value use; behind them lie pointers into the code.
pub const SCRATCH_DATA: u32 = 256;
/// Offset of branch tables, behind the pointers.
pub const SCRATCH_TABLES: u32 = 352;
/// From one slot's scratch memory to the next. It does not divide a page, so that some cross into
/// the next one.
pub const SCRATCH_STRIDE: u32 = 448;
/// The end of what is compared.
pub const RESULTS_END: u32 = SCRATCH + (SLOTS * SCRATCH_STRIDE).next_multiple_of(0x1000);

/// Code of the first slot; readable and executable.
pub const CODE: u32 = 0x2a80_0000;
/// From one slot's code to the next. It does not divide a page, so that some code crosses into the
/// next one.
pub const CODE_STRIDE: u32 = 520;
/// The end of the code.
pub const CODE_END: u32 = CODE + (SLOTS * CODE_STRIDE).next_multiple_of(0x1000);

/// Input blocks, readable only.
pub const INPUT: u32 = 0x2ac0_0000;
/// The end of the input blocks.
pub const INPUT_END: u32 = INPUT + (SLOTS * Input::STRIDE).next_multiple_of(0x1000);

/// Offsets in an input block.
#[derive(Debug)]
pub struct Input;

impl Input {
    /// R0 to R14.
    pub const R: u32 = 0;
    /// CPSR; only the flags, Q and GE count.
    pub const CPSR: u32 = 60;
    /// FPSCR.
    pub const FPSCR: u32 = 64;
    /// Where to start; bit 0 set: T32.
    pub const ENTRY: u32 = 68;
    /// D0 to D31.
    pub const D: u32 = 72;
    /// Size of a block.
    pub const STRIDE: u32 = Self::D + 256;
}

/// Offsets in an output block.
#[derive(Debug)]
pub struct Output;

impl Output {
    /// R0 to R14.
    pub const R: u32 = 0;
    /// CPSR as MRS reads it.
    pub const CPSR: u32 = 60;
    /// FPSCR.
    pub const FPSCR: u32 = 64;
    /// The Linux signal that ended the case, or 0.
    pub const SIGNAL: u32 = 68;
    /// Address of the instruction that raised it.
    pub const PC: u32 = 72;
    /// Its fault address.
    pub const FAULT: u32 = 76;
    /// CPSR at the signal, T and IT included.
    pub const SIGNAL_CPSR: u32 = 80;
    /// D0 to D31.
    pub const D: u32 = 88;
    /// Size of a block.
    pub const STRIDE: u32 = Self::D + 256;
}

/// Returns the address of the scratch memory of `slot`.
pub const fn scratch(slot: u32) -> u32 {
    SCRATCH + slot * SCRATCH_STRIDE
}

/// Returns the address of the code of `slot`.
pub const fn code(slot: u32) -> u32 {
    CODE + slot * CODE_STRIDE
}

/// Returns the address of the input block of `slot`.
pub const fn input(slot: u32) -> u32 {
    INPUT + slot * Input::STRIDE
}

/// Returns the address of the output block of `slot`.
pub const fn output(slot: u32) -> u32 {
    OUTPUT + slot * Output::STRIDE
}
