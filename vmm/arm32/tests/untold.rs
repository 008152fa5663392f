//! Code that is overwritten by who does not say so, such as another process.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use arm32::bus::Bus;
use arm32::core::Core;
use common::{BASE, FlatBus, RAM, TestClock};
use vmm_base::code_pages::Untold;

/// Where the program is.
const CODE: u32 = BASE + 0x1000;

/// What another process writes to the RAM of a bus.
struct Elsewhere(Weak<FlatBus>, Arc<AtomicBool>);

impl Untold for Elsewhere {
    fn may_have_written(&self) -> bool {
        self.1.swap(false, Ordering::AcqRel)
    }

    fn read(&self, number: u32, page: &mut [u8; 4096]) {
        if let Some(bus) = self.0.upgrade() {
            *page = bus.page(RAM + u64::from(number) * 4096);
        }
    }
}

#[test]
fn code_that_another_process_writes_runs_after_cache_maintenance() {
    // MCR of ICIALLU, ICIALLUIS and ICIMVAU; add r2, r2, #1; b .-8
    for maintenance in [0xee07_0f15, 0xee07_0f11, 0xee07_0f35] {
        for translate in [false, true] {
            let bus = FlatBus::new();
            let written = Arc::new(AtomicBool::new(false));
            let others = Elsewhere(Arc::downgrade(&bus), Arc::clone(&written));
            bus.code_pages().set_untold(Box::new(others));
            bus.write_words(CODE.into(), &[maintenance, 0xe282_2001, 0xeaff_fffc]);
            let mut core = Core::new(0, 1, bus.clone(), Arc::<TestClock>::default());
            if translate {
                core.translate_code_after(1).unwrap();
            }
            (core.cpu.s.r[0], core.cpu.s.r[15]) = (CODE, CODE);
            core.run(300);
            assert_eq!(core.cpu.s.r[2], 100, "{maintenance:#x}");
            // add r2, r2, #256
            bus.write_untold(u64::from(CODE) + 4, 0xe282_2c01);
            written.store(true, Ordering::Release);
            core.run(300);
            assert_eq!(core.cpu.s.r[2], 100 + 100 * 256, "{maintenance:#x}");
            // And back, to what was made before.
            bus.write_untold(u64::from(CODE) + 4, 0xe282_2001);
            written.store(true, Ordering::Release);
            core.run(300);
            assert_eq!(core.cpu.s.r[2], 200 + 100 * 256, "{maintenance:#x}");
        }
    }
}
