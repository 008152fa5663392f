//! Whole messages, parts of them, and what is none.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use vhost::vhost_user::message::FrontendReq;
use viommu::vm_memory::Permissions;

use super::{Connection, IotlbKind, IotlbMessage, MAX_FDS, MAX_PAYLOAD, Message, WireError};

fn pair() -> (Connection, UnixStream) {
    let (one, other) = UnixStream::pair().unwrap();
    (Connection::new(one), other)
}

fn connections() -> (Connection, Connection) {
    let (one, other) = pair();
    (one, Connection::new(other))
}

fn header(request: u32, flags: u32, size: u32) -> Vec<u8> {
    [request, flags, size]
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect()
}

fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_millis(20))
}

#[test]
fn a_message_arrives_as_it_was_sent() {
    let (mut one, mut other) = connections();
    let sent = Message::request(FrontendReq::SET_FEATURES)
        .with(&0x1234u64)
        .with_reply_wanted();
    let file = tempfile::tempfile().unwrap();
    one.send(&sent, &[file.as_fd(), file.as_fd()], None)
        .unwrap();
    let got = other.receive(None).unwrap();
    assert_eq!((got.request, got.number().unwrap()), (2, 0x1234));
    assert!(got.needs_reply && !got.is_reply);
    assert_eq!(got.fds.len(), 2);
    other
        .send(&Message::acknowledgement(got.request, false), &[], None)
        .unwrap();
    let reply = one.receive(None).unwrap();
    assert!(reply.is_reply && reply.number().unwrap() == 1);
}

#[test]
fn a_message_may_arrive_byte_by_byte() {
    let (mut one, mut other) = pair();
    let mut bytes = header(1, 1, 3);
    bytes.extend(b"abc");
    let (last, first) = bytes.split_last().unwrap();
    for byte in first {
        other.write_all(&[*byte]).unwrap();
        assert!(one.try_receive().unwrap().is_none());
    }
    other.write_all(&[*last]).unwrap();
    assert_eq!(one.try_receive().unwrap().unwrap().payload, b"abc");
}

#[test]
fn what_is_no_message_is_refused() {
    type Check = fn(&WireError) -> bool;
    let cases: [(Vec<u8>, Check); 4] = [
        (header(1, 2, 0), |e| matches!(e, WireError::Version(2))),
        (header(1, 1, u32::MAX), |e| {
            matches!(e, WireError::TooLong(u32::MAX))
        }),
        (header(1, 1, 1), |e| matches!(e, WireError::Truncated)),
        (Vec::new(), |e| matches!(e, WireError::Closed)),
    ];
    for (bytes, fits) in cases {
        let (mut one, mut other) = pair();
        other.write_all(&bytes).unwrap();
        drop(other);
        let error = one.receive(None).unwrap_err();
        assert!(fits(&error), "{bytes:?}: {error}");
    }
}

#[test]
fn too_many_descriptors_are_refused() {
    let (mut one, other) = pair();
    let file = tempfile::tempfile().unwrap();
    let fds = vec![file.as_fd(); MAX_FDS + 1];
    let mut space =
        vec![std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS + 1))];
    let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
    assert!(control.push(rustix::net::SendAncillaryMessage::ScmRights(&fds)));
    let bytes = header(1, 1, 0);
    let iov = [std::io::IoSlice::new(&bytes)];
    rustix::net::sendmsg(&other, &iov, &mut control, rustix::net::SendFlags::empty()).unwrap();
    assert!(matches!(one.receive(None), Err(WireError::TooManyFds)));
    let sent = one.send(&Message::default(), &fds, None);
    assert!(matches!(sent, Err(WireError::TooManyFds)));
}

#[test]
fn a_wait_has_an_end() {
    let (mut one, mut other) = pair();
    assert!(matches!(one.receive(soon()), Err(WireError::TimedOut)));
    // A header whose payload never comes.
    other.write_all(&header(1, 1, 8)).unwrap();
    assert!(matches!(one.receive(soon()), Err(WireError::TimedOut)));
    let long = Message {
        payload: vec![0; MAX_PAYLOAD],
        ..Message::default()
    };
    let full = (0..1 << 20).find_map(|_| one.send(&long, &[], soon()).err());
    assert!(matches!(full, Some(WireError::TimedOut)));
}

#[test]
fn what_is_posted_goes_first_and_has_a_bound() {
    let (mut one, mut other) = connections();
    let update = IotlbMessage::update(0x1000, 0x1000, 0, Permissions::Read).to_backend();
    let mut posted = 0u32;
    while one.post(&update).is_ok() {
        posted += 1;
    }
    assert!(posted > 60_000 && !one.is_flushed());
    for _ in 0..posted {
        while one.flush().is_ok() {
            if let Some(got) = other.try_receive().unwrap() {
                assert_eq!(got.payload, update.payload);
                break;
            }
        }
    }
    assert!(one.flush().unwrap());
}

#[test]
fn only_what_each_side_may_say_is_read() {
    let wanted = Permissions::ReadWrite;
    let miss = IotlbMessage::about_access(IotlbKind::Miss, 7, wanted);
    assert_eq!(
        IotlbMessage::from_backend(&miss.to_frontend()).unwrap(),
        miss
    );
    assert!(IotlbMessage::from_frontend(&miss.to_backend()).is_err());
    let update = IotlbMessage::update(0x1000, 0x1000, 0x2000, wanted);
    assert_eq!(
        IotlbMessage::from_frontend(&update.to_backend()).unwrap(),
        update
    );
    assert!(IotlbMessage::from_backend(&update.to_frontend()).is_err());
    for (iova, size, fits) in [
        (0, 0, false),
        (u64::MAX, 1, true),
        (u64::MAX, 2, false),
        (1, u64::MAX, true),
    ] {
        let message = IotlbMessage::invalidate(iova, size);
        let read = IotlbMessage::from_frontend(&message.to_backend());
        assert_eq!(read.is_ok(), fits, "{iova:#x} {size:#x}");
    }
}

/// The bytes as Linux's `struct vhost_iotlb_msg` has them.
#[test]
fn an_iotlb_message_has_the_layout_of_the_structure() {
    let payload = IotlbMessage::update(1, 2, 3, Permissions::Write)
        .to_backend()
        .payload;
    let mut expected = Vec::new();
    for word in [1u64, 2, 3] {
        expected.extend(word.to_ne_bytes());
    }
    expected.extend([2, 2, 0, 0, 0, 0, 0, 0]);
    assert_eq!(payload, expected);
}

proptest! {
    #[test]
    fn any_payload_is_an_iotlb_message_or_is_refused(
        payload in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let length = payload.len();
        let message = Message { request: 22, payload, ..Message::default() };
        if let Ok(read) = IotlbMessage::from_frontend(&message) {
            prop_assert!((26..=32).contains(&length) && read.last().is_some());
            let again = read.to_backend();
            prop_assert_eq!(&again.payload[..26], &message.payload[..26]);
        }
    }
}
