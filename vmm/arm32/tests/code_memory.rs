//! Memory for code is a matter of the whole process, which is why this test has one of its own.

mod common;

use std::sync::Arc;

use arm32::code_memory;
use arm32::core::Core;
use common::{FlatBus, RAM, TestClock};

#[test]
#[cfg(all(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    target_os = "linux"
))]
fn what_was_reserved_is_all_there_is_once_the_pool_is_sealed() {
    let core = || Core::new(0, 1, FlatBus::new(), Arc::<TestClock>::default());
    code_memory::reserve(1).unwrap();
    code_memory::seal();
    code_memory::reserve(1).unwrap();
    let (mut first, mut second) = (core(), core());
    for core in [&mut first, &mut second] {
        core.translate_code_after(1).unwrap();
        core.cpu.s.r[15] = u32::try_from(RAM).unwrap();
        core.run(1);
    }
    // A core without is as good as any, and one that is gone leaves its memory.
    assert!(first.translates_code() && !second.translates_code());
    drop(first);
    second.translate_code_after(1).unwrap();
    second.run(1);
    assert!(second.translates_code());
}
