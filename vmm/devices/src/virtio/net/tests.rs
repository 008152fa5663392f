//! The interface with a driver of the tests'.
#![expect(clippy::cast_possible_truncation, reason = "frames are short")]

use std::sync::Arc;

use virtio_bindings::virtio_net::{VIRTIO_NET_F_CSUM, VIRTIO_NET_F_MRG_RXBUF};
use vmm_base::{Clock, VirtualClock};
use vmm_net::spec::{MAX_FRAME, PEER_MAC};
use vmm_net::{Folder, Responder, WrongPeer};

use super::super::testing::{Driver, readable, writable};
use super::*;

#[path = "properties.rs"]
mod properties;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const MERGE: u64 = 1 << VIRTIO_NET_F_MRG_RXBUF;

fn net() -> Net {
    let clock: Arc<dyn Clock> = Arc::new(VirtualClock::default());
    let peer = Responder::new(Arc::new(Folder::default()));
    Net::new(MAC, Box::new(peer), clock)
}

fn started(features: u64) -> Driver {
    let mut driver = Driver::new(Box::new(net()));
    driver.start(features);
    driver
}

/// A question who has the peer's address.
fn arp() -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &MAC].concat();
    frame.extend([10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2]);
    frame
}

/// Has the driver send a frame behind `header`.
fn send(driver: &mut Driver, header: [u8; 12], frame: &[u8]) {
    let buffer = driver.buffer(1);
    driver.write(buffer, &header);
    driver.write(buffer + 12, frame);
    let len = 12 + frame.len() as u32;
    // Framing means nothing: the header is in two parts.
    let chain = [readable(buffer, 5), readable(buffer + 5, len - 5)];
    assert_eq!(driver.request(1, &chain), 0);
    driver.mmio.go_on(0);
}

fn summary(driver: &Driver) -> NetSummary {
    match driver.mmio.device().save() {
        DeviceState::Net(state) => state.summary,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_question_is_answered_when_there_is_room() {
    let mut driver = started(0);
    send(&mut driver, [0; 12], &arp());
    assert_eq!(driver.used_index(0), 0, "there is no buffer yet");
    assert_eq!(driver.mmio.device().due(), None);
    let buffer = driver.buffer(0);
    assert_eq!(driver.request(0, &[writable(buffer, 2000)]), 12 + 42);
    let data = driver.read(buffer, 54);
    assert_eq!(data[..12], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(data[12..24], [&MAC[..], &PEER_MAC].concat());
    let found = summary(&driver);
    assert_eq!((found.sent, found.received, found.lost), (1, 1, 0));
    assert_eq!((found.sent_bytes, found.received_bytes), (42, 42));
}

#[test]
fn a_frame_fills_several_buffers_where_they_are_merged() {
    let mut driver = started(MERGE);
    send(&mut driver, [0; 12], &arp());
    let buffer = driver.buffer(0);
    // Too little for the frame, and not taken off the ring.
    driver.offer(0, &[writable(buffer, 30)]);
    driver.set(0x50, 0);
    assert_eq!(driver.used_index(0), 0);
    // The test's driver has the descriptors of one chain only: both are the same.
    driver.offer(0, &[writable(buffer, 30)]);
    driver.set(0x50, 0);
    assert_eq!(driver.used_index(0), 2);
    assert_eq!((driver.used_len(0, 0), driver.used_len(0, 1)), (30, 24));
    assert_eq!(summary(&driver).received, 1);
}

#[test]
fn a_frame_that_finds_no_room_is_lost_and_the_buffer_comes_back_empty() {
    let mut driver = started(0);
    for (len, far) in [(53, 0), (2000, 1 << 40)] {
        send(&mut driver, [0; 12], &arp());
        let buffer = driver.buffer(0);
        assert_eq!(driver.request(0, &[writable(buffer + far, len)]), 0);
    }
    let buffer = driver.buffer(0);
    send(&mut driver, [0; 12], &arp());
    assert_eq!(
        driver.request(0, &[readable(buffer, 8), writable(buffer, 20)]),
        0
    );
    assert_eq!(summary(&driver).lost, 3);
    send(&mut driver, [0; 12], &arp());
    assert_eq!(driver.request(0, &[writable(buffer, 54)]), 54);
}

#[test]
fn frames_that_make_no_sense_are_not_sent() {
    let mut driver = started(0);
    let buffer = driver.buffer(1);
    let far = 1 << 40;
    for chain in [
        vec![readable(buffer, 12)],
        vec![readable(buffer, 12 + 13)],
        vec![readable(buffer, 12 + MAX_FRAME as u32 + 1)],
        vec![readable(buffer, u32::MAX)],
        vec![readable(buffer + far, 100)],
        vec![writable(buffer, 100)],
    ] {
        assert_eq!(driver.request(1, &chain), 0);
    }
    // Segmentation and checksums, neither of which was negotiated.
    send(&mut driver, [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &arp());
    send(&mut driver, [1, 0, 0, 0, 0, 0, 14, 0, 2, 0, 0, 0], &arp());
    let found = summary(&driver);
    assert_eq!((found.sent, found.lost), (0, 8));
    let mut driver = started(1 << VIRTIO_NET_F_CSUM);
    send(
        &mut driver,
        [1, 0, 0, 0, 0, 0, 14, 0, 0xff, 0xff, 0, 0],
        &arp(),
    );
    assert_eq!(summary(&driver).lost, 1);
}

#[test]
fn a_state_that_cannot_be_is_refused() {
    let mut driver = started(MERGE);
    send(&mut driver, [0; 12], &arp());
    let saved = driver.mmio.device().save();
    let mut other = net();
    other.restore(&saved).unwrap();
    assert_eq!(other.save(), saved);
    let text = serde_json::to_string(&saved).unwrap();
    assert_eq!(serde_json::from_str::<DeviceState>(&text).unwrap(), saved);
    let DeviceState::Net(state) = saved else {
        panic!("it is a network interface");
    };
    for len in [13, MAX_FRAME + 1] {
        let mut wrong = state.clone();
        wrong.held = Some(vec![0; len]);
        let error = other.restore(&DeviceState::Net(wrong)).unwrap_err();
        assert_eq!(error, WrongState::Frame);
    }
    assert_eq!(
        other.restore(&DeviceState::Elsewhere),
        Err(WrongState::Kind)
    );
    let text = text.replace(
        "\"connections\":[]",
        "\"connections\":[{\"mac\":[0,0,0,0,0,0],\
        \"ip\":\"10.0.2.15\",\"guest_port\":1,\"port\":80,\"initial\":0,\"unacknowledged\":9,\
        \"next\":8,\"sent\":9,\"window\":0,\"scale\":null,\"segment\":64,\"expected\":0,\
        \"guest_closed\":false,\"owes\":false,\"duplicates\":0,\"due_ns\":null,\"tries\":0,\
        \"service\":{\"http\":{\"request\":[],\"answer\":null}}}]",
    );
    let wrong = serde_json::from_str::<DeviceState>(&text).unwrap();
    let error = WrongState::Peer(WrongPeer::Impossible("connections"));
    assert_eq!(other.restore(&wrong), Err(error));
}
