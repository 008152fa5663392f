//! Types and values of 64-bit kernels.

use super::super::testing::aarch64_device_like;
use super::super::value::{Reader, Value, ValueError};
use super::super::*;
use super::look_at;
use crate::memory::MemoryError;

const BASE: u64 = 0xffff_8000_8123_0000;

fn types() -> Types {
    Types::parse(&aarch64_device_like().blob()).unwrap()
}

/// Returns memory with a device at [`BASE`] with everything it points to.
fn guest() -> Vec<u8> {
    let mut ram = vec![0; 0x1000];
    let mut put = |at: usize, bytes: &[u8]| ram[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &(BASE + 0x100).to_le_bytes());
    put(8, &(-5i32).to_le_bytes());
    put(24, &(BASE + 0x200).to_le_bytes());
    put(32, &u64::MAX.to_le_bytes());
    put(40, &(1u64 << 63).to_le_bytes());
    put(48, &(BASE + 0x801).to_le_bytes());
    put(72, &(BASE + 0x300).to_le_bytes());
    put(80, &(0x12_3456_789a_u64 << 1 | 1).to_le_bytes());
    put(0x100, b"4010000.virtio\0");
    put(0x200, &(BASE + 0x300).to_le_bytes());
    put(0x300, b"virtio-mmio\0");
    ram
}

fn with_reader<T>(look: impl FnOnce(&Types, Reader<'_>) -> T) -> T {
    look_at((&types(), None), (BASE, &guest()), look)
}

fn read(path: &str) -> Result<Value, ValueError> {
    with_reader(|types, reader| reader.read(BASE, &types.resolve("device", path)?))
}

#[test]
fn pointers_have_eight_bytes() {
    let types = types();
    assert_eq!(types.width(), Width::Bits64);
    let names = types.resolve("device", "names[2]").unwrap();
    assert_eq!(names.offset(), Some(72));
    assert_eq!(types.size(names.ty), Some(8));
}

#[test]
fn values_have_the_form_of_their_type() {
    let shown = |path: &str| read(path).unwrap().to_string();
    assert_eq!(shown("kobj.name"), "\"4010000.virtio\"");
    assert_eq!(shown("kobj.refs"), "-5");
    assert_eq!(shown("driver->name"), "\"virtio-mmio\"");
    assert_eq!(shown("names[2]"), "\"virtio-mmio\"");
    assert_eq!(shown("init_name"), "NULL");
    assert_eq!(shown("mask"), u64::MAX.to_string());
    assert_eq!(shown("state"), "FAR");
    assert_eq!(shown("release"), "0xffff800081230801", "no Thumb bit");
    assert_eq!(shown("kobj"), "struct kobject at 0xffff800081230000");
    assert_eq!(shown("early"), "-1");
    assert_eq!(read("late").unwrap().number(), Some(0x12_3456_789a));
    assert_eq!(
        read("names[1][0]").unwrap_err(),
        ValueError::Null,
        "all eight bytes of a pointer are looked at"
    );
    with_reader(|_, reader| assert_eq!(reader.device_name(BASE).unwrap(), "4010000.virtio"));
}

#[test]
fn registers_are_cut_to_their_type() {
    with_reader(|types, reader| {
        let probe = types.function("really_probe").unwrap();
        let raw = 0xdead_beef_ffff_fdfb;
        assert_eq!(reader.register(probe.returns, raw), Value::Signed(-517));
        let mask = types.resolve("device", "mask").unwrap().ty;
        assert_eq!(reader.register(mask, raw), Value::Unsigned(raw));
        let device = probe.arguments[0].ty;
        assert_eq!(
            reader.register(device, BASE).to_string(),
            "0xffff800081230000"
        );
        // Of a kernel's own addresses none is as short; what is there is not mapped.
        assert_eq!(reader.register(device, 0x10).to_string(), "0x00000010");
        let name = types.resolve("device", "driver->name").unwrap();
        let error = ValueError::Memory(MemoryError::Outside(0x18));
        assert_eq!(reader.read(0, &name), Err(error.clone()));
        assert_eq!(
            error.to_string(),
            "address 0x00000018 is outside of the image"
        );
    });
}

#[test]
fn without_btf_nothing_is_known() {
    let image = b"Linux version 6.1.0-50-armmp (a) # SMP Debian 6.1.176-1 (2026-07-02)\n\0";
    assert!(Types::of_kernel(image, Width::Bits32).is_ok());
    let error = Types::of_kernel(image, Width::Bits64).unwrap_err();
    assert_eq!(error, TypesError::NoWideTable);
    assert!(error.to_string().contains("this 64-bit kernel"));
}
