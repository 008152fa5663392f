//! A back end that keeps to the protocol, and some that do not.

use std::thread;

use super::*;
use crate::wire::{Connection, IotlbKind, IotlbMessage};
use vhost::vhost_user::message::{VhostUserU64, VhostUserVringState};
use viommu::vm_memory::{GuestAddress, GuestMemoryMmap, Permissions};
use viommu::{Attachment, DmaListener, DmaSpace, DomainId, EndpointId, Mapping};

/// A back end that answers requests with what a script says, until the connection ends.
fn scripted(
    answer: impl Fn(&Message) -> Option<Message> + Send + 'static,
) -> (Frontend, thread::JoinHandle<Vec<u32>>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let backend = thread::spawn(move || {
        let (mut connection, mut seen) = (Connection::new(theirs), Vec::new());
        while let Ok(message) = connection.receive(None) {
            seen.push(message.request);
            if let Some(reply) = answer(&message) {
                let _ = connection.post(&reply);
            }
        }
        seen
    });
    let patience = Patience::new(Duration::from_millis(300));
    (Frontend::new(ours, patience).unwrap(), backend)
}

fn number(request: u32, value: u64) -> Option<Message> {
    Some(Message::reply(request).with(&VhostUserU64::new(value)))
}

/// Answers as a good back end with all features that are wanted.
fn good(message: &Message) -> Option<Message> {
    let request = message.request;
    match FrontendReq::try_from(request).unwrap() {
        FrontendReq::GET_FEATURES => number(request, 1 << 30 | 1 << 32 | 1 << 33),
        FrontendReq::GET_PROTOCOL_FEATURES => number(request, PROTOCOL_FEATURES.bits() | 1 << 63),
        FrontendReq::GET_QUEUE_NUM => number(request, 4),
        FrontendReq::GET_VRING_BASE => {
            let state: VhostUserVringState = message.body().unwrap();
            Some(Message::reply(request).with(&VhostUserVringState::new(state.index, 7)))
        }
        _ if message.needs_reply => number(request, 0),
        _ => None,
    }
}

#[test]
fn a_good_back_end_is_begun_and_stopped() {
    let (frontend, backend) = scripted(good);
    let offer = frontend.begin().unwrap();
    assert_eq!(offer.features, 1 << 32 | 1 << 33);
    assert_eq!((offer.protocol, offer.queues), (PROTOCOL_FEATURES, Some(4)));
    assert_eq!(frontend.stop_ring(&offer, 2).unwrap(), 7);
    frontend.end();
    let seen = backend.join().unwrap();
    assert_eq!(seen, [3, 1, 15, 16, 17, 18, 11]);
}

#[test]
fn what_cannot_be_a_reply_ends_the_connection() {
    type Answer = fn(&Message) -> Option<Message>;
    let lies: [(&str, Answer); 5] = [
        ("another request", |_| number(99, 0)),
        ("a request", |message| {
            Some(Message::request(message.request))
        }),
        ("a short number", |message| {
            Some(Message::reply(message.request).with(&7u32))
        }),
        ("two replies", |message| {
            let mut reply = number(message.request, 0)?;
            // One message that holds the beginning of another, which nobody asked for.
            reply.payload.extend([0; 12]);
            Some(reply)
        }),
        ("another ring", |message| match message.request {
            11 => Some(Message::reply(11u32).with(&VhostUserVringState::new(3, 0))),
            _ => good(message),
        }),
    ];
    for (what, answer) in lies {
        let (frontend, backend) = scripted(answer);
        let begun = frontend.begin();
        let stopped = begun.and_then(|offer| frontend.stop_ring(&offer, 1));
        assert!(stopped.is_err(), "{what}");
        assert!(frontend.has_ended(), "{what}");
        assert!(
            matches!(frontend.begin(), Err(FrontendError::Ended)),
            "{what}"
        );
        drop(frontend);
        backend.join().unwrap();
    }
}

#[test]
fn a_silent_back_end_is_given_up_and_a_wait_can_be_ended() {
    let (frontend, backend) = scripted(|_| None);
    assert!(matches!(frontend.begin(), Err(FrontendError::GaveUp)));
    backend.join().unwrap();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let patience = Patience {
        limit: Duration::from_secs(3600),
        give_up: Arc::new(|| true),
    };
    let frontend = Frontend::new(ours, patience).unwrap();
    assert!(matches!(frontend.begin(), Err(FrontendError::GaveUp)));
}

#[test]
fn a_back_end_that_goes_is_noticed() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let frontend = Frontend::new(ours, Patience::new(Duration::from_secs(10))).unwrap();
    drop(theirs);
    assert!(frontend.begin().is_err());
    assert!(frontend.has_ended() && frontend.receive().is_err());
}

/// A model that maps a page of its one domain: IOVA 0x1000 leads to the beginning of memory.
struct OnePage;

const RAM: u64 = 0x4000_0000;

impl viommu::Model for OnePage {
    fn translate(
        &self,
        _: viommu::Requester,
        _: DomainId,
        iova: u64,
        _: Permissions,
    ) -> Result<Mapping, viommu::Miss> {
        if !(0x1000..0x2000).contains(&iova) {
            return Err(viommu::Miss::new(viommu::FaultReason::Translation));
        }
        Ok(Mapping {
            first: 0x1000,
            last: 0x1fff,
            address: RAM,
            permissions: Permissions::Read,
        })
    }

    fn fault(&self, _: &viommu::Fault) {}
}

fn unit() -> Arc<viommu::TranslationUnit> {
    let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(RAM), 0x1_0000)]).unwrap();
    let config = viommu::UnitConfig::new(1, 1).with_initial(Attachment::Domain(DomainId(0)));
    viommu::TranslationUnit::new(Arc::new(memory), Arc::new(OnePage), &config, None)
}

const REGION: MemoryRegion = MemoryRegion {
    address: RAM,
    size: 0x1_0000,
    offset: 0,
};

/// A front end whose back end knows its memory, and the other end of its socket.
fn connected(limit: Duration) -> (Frontend, Connection) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let frontend = Frontend::new(ours, Patience::new(limit)).unwrap();
    frontend.link.set_memory(vec![REGION], true);
    (frontend, Connection::new(theirs))
}

/// A listener that tells this back end.
fn listening(
    frontend: &Frontend,
    space: DmaSpace<GuestMemoryMmap<()>>,
) -> Listener<GuestMemoryMmap<()>> {
    let current = CurrentBackend::new(|| {});
    current.set(Some(frontend));
    Listener::new(current, space)
}

#[test]
fn an_invalidation_is_over_when_it_is_acknowledged_and_no_grace_period_ends_before() {
    let unit = unit();
    let (frontend, mut backend) = connected(Duration::from_secs(3600));
    let mut listener = listening(&frontend, unit.space(EndpointId(0)));
    listener.invalidate(0x1000, 0x2fff);
    listener.commit();
    let mut grace = unit.begin_grace_period();
    let message = backend.receive(None).unwrap();
    let found = IotlbMessage::from_frontend(&message).unwrap();
    assert_eq!(found, IotlbMessage::invalidate(0x1000, 0x2000));
    assert!(message.needs_reply);
    for _ in 0..3 {
        assert!(!listener.is_settled() && !grace.is_over());
    }
    let done = Message::acknowledgement(message.request, true);
    backend.post(&done).unwrap();
    frontend.receive().unwrap();
    assert!(listener.is_settled() && grace.is_over());
}

#[test]
fn a_back_end_that_goes_or_never_acknowledges_holds_nobody_up() {
    for late in [false, true] {
        let unit = unit();
        let limit = if late {
            Duration::ZERO
        } else {
            Duration::from_secs(3600)
        };
        let (frontend, backend) = connected(limit);
        let mut listener = listening(&frontend, unit.space(EndpointId(0)));
        listener.attach(Attachment::Blocked).unwrap();
        listener.commit();
        let mut grace = unit.begin_grace_period();
        assert_eq!(frontend.unacknowledged(), 2);
        assert!(!grace.is_over());
        if late {
            thread::sleep(Duration::from_millis(1));
            frontend.end_if_late();
        } else {
            drop(backend);
        }
        assert!(listener.is_settled() && grace.is_over());
        assert!(frontend.has_ended());
    }
}

#[test]
fn mappings_are_told_as_far_as_there_is_memory() {
    let (frontend, mut backend) = connected(Duration::from_secs(3600));
    let mut listener = listening(&frontend, unit().space(EndpointId(0)));
    let mapping = |first, last, address| Mapping {
        first,
        last,
        address,
        permissions: Permissions::Write,
    };
    // One that begins before memory, one that ends behind it, and one that has none.
    for one in [
        mapping(0, 0x1fff, RAM - 0x1000),
        mapping(0x10_0000, 0x10_ffff, RAM + 0xf000),
        mapping(0x20_0000, u64::MAX, 0x8000_0000),
    ] {
        listener.map(&one).unwrap();
    }
    listener.commit();
    assert!(listener.is_settled(), "nothing is taken away");
    for (iova, size, address) in [(0x1000, 0x1000, RAM), (0x10_0000, 0x1000, RAM + 0xf000)] {
        let message = backend.receive(None).unwrap();
        let update = IotlbMessage::update(iova, size, address, Permissions::Write);
        assert_eq!(IotlbMessage::from_frontend(&message).unwrap(), update);
    }
    assert!(backend.try_receive().unwrap().is_none());
}

#[test]
fn misses_are_answered_by_what_there_is() {
    let unit = unit();
    let space = unit.space(EndpointId(0));
    let (frontend, mut backend) = connected(Duration::from_secs(60));
    let mut channel = frontend.open_channel().unwrap();
    let mut opening = backend.receive(None).unwrap();
    let stream = UnixStream::from(opening.take_fd().unwrap());
    let mut requests = Connection::new(stream);
    for (iova, wanted, known) in [
        (0x1800, Permissions::Read, true),
        (0x1800, Permissions::Write, false),
        (0x2000, Permissions::Read, false),
    ] {
        let miss = IotlbMessage::about_access(IotlbKind::Miss, iova, wanted);
        requests
            .post(&miss.to_frontend().with_reply_wanted())
            .unwrap();
        let notice = match known {
            true => Notice::Answered { iova },
            false => Notice::Fault { iova, wanted },
        };
        assert_eq!(channel.serve(Some(&space)).unwrap(), Some(notice));
        let reply = requests.receive(None).unwrap();
        assert_eq!(reply.number().unwrap() == 0, known, "{iova:#x} {wanted:?}");
        let told = backend.try_receive().unwrap();
        let told = told.map(|message| IotlbMessage::from_frontend(&message).unwrap());
        let update = IotlbMessage::update(iova, 0x800, RAM + 0x800, Permissions::Read);
        assert_eq!(told, known.then_some(update));
    }
    let (iova, wanted) = (0x5000, Permissions::Write);
    let failed = IotlbMessage::about_access(IotlbKind::AccessFail, iova, wanted);
    requests.post(&failed.to_frontend()).unwrap();
    let notice = channel.serve(Some(&space)).unwrap();
    assert_eq!(notice, Some(Notice::AccessFailed { iova, wanted }));
    // Without an IOMMU there is nothing to ask for, and an unknown request is none.
    let miss = IotlbMessage::about_access(IotlbKind::Miss, 0, Permissions::Read);
    for request in [miss.to_frontend(), Message::request(77u32)] {
        let number = request.request;
        requests.post(&request.with_reply_wanted()).unwrap();
        let none = None::<&DmaSpace<GuestMemoryMmap>>;
        let notice = channel.serve(none).unwrap();
        assert_eq!(notice, Some(Notice::Unsupported(number)));
        assert_ne!(requests.receive(None).unwrap().number().unwrap(), 0);
    }
    requests.post(&Message::reply(77u32)).unwrap();
    assert!(channel.serve(Some(&space)).is_err() && frontend.has_ended());
}

#[test]
fn a_back_end_that_comes_later_is_told_what_there_is() {
    let current = CurrentBackend::new(|| {});
    let mut listener = Listener::new(current.clone(), unit().space(EndpointId(0)));
    let page = |iova| Mapping {
        first: iova,
        last: iova + 0xfff,
        address: RAM + iova,
        permissions: Permissions::Read,
    };
    listener
        .attach(Attachment::Domain(DomainId(0)))
        .and_then(|()| listener.map(&page(0x1000)))
        .and_then(|()| listener.map(&page(0x2000)))
        .unwrap();
    listener.unmap(0x1000, 0x1fff);
    listener.commit();
    let (frontend, mut backend) = connected(Duration::from_secs(3600));
    current.set(Some(&frontend));
    let told = backend.try_receive().unwrap().unwrap();
    let update = IotlbMessage::update(0x2000, 0x1000, RAM + 0x2000, Permissions::Read);
    assert_eq!(IotlbMessage::from_frontend(&told).unwrap(), update);
    assert!(backend.try_receive().unwrap().is_none());
    // One whose driver does not want translation is told nothing.
    let (frontend, mut backend) = connected(Duration::from_secs(3600));
    frontend.link.set_translated(false);
    current.set(Some(&frontend));
    listener.unmap(0x2000, 0x2fff);
    listener.commit();
    assert!(listener.is_settled() && backend.try_receive().unwrap().is_none());
}

#[test]
fn what_a_back_end_does_not_offer_is_not_asked_for() {
    // Protocol features, and none of them.
    let (frontend, _backend) = scripted(|message| match message.request {
        1 => number(1, 1 << 30 | 1 << 33),
        15 => number(15, 0),
        _ => None,
    });
    let offer = frontend.begin().unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    let all = [
        frontend.set_up(&offer, 1 << 33, &[(REGION, &file)]),
        frontend.add_memory(&offer, REGION, &file),
        frontend.remove_memory(&offer, REGION),
        frontend.reset_device(&offer),
    ];
    for asked in all {
        assert!(matches!(asked, Err(FrontendError::Lacks(_))), "{asked:?}");
    }
    let set_up = frontend.set_up(&offer, 0, &[(REGION, &file)]);
    assert!(matches!(set_up, Err(FrontendError::Invalid(_))));
    let read = frontend.read_config(0xfff, &mut [0; 2]);
    assert!(matches!(read, Err(FrontendError::Invalid(_))));
    assert!(!frontend.has_ended());
}
