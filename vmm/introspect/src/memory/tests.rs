use vm_memory::GuestAddress;

use super::*;
use vmm_machine::GuestRam;

const RAM: u64 = 0x4000_0000;
const SIZE: usize = 1 << 18;

fn ram() -> GuestRam {
    GuestRam::from_ranges(&[(GuestAddress(RAM), SIZE)]).unwrap()
}

#[test]
fn text_is_cut_at_its_end_at_the_limit_and_at_the_end_of_memory() {
    let image = Image {
        base: 0xc000_8000,
        bytes: b"hello\0world",
    };
    assert_eq!(image.text(0xc000_8000, 64), Ok((b"hello".to_vec(), true)));
    assert_eq!(image.text(0xc000_8006, 64), Ok((b"world".to_vec(), false)));
    assert_eq!(
        image.text(0xc000_800b, 64),
        Err(MemoryError::Outside(0xc000_800b))
    );
    assert_eq!(image.text(0xc000_8000, 3), Ok((b"hel".to_vec(), false)));
}

#[test]
fn a_copy_ends_where_ram_ends() {
    let ram = ram();
    assert_eq!(copy(&ram, RAM, 1 << 40).len(), SIZE);
    assert_eq!(copy(&ram, RAM, 100).len(), 100);
    assert_eq!(copy(&ram, 0, 100).len(), 0);
    assert_eq!(copy(&ram, u64::MAX, 100).len(), 0);
}
