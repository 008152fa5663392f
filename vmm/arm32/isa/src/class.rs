//! What encodings are about, to choose among them.

use bitflags::bitflags;

bitflags! {
    /// Classes of encodings; an encoding may be in several.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Class: u32 {
        /// Data processing on core registers (any with Rd = 15 branches).
        const DATA = 1 << 0;
        /// Multiplies and divides.
        const MULTIPLY = 1 << 1;
        /// Saturating, parallel, packing, extending, bit-field and other media instructions.
        const MEDIA = 1 << 2;
        /// Loads and stores, of core or FP registers, preloads included.
        const MEMORY = 1 << 3;
        /// Loads and stores of several registers.
        const MULTIPLE = 1 << 4;
        /// Exclusive accesses, CLREX and SWP.
        const EXCLUSIVE = 1 << 5;
        /// Unprivileged loads and stores.
        const UNPRIVILEGED = 1 << 6;
        /// Branches by definition.
        const BRANCH = 1 << 7;
        /// IT.
        const IT = 1 << 8;
        /// Reads or writes of CPSR, SPSR and banked registers; CPS, SETEND.
        const STATUS = 1 << 9;
        /// Instructions that make an exception: SVC, HVC, SMC, BKPT, UDF.
        const EXCEPTION = 1 << 10;
        /// Exception entry and return: SRS, RFE, ERET, SUBS PC, LDM with S bit.
        const SYSTEM = 1 << 11;
        /// Hints.
        const HINT = 1 << 12;
        /// Barriers.
        const BARRIER = 1 << 13;
        /// Coprocessor instructions other than for 10 and 11.
        const COPROCESSOR = 1 << 14;
        /// VFP.
        const FP = 1 << 15;
        /// Advanced SIMD.
        const SIMD = 1 << 16;
    }
}
