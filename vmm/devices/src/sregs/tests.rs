//! The system registers, as their driver and as others use them.

use std::sync::Arc;

use super::*;

/// Returns the registers, and what was requested of the power.
fn registers() -> (SystemRegisters, Arc<Mutex<Vec<PowerRequest>>>) {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&requests);
    let power = move |request| kept.lock().unwrap().push(request);
    (SystemRegisters::new(Box::new(power)), requests)
}

#[test]
fn plls_are_locked_at_reset_and_stay_so() {
    let (sregs, _) = registers();
    assert_eq!(sregs.read(0x100), 0x35f2_0121);
    assert_eq!(sregs.read(0x104), 2);
    assert_eq!(sregs.read(0x108), 0x35f3_0121);
    assert_eq!(sregs.read(0x10c), 0x35f4_0121);
    assert_eq!(sregs.read(0x114), 0);
    sregs.write(0x10c, 1);
    sregs.write(0x114, 1);
    assert_eq!((sregs.read(0x10c), sregs.read(0x114)), (0x3000_0001, 1));
}

#[test]
fn coherency_is_kept() {
    let (sregs, _) = registers();
    for offset in [0x00, 0x04, 0x0c, 0x18, 0x20] {
        assert_eq!(sregs.read(offset), 0);
        sregs.write(offset, 0xff01);
        assert_eq!(sregs.read(offset), 0xff01, "{offset:#x}");
    }
}

#[test]
fn power_is_requested_by_three_values_of_one_register() {
    let (sregs, requests) = registers();
    let made = |value: u32| {
        sregs.mmio_write(MmioAddress(0), 0xf00, &value.to_le_bytes());
        std::mem::take(&mut *requests.lock().unwrap())
    };
    assert_eq!(made(0), []);
    assert_eq!(made(1), [PowerRequest::Reset]);
    assert_eq!(made(2), [PowerRequest::Reset]);
    assert_eq!(made(3), [PowerRequest::Off]);
    assert_eq!(made(4), []);
    assert_eq!(made(u32::MAX), []);
    assert_eq!(sregs.read(0xf00), 0);
}

#[test]
fn the_state_is_what_the_guest_wrote() {
    let (sregs, _) = registers();
    for (offset, value) in [(0x18, 0xff01), (0x2fc, 7), (0xf04, 8), (0xf08, 9)] {
        sregs.write(offset, value);
    }
    let saved = sregs.save();
    assert_ne!(saved, SystemRegistersState::default());
    let (other, _) = registers();
    assert!(other.restore(&saved));
    assert_eq!(other.save(), saved);
    assert_eq!((other.read(0x2fc), other.read(0xf08)), (7, 9));
    let mut short = saved.clone();
    short.words.pop();
    assert!(!other.restore(&short));
    assert_eq!(other.save(), saved, "a refused state changes nothing");
}

#[test]
fn any_access_is_answered() {
    let (sregs, requests) = registers();
    for offset in (0..0x1000).chain([u64::MAX]) {
        for size in [1, 2, 4, 8] {
            let mut data = vec![0xff; size];
            sregs.mmio_write(MmioAddress(0), offset, &data);
            sregs.mmio_read(MmioAddress(0), offset, &mut data);
        }
    }
    assert_eq!(sregs.read(0x2fc), u32::MAX);
    assert_eq!(sregs.read(0x300), 0, "there is no register");
    assert!(requests.lock().unwrap().is_empty());
    let mut half = [0; 2];
    sregs.write(0, 0x1122_3344);
    sregs.mmio_read(MmioAddress(0), 2, &mut half);
    assert_eq!(half, [0x22, 0x11]);
}
