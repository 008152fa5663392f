//! Peers that die, hang or lie, on both sides.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use vm_memory::{Bytes, GuestAddress, Permissions};

use crate::common::{BackEnd, Guest, HANG, Iommu, Machine, RAM, TRANSLATED, settle, wait_until};
use viommu_vhost_user::backend::DaemonError;
use viommu_vhost_user::frontend::{Frontend, FrontendError, Offer, Patience, Ring};
use viommu_vhost_user::wire::{Connection, Message};

const IOVA: u64 = 0x10_0000;
const SOON: Duration = Duration::from_millis(50);

#[test]
fn a_front_end_that_goes_takes_its_memory_along() {
    let mut machine = Machine::new(TRANSLATED);
    machine.map(IOVA, RAM, Permissions::ReadWrite);
    assert!(machine.space.read_obj::<u8>(GuestAddress(IOVA)).is_ok());
    machine.frontend.end();
    let Machine { space, served, .. } = machine;
    assert!(served.join().unwrap().is_ok());
    assert!(space.read_obj::<u8>(GuestAddress(IOVA)).is_err());
    assert!(space.read_obj::<u8>(GuestAddress(RAM)).is_err());
}

/// Sets a back end up for translation.
fn set_up(frontend: &Frontend, offer: &Offer, guest: &Guest) -> Result<(), FrontendError> {
    frontend.set_up(offer, TRANSLATED, &[(guest.region, &guest.file)])
}

#[test]
fn a_back_end_that_goes_settles_everything_and_can_come_back() {
    let mut machine = Machine::new(TRANSLATED);
    machine.map(IOVA, RAM, Permissions::ReadWrite);
    assert!(machine.frontend.is_alive());
    // What the death of a process does.
    machine.frontend.end();
    assert!(!machine.frontend.is_alive());
    let set_up = set_up(&machine.frontend, &machine.offer, &machine.guest);
    assert!(matches!(set_up, Err(FrontendError::Ended)));
    // Meanwhile the guest goes on.
    machine.map(IOVA + 0x1000, RAM + 0x1000, Permissions::Read);
    machine.unmap(IOVA);
    let (stream, space, served) = machine.back_end.connect();
    machine.frontend = Frontend::new(stream, Patience::new(HANG)).unwrap();
    let Machine {
        guest,
        frontend,
        iommu,
        ..
    } = &machine;
    guest.set_up(frontend, iommu, TRANSLATED);
    machine.settle();
    assert!(space.read_obj::<u8>(GuestAddress(IOVA)).is_err());
    assert!(space.read_obj::<u8>(GuestAddress(IOVA + 0x1000)).is_ok());
    machine.frontend.end();
    assert!(served.join().unwrap().is_ok());
}

#[test]
fn a_back_end_that_acknowledges_nothing_is_given_up() {
    let mut machine = Machine::with_timeouts(TRANSLATED, HANG, SOON);
    machine.map(IOVA, RAM, Permissions::ReadWrite);
    let space = machine.space.clone();
    // A device that never comes to an end.
    let pinned = space.pin();
    machine.unmap(IOVA);
    assert!(!machine.frontend.is_alive());
    drop(pinned);
    assert!(machine.served.join().unwrap().is_ok());
}

#[test]
fn a_back_end_that_says_nothing_is_given_up() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let frontend = Frontend::new(ours, Patience::new(SOON)).unwrap();
    let begun = frontend.begin();
    assert!(matches!(begun, Err(FrontendError::GaveUp)));
    assert!(!frontend.is_alive());
    drop(theirs);
}

/// Answers each request that is to be answered with what `answer` makes of it.
fn liar(answer: fn(&Message) -> Message) -> Frontend {
    let (ours, theirs) = UnixStream::pair().unwrap();
    thread::spawn(move || {
        let mut connection = Connection::new(theirs);
        while let Ok(message) = connection.receive(None) {
            // Features and the number of queues are asked for; all else has to want a reply.
            if !message.needs_reply && ![1, 15, 17].contains(&message.request) {
                continue;
            }
            if connection.send(&answer(&message), &[], None).is_err() {
                return;
            }
        }
    });
    Frontend::new(ours, Patience::new(HANG)).unwrap()
}

#[test]
fn a_back_end_that_lies_is_dead() {
    let lies: [fn(&Message) -> Message; 4] = [
        |_| Message::reply(99u32).with(&0u64),
        |asked| Message::reply(asked.request),
        |asked| Message::request(asked.request).with(&u64::MAX),
        |asked| Message::reply(asked.request).with(&u64::MAX).with(&0u64),
    ];
    for lie in lies {
        let frontend = liar(lie);
        let begun = frontend.begin();
        assert!(matches!(begun, Err(FrontendError::Wire(_))), "{begun:?}");
        assert!(matches!(frontend.begin(), Err(FrontendError::Ended)));
    }
    let guest = Guest::new();
    let try_out = |frontend: &Frontend| set_up(frontend, &frontend.begin()?, &guest);
    // All features there are, and refusals of all else.
    let frontend = liar(|asked| Message::reply(asked.request).with(&u64::MAX));
    assert!(matches!(try_out(&frontend), Err(FrontendError::Refused(_))));
    let frontend = liar(|asked| Message::reply(asked.request).with(&0u64));
    assert!(matches!(try_out(&frontend), Err(FrontendError::Lacks(_))));
}

#[test]
fn a_back_end_that_refuses_an_invalidation_is_dead() {
    // It agrees to anything but the IOTLB's messages.
    let frontend = liar(|asked| {
        let number = match asked.request {
            1 | 15 => u64::MAX,
            17 => 1,
            22 => 1,
            _ => 0,
        };
        Message::reply(asked.request).with(&number)
    });
    let guest = Guest::new();
    let mut iommu = Iommu::new(guest.memory.clone());
    guest.set_up(&frontend, &iommu, TRANSLATED);
    let mapping = crate::page(IOVA, RAM, Permissions::Read);
    iommu.map(mapping);
    settle(&mut iommu, &frontend);
    assert!(frontend.is_alive(), "what is not mapped does no harm");
    iommu.unmap(mapping.first, mapping.last);
    wait_until(|| iommu.is_settled());
    assert!(!frontend.is_alive());
}

#[test]
fn memory_that_could_be_taken_away_is_not_shared() {
    let machine = Machine::new(TRANSLATED);
    let file = tempfile::tempfile().unwrap();
    let memory = [(machine.guest.region, &file)];
    let shared = machine.frontend.set_up(&machine.offer, TRANSLATED, &memory);
    assert!(matches!(shared, Err(FrontendError::Invalid(_))));
}

#[test]
fn a_front_end_that_breaks_the_protocol_is_left() {
    let back_end = BackEnd::new(SOON);
    let cases: [&[u32]; 4] = [
        // A request that there is not, one with a wrong size, a version that there is not, and an
        // IOTLB message of a back end.
        &[77, 1, 0],
        &[2, 1, 4, 0],
        &[1, 3, 0],
        &[22, 1, 32, 0, 0, 0, 0, 0, 0, 0x0101, 0],
    ];
    for words in cases {
        let (mut stream, _, served) = back_end.connect();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        stream.write_all(&bytes).unwrap();
        let ended = served.join().unwrap();
        let expected = matches!(ended, Err(DaemonError::Wire(_) | DaemonError::Refused(_)));
        assert!(expected, "{words:?}: {ended:?}");
    }
}

/// A kick that is always there, and cannot be read, neither keeps the device busy nor its front end
/// waiting.
#[test]
fn a_kick_that_is_none_is_given_up() {
    use std::os::fd::AsFd;
    let machine = Machine::new(TRANSLATED);
    let (frontend, offer) = (&machine.frontend, &machine.offer);
    for _ in 0..20 {
        let (kick, peer) = UnixStream::pair().unwrap();
        drop(peer);
        let ring = Ring {
            size: 16,
            base: 0,
            descriptors: 0,
            available: 0,
            used: 0,
            kick: kick.as_fd(),
            call: kick.as_fd(),
        };
        frontend.start_ring(offer, 0, &ring).unwrap();
        frontend.enable_ring(offer, 0, false).unwrap();
        frontend.enable_ring(offer, 0, true).unwrap();
        frontend.stop_ring(offer, 0).unwrap();
    }
}
