//! A flat bus of RAM, a clock of virtual time, a firmware and a program.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the tests' memory lies in the low 4 GiB"
)]
#![expect(unsafe_code, reason = "a bus of tests with memory of its own")]
#![expect(dead_code, reason = "each test file uses a part")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arm32::CodePages;
use arm32::bus::{Bus, BusFault, RamPage, Size};
use arm32::core::Core;
use arm32::mem;
use arm32::state::CpuState;
use arm32::wires::{Conduit, FirmwareAction, Machine, Output};
use vmm_base::Clock;

/// Address of the first byte of RAM, as the cores' registers hold it.
pub const BASE: u32 = 0x4000_0000;
/// Physical address of the first byte of RAM.
pub const RAM: u64 = BASE as u64;
/// Bytes of RAM, unless a bus has a size of its own.
pub const RAM_SIZE: usize = 1 << 20;
/// A device register: reads give the number of accesses so far.
pub const DEVICE: u64 = 0x1000_0000;

/// RAM at [`RAM`] and a counting device at [`DEVICE`].
pub struct FlatBus {
    memory: NonNull<u8>,
    size: usize,
    accesses: AtomicU64,
    code: CodePages,
}

// SAFETY: the memory is plain bytes, owned until drop; accesses to it are volatile.
unsafe impl Send for FlatBus {}
// SAFETY: as above; nothing ever holds a reference into it.
unsafe impl Sync for FlatBus {}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 4096).expect("a layout of some pages")
}

impl FlatBus {
    pub fn new() -> Arc<Self> {
        Self::with_size(RAM_SIZE)
    }

    /// Returns a bus with `size` bytes of RAM, which are some pages.
    pub fn with_size(size: usize) -> Arc<Self> {
        assert!(size > 0 && size.is_multiple_of(4096), "it is some pages");
        // SAFETY: the layout has a size that is not 0.
        let memory = NonNull::new(unsafe { alloc_zeroed(layout(size)) }).expect("some memory");
        Arc::new(Self {
            memory,
            size,
            accesses: AtomicU64::new(0),
            code: CodePages::new(size),
        })
    }

    /// Makes `image` the contents of RAM, as a device would write it, and counts accesses anew.
    pub fn load(&self, image: &[u8]) {
        assert_eq!(image.len(), self.size, "it is all of RAM");
        // SAFETY: the bus has as many bytes, and no core runs, as they have no threads of their
        // own.
        unsafe {
            image
                .as_ptr()
                .copy_to_nonoverlapping(self.memory.as_ptr(), self.size);
        }
        self.code.written_elsewhere(0, self.size);
        self.accesses.store(0, Ordering::Relaxed);
    }

    /// Returns whether RAM has the same contents as that of `other`.
    pub fn has_contents_of(&self, other: &Self) -> bool {
        // SAFETY: each bus has as many bytes, and nobody writes them meanwhile, as no core runs.
        let [mine, its] = [self, other]
            .map(|bus| unsafe { std::slice::from_raw_parts(bus.memory.as_ptr(), bus.size) });
        mine == its
    }

    pub fn write_words(&self, pa: u64, words: &[u32]) {
        for (i, word) in words.iter().enumerate() {
            mem::write_phys(self, pa + 4 * i as u64, Size::Word, (*word).into()).expect("RAM");
        }
    }

    /// Writes a word of RAM as another process does: nobody is told.
    pub fn write_untold(&self, pa: u64, word: u32) {
        let page = self.ram(pa).expect("RAM");
        let at = (pa & 0xffc) as usize;
        // SAFETY: the word lies within the 4096 bytes that the bus has there, aligned.
        unsafe { page.host.add(at).cast::<u32>().write_volatile(word.to_le()) };
    }

    /// Returns the page of RAM that begins at `pa`.
    pub fn page(&self, pa: u64) -> [u8; 4096] {
        let page = self.ram(pa).expect("RAM");
        let mut bytes = [0; 4096];
        // SAFETY: the bus has 4096 bytes there, and no core runs, as they have no threads of their
        // own.
        unsafe {
            page.host
                .as_ptr()
                .copy_to_nonoverlapping(bytes.as_mut_ptr(), 4096);
        }
        bytes
    }

    pub fn word(&self, pa: u64) -> u32 {
        mem::read_phys(self, pa, Size::Word).expect("RAM") as u32
    }

    pub fn bytes(&self) -> Vec<u8> {
        let words =
            (0..self.size as u64 / 8).map(|i| mem::read_phys(self, RAM + 8 * i, Size::Double));
        words
            .flat_map(|word| word.expect("RAM").to_le_bytes())
            .collect()
    }
}

impl Drop for FlatBus {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout, and no core holds the bus any more.
        unsafe { dealloc(self.memory.as_ptr(), layout(self.size)) }
    }
}

// SAFETY: pages lie inside `memory`, which is aligned to a page and lives as long as the bus.
unsafe impl Bus for FlatBus {
    fn read(&self, pa: u64, _size: Size) -> Result<u64, BusFault> {
        if pa == DEVICE {
            Ok(self.accesses.fetch_add(1, Ordering::Relaxed))
        } else {
            Err(BusFault)
        }
    }

    fn write(&self, pa: u64, _size: Size, _value: u64) -> Result<(), BusFault> {
        if pa == DEVICE { Ok(()) } else { Err(BusFault) }
    }

    fn ram(&self, pa: u64) -> Option<RamPage> {
        let offset = usize::try_from(pa.checked_sub(RAM)?)
            .ok()
            .filter(|o| *o < self.size)?;
        // SAFETY: `offset` is inside the allocation.
        let host = unsafe { self.memory.add(offset & !0xfff) };
        Some(RamPage {
            host,
            writable: true,
            number: (offset / 4096) as u32,
        })
    }

    fn code_pages(&self) -> &CodePages {
        &self.code
    }

    fn ram_offset(&self) -> Option<u64> {
        Some(RAM.wrapping_sub(self.memory.as_ptr().addr() as u64))
    }

    fn physical(&self, host: usize) -> Option<u64> {
        let offset = host.checked_sub(self.memory.as_ptr().addr())?;
        (offset < self.size).then_some(RAM + offset as u64)
    }
}

/// Virtual time: one instruction is a nanosecond.
#[derive(Default)]
pub struct TestClock(pub AtomicU64);

impl Clock for TestClock {
    fn now_ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn retire(&self, instructions: u64) {
        self.0.fetch_add(instructions, Ordering::Relaxed);
    }

    fn instructions_until(&self, deadline_ns: u64) -> Option<u64> {
        Some(deadline_ns.saturating_sub(self.now_ns()))
    }
}

/// Returns a core whose A32 program `words` starts at [`RAM`], in Supervisor mode with the MMU off.
pub fn core_with(words: &[u32]) -> (Core, Arc<FlatBus>) {
    let bus = FlatBus::new();
    bus.write_words(RAM, words);
    let mut core = Core::new(0, 1, bus.clone(), Arc::new(TestClock::default()));
    core.cpu.s.r[15] = BASE;
    (core, bus)
}

/// HVC #n: 1 switches core R1 on at R2, 2 powers the machine off.
#[derive(Default)]
pub struct Firmware {
    pub outputs: Vec<(usize, Output, bool)>,
}

impl Machine for Firmware {
    fn output(&mut self, cpu: usize, output: Output, level: bool) {
        self.outputs.push((cpu, output, level));
    }

    fn firmware(
        &mut self,
        _cpu: usize,
        conduit: Conduit,
        s: &mut CpuState,
        _powered: &[bool],
    ) -> FirmwareAction {
        match conduit {
            Conduit::Hvc(1) => FirmwareAction::CpuOn {
                cpu: s.r[1] as usize,
                entry: s.r[2],
                context: 0,
            },
            Conduit::Hvc(2) => FirmwareAction::SystemOff,
            _ => FirmwareAction::Undefined,
        }
    }
}

/// Sums and shuffles memory in loops, with calls, conditions and both kinds of table access.
pub const PROGRAM: &[u32] = &[
    0xe3a0_0000, //       mov  r0, #0
    0xe3a0_1040, //       mov  r1, #64
    0xe28f_2f40, //       add  r2, pc, #0x100
    0xe792_3101, // loop: ldr  r3, [r2, r1, lsl #2]
    0xe080_0003, //       add  r0, r0, r3
    0xe020_01e0, //       eor  r0, r0, r0, ror #3
    0xe782_0101, //       str  r0, [r2, r1, lsl #2]
    0xe310_0001, //       tst  r0, #1
    0x1b00_0004, //       blne sub
    0xe251_1001, //       subs r1, r1, #1
    0x1aff_fff7, //       bne  loop
    0xe3a0_1040, //       mov  r1, #64
    0xeaff_fff5, //       b    loop
    0xe1a0_0000, //       nop
    0xe92d_4030, // sub:  push {r4, r5, lr}
    0xe0a4_5000, //       adc  r5, r4, r0
    0xe284_4001, //       add  r4, r4, #1
    0xe8bd_8030, //       pop  {r4, r5, pc}
];
