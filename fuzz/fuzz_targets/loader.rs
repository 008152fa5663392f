//! Any file as a kernel, in any RAM, with any initrd: an error or a placement inside RAM, without overlap.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vmm::machine::KernelFormat;
use vmm::machine::layout::Range;
use vmm::machine::loader::{image, place};

fuzz_target!(|data: &[u8]| {
    let Some((head, file)) = data.split_first_chunk::<14>() else {
        return;
    };
    let format = [
        KernelFormat::Auto,
        KernelFormat::Zimage,
        KernelFormat::Image,
    ][usize::from(head[0] % 3)];
    let base = u64::from(u16::from_le_bytes([head[1], head[2]])) << 20;
    let size = u64::from(u32::from_le_bytes([head[4], head[5], head[6], head[7]]) & 0xffff_f000);
    let initrd = (head[3] & 1 != 0)
        .then(|| u64::from(u32::from_le_bytes([head[8], head[9], head[10], head[11]])));
    let Ok(parsed) = image::parse(file, format) else {
        return;
    };
    // A small file that claims much is as good as a large one.
    let parsed = image::Image {
        size: parsed.size << (head[12] & 31),
        ..parsed
    };
    let ram = Range { base, size };
    if let Ok(placed) = place::place(ram, &parsed, initrd) {
        let end = base + size;
        let kernel_end = placed.kernel + parsed.size;
        assert!(placed.kernel >= base && kernel_end <= end);
        assert!(placed.dtb >= kernel_end && placed.dtb + place::DTB_ROOM <= end);
        if let Some(initrd) = placed.initrd {
            assert!(initrd.base >= kernel_end && initrd.base + initrd.size <= end);
            let dtb_end = placed.dtb + place::DTB_ROOM;
            assert!(initrd.base >= dtb_end || initrd.base + initrd.size <= placed.dtb);
        }
    }
});
