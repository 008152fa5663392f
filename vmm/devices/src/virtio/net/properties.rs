//! Any driver's frames and buffers, beside a count of what must come of them.

use std::sync::Arc;

use proptest::prelude::*;
use virtio_bindings::virtio_net::{VIRTIO_NET_F_CSUM, VIRTIO_NET_F_MRG_RXBUF};
use vmm_base::{Clock, VirtualClock};
use vmm_net::spec::{GUEST_IP, MAX_FRAME, PEER_IP, PEER_MAC};
use vmm_net::{Folder, Responder};

use super::super::super::testing::{Driver, readable, writable};
use super::super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

#[derive(Clone, Debug)]
enum Step {
    /// A frame behind a header.
    Send([u8; 12], Vec<u8>),
    /// A buffer for a frame.
    Offer,
    /// So many nanoseconds pass, and what is due is done.
    Pass(u32),
    /// The device is saved and restored.
    Move,
}

/// Questions that have answers, and any bytes.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let arp = [&[0xff; 6][..], &MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &MAC].concat();
    let arp = [&arp[..], &GUEST_IP.octets(), &[0; 6], &PEER_IP.octets()].concat();
    // A datagram to the echo service, without a checksum of its own (RFC 768).
    let echo = prop::collection::vec(any::<u8>(), 0..1472).prop_map(|data| {
        let size = u16::try_from(data.len()).expect("it is short");
        let mut ip = vec![0x45, 0];
        ip.extend((28 + size).to_be_bytes());
        ip.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        ip.extend([GUEST_IP.octets(), PEER_IP.octets()].concat());
        let words = ip
            .chunks(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let sum = words.sum::<u32>();
        let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).expect("it is folded");
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let udp = [[3, 0], [0, 7], (8 + size).to_be_bytes(), [0, 0]].concat();
        [&PEER_MAC[..], &MAC, &[8, 0], &ip, &udp, &data].concat()
    });
    let any = prop::collection::vec(any::<u8>(), 0..100);
    prop_oneof![Just(arp), echo, any]
}

fn step() -> impl Strategy<Value = Step> {
    let header = prop_oneof![4 => Just([0; 12]), 1 => any::<[u8; 12]>()];
    let send = (header, frame()).prop_map(|(header, frame)| Step::Send(header, frame));
    prop_oneof![
        4 => send,
        4 => Just(Step::Offer),
        2 => any::<u32>().prop_map(Step::Pass),
        1 => Just(Step::Move),
    ]
}

fn state(driver: &Driver) -> NetState {
    match driver.mmio.device().save() {
        DeviceState::Net(state) => *state,
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn whatever_a_driver_does_frames_are_whole_or_lost_and_counted(
        merge: bool, room in 1..1800_u32, steps in prop::collection::vec(step(), 1..80)
    ) {
        let clock = Arc::new(VirtualClock::default());
        let peer = Box::new(Responder::new(Arc::new(Folder::default())));
        let mut driver = Driver::new(Box::new(Net::new(MAC, peer, clock.clone())));
        let merge_bit = u64::from(merge) << VIRTIO_NET_F_MRG_RXBUF;
        driver.start(1 << VIRTIO_NET_F_CSUM | merge_bit);
        let (mut sent, mut offered) = (0, 0_u16);
        for step in steps {
            match step {
                Step::Send(header, frame) => {
                    let buffer = driver.buffer(1);
                    driver.write(buffer, &header);
                    driver.write(buffer + 12, &frame);
                    let len = 12 + u32::try_from(frame.len()).expect("it is short");
                    prop_assert_eq!(driver.request(1, &[readable(buffer, len)]), 0);
                    sent += 1;
                }
                Step::Offer if offered < 200 => {
                    let buffer = driver.buffer(0);
                    driver.offer(0, &[writable(buffer, room)]);
                    driver.set(0x50, 0);
                    offered += 1;
                }
                Step::Offer => {}
                Step::Pass(ns) => clock.retire(ns.into()),
                Step::Move => {
                    let text = serde_json::to_string(&driver.mmio.device().save()).unwrap();
                    let saved: DeviceState = serde_json::from_str(&text).unwrap();
                    driver.mmio.device_mut().restore(&saved).unwrap();
                    prop_assert_eq!(driver.mmio.device().save(), saved);
                }
            }
            driver.mmio.go_on(u64::MAX);
            let NetState { summary, held, starved, .. } = state(&driver);
            let used = driver.used_index(0);
            let lengths: Vec<u32> = (0..used).map(|n| driver.used_len(0, n)).collect();
            // Nothing waits while there is a buffer that is not needed for a part of it.
            prop_assert!(!starved || held.is_some());
            prop_assert!(held.is_none() || merge || used == offered);
            prop_assert!(lengths.iter().all(|len| *len <= room));
            let all: u64 = lengths.iter().map(|len| u64::from(*len)).sum();
            let headers = 12 * summary.received;
            prop_assert_eq!(all, headers + summary.received_bytes);
            prop_assert!(summary.received_bytes <= summary.received * MAX_FRAME as u64);
            let given_back = lengths.iter().filter(|len| **len == 0).count() as u64;
            prop_assert_eq!(summary.sent + summary.lost - given_back, sent);
        }
    }
}
