//! Where the core keeps what generated code works on, for every back end.

/// Names these places, as operands that `$at` makes of distances from the core's start. `Mem` is
/// their type.
macro_rules! places {
    ($at:ident) => {
        $crate::jit::places::places! { $at:
            /// N, in bit 31.
            N = s.flags.n,
            /// 0 if Z is set.
            Z = s.flags.z,
            /// C: 0 or 1.
            C = s.flags.c,
            /// V: 0 or 1.
            V = s.flags.v,
            /// The IT state, a byte.
            IT = s.psr.it,
            /// Whether the core executes T32, a byte.
            THUMB = s.psr.thumb,
            /// The processor's mode, a byte.
            MODE = s.psr.mode,
            /// Whether asynchronous aborts are masked, a byte.
            ABORT_MASKED = s.psr.abort_masked,
            /// Whether IRQs are, a byte.
            IRQ_MASKED = s.psr.irq_masked,
            /// Whether FIQs are, a byte.
            FIQ_MASKED = s.psr.fiq_masked,
            /// Q, a byte.
            Q = s.psr.q,
            /// Whether an event is kept for WFE, a byte.
            EVENT = s.event,
            /// DACR.
            DACR = s.cp15.dacr,
            /// Whether an exclusive access is open, a byte.
            MONITOR_OPEN = s.monitor.open,
            /// Its size, a byte.
            MONITOR_SIZE = s.monitor.size,
            /// Its physical address.
            MONITOR_PA = s.monitor.pa,
            /// What it loaded, eight bytes.
            MONITOR_VALUE = s.monitor.value,
            /// CPACR.
            CPACR = s.cp15.cpacr,
            /// FPEXC.
            FPEXC = s.fpexc,
            /// GE, a byte.
            GE = s.psr.ge,
            /// The FPSCR.
            FPSCR = s.fp.fpscr,
            /// Instructions retired.
            RETIRED = s.retired,
            /// TPIDRURW.
            TPIDRURW = s.cp15.tpidrurw,
            /// TPIDRURO.
            TPIDRURO = s.cp15.tpidruro,
            /// TPIDRPRW.
            TPIDRPRW = s.cp15.tpidrprw,
            /// [`Context::tlb`](crate::host_code::Context::tlb).
            CONTEXT_TLB = jit.tlb,
            /// [`Context::tags`](crate::host_code::Context::tags).
            CONTEXT_TAGS = jit.tags,
            /// [`Context::numbers`](crate::host_code::Context::numbers).
            CONTEXT_NUMBERS = jit.numbers,
            /// [`Context::code`](crate::host_code::Context::code).
            CONTEXT_CODE = jit.code,
            /// [`Context::jumps`](crate::host_code::Context::jumps).
            CONTEXT_JUMPS = jit.jumps,
            /// [`Context::end`](crate::host_code::Context::end).
            CONTEXT_END = jit.end,
            /// [`Context::time`](crate::host_code::Context::time).
            CONTEXT_TIME = jit.time,
            /// [`Context::ram`](crate::host_code::Context::ram).
            CONTEXT_RAM = jit.ram,
            /// [`Context::left`](crate::host_code::Context::left).
            CONTEXT_LEFT = jit.left,
            /// [`Context::pins`](crate::host_code::Context::pins).
            CONTEXT_PINS = jit.pins,
            /// [`Context::alone`](crate::host_code::Context::alone).
            CONTEXT_ALONE = jit.alone,
            /// Where the current set of the TLB begins, in entries.
            TLB_BASE = tlb.base,
            /// [`Partner::dacr`](crate::tlb::Partner::dacr).
            PARTNER_DACR = tlb.partner.dacr,
            /// [`Partner::entries`](crate::tlb::Partner::entries).
            PARTNER_ENTRIES = tlb.partner.entries,
            /// [`Partner::tags`](crate::tlb::Partner::tags).
            PARTNER_TAGS = tlb.partner.tags,
            /// [`Partner::base`](crate::tlb::Partner::base).
            PARTNER_BASE = tlb.partner.base,
            /// [`Context::call`](crate::host_code::Context::call).
            CONTEXT_CALL = jit.call,
            /// [`Context::exit_op`](crate::host_code::Context::exit_op).
            CONTEXT_OP = jit.exit_op,
            /// [`Context::exit_flow`](crate::host_code::Context::exit_flow).
            CONTEXT_FLOW = jit.exit_flow,
            /// [`Context::exit_block`](crate::host_code::Context::exit_block).
            CONTEXT_BLOCK = jit.exit_block,
            /// [`Context::exit_slot`](crate::host_code::Context::exit_slot).
            CONTEXT_SLOT = jit.exit_slot,
        }
        /// R15.
        pub const PC: Mem = $at(std::mem::offset_of!($crate::cpu::Cpu, s.r) + 4 * 15);

        /// Returns where `place` of the register bank of VFP and Advanced SIMD is.
        pub const fn bank(place: u8) -> Mem {
            $at(std::mem::offset_of!($crate::cpu::Cpu, s.fp.d) + place as usize)
        }

        /// Returns where a thread register is kept.
        pub const fn thread(register: $crate::ir::ThreadRegister) -> Mem {
            match register {
                $crate::ir::ThreadRegister::User => TPIDRURW,
                $crate::ir::ThreadRegister::UserReadOnly => TPIDRURO,
                $crate::ir::ThreadRegister::Kernel => TPIDRPRW,
            }
        }
    };
    ($at:ident: $($(#[$doc:meta])* $name:ident = $($field:ident).+,)*) => {
        $($(#[$doc])*
        pub const $name: Mem = $at(std::mem::offset_of!($crate::cpu::Cpu, $($field).+));)*
    };
}
pub(super) use places;
