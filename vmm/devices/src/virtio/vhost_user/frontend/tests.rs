use std::thread;

use super::*;
use vhost::vhost_user::message::{VhostUserU64, VhostUserVringState};
use viommu_vhost_user::wire::Connection;

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
