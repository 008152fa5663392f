//! Requests of a virtio-iommu.

#![expect(
    clippy::cast_possible_truncation,
    reason = "the tests choose small numbers"
)]

use super::guests::iommus::{map, request};
use super::*;

/// Requests of a virtio-iommu that fill half a ring each, as there are two descriptors for one.
const BATCH: u64 = 128;

impl World {
    /// Puts `requests` (device-readable parts) in the ring behind what was there, and runs the
    /// guest until all are answered; the statuses. What the device may write for each is `room`
    /// bytes, the status last.
    fn serve(&mut self, ring: &mut u16, room: u32, requests: &[Vec<u8>]) -> Vec<u8> {
        for (n, request) in (0..).zip(requests) {
            // The longest request, a probe, has 72 bytes to be read.
            let (at, answer) = (HEADER + 128 * n, DATA + 0x1_0000 + u64::from(room) * n);
            self.put(at, request);
            let head = 2 * n as u16;
            self.descriptor(
                DESC + 16 * u64::from(head),
                (at, request.len() as u32),
                NEXT,
                head + 1,
            );
            self.descriptor(DESC + 16 * u64::from(head + 1), (answer, room), WRITE, 0);
            let slot = u64::from(ring.wrapping_add(n as u16) % RING);
            self.put(AVAIL + 4 + 2 * slot, &head.to_le_bytes());
        }
        *ring = ring.wrapping_add(requests.len() as u16);
        self.put(AVAIL + 2, &ring.to_le_bytes());
        // The guest notifies the queue in a loop of two instructions, so this is more than enough.
        let limit = self.machine.summary().instructions + 1000;
        let limits = Limits {
            instructions: Some(limit),
            ..Limits::default()
        };
        assert_eq!(self.machine.run(limits).reason, Reason::InstructionLimit);
        assert_eq!(self.used(), *ring, "all are answered");
        let memory = self.machine.memory();
        let status = |n| {
            let at = DATA + 0x1_0000 + u64::from(room) * (n + 1) - 4;
            memory.read_obj(GuestAddress(self.base + at)).unwrap()
        };
        (0..requests.len() as u64).map(status).collect()
    }
}

#[test]
fn an_iommu_that_is_told_to_forget_many_pages_holds_nothing_up() {
    let mut world = disk(1, |config| {
        config.iommus = vec![IommuConfig::new(IommuModel::Virtio)];
    });
    world.set_up("viommu0", 0);
    let mut ring = 0;
    let attach = request(1, &[1, 0, 0, 0]);
    assert_eq!(
        world.serve(&mut ring, 4, std::slice::from_ref(&attach)),
        [0]
    );
    let begin = Instant::now();
    for batch in 0..256 {
        let requests: Vec<_> = (0..BATCH).map(|n| map(batch * BATCH + n)).collect();
        let statuses = world.serve(&mut ring, 4, &requests);
        assert!(statuses.iter().all(|status| *status == 0), "{statuses:?}");
    }
    println!("to map: {:?}", begin.elapsed());
    // Half of them by one request, the rest with the domain, and nothing again and again.
    let half = 128 * BATCH as u32 * 0x1000 - 1;
    let mut batches = vec![
        ("unmap", vec![request(4, &[1, 0, 0, half, 0, 0])]),
        ("detach", vec![request(2, &[1, 0, 0, 0])]),
        ("attach", vec![attach; BATCH as usize]),
    ];
    let all = request(4, &[1, 0, 0, u32::MAX, u32::MAX, 0]);
    batches.push(("unmap nothing", vec![all; BATCH as usize]));
    for (what, requests) in batches {
        let begin = Instant::now();
        let statuses = world.serve(&mut ring, 4, &requests);
        let took = begin.elapsed();
        println!("{what}: {took:?}");
        assert!(
            statuses.iter().all(|status| *status == 0),
            "{what}: {statuses:?}"
        );
        assert!(took < WATCHDOG, "{what} took {took:?}");
    }
    let probe = request(5, &[0; 17]);
    let begin = Instant::now();
    world.serve(&mut ring, 512 + 4, &vec![probe; BATCH as usize]);
    assert!(begin.elapsed() < WATCHDOG);
    ends_when_told(&mut world, "notifications of an IOMMU");
}
