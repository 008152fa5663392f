use std::fs::File;
use std::os::unix::net::UnixListener;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use tempfile::TempDir;
use vhost::vhost_user::message::{FrontendReq, VhostUserU64, VhostUserVringState};
use viommu_vhost_user::wire::{Connection as Wire, Message};
use virtio_queue::QueueT;
use vm_memory::{Bytes, FileOffset, GuestAddress};

use super::*;

const RAM: u32 = 0x4000_0000;
const SIZE: usize = 0x1_0000;
/// Where the rings are: descriptors, available and used.
const RINGS: [u32; 3] = [RAM, RAM + 0x1000, RAM + 0x2000];

/// What a back end was told: requests, and the bases of rings.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Request(FrontendReq),
    Base(u32),
}

/// Answers as a good back end does.
fn answer(message: &Message) -> Option<Message> {
    let request = message.request;
    let number = |value: u64| Some(Message::reply(request).with(&VhostUserU64::new(value)));
    match FrontendReq::try_from(request).unwrap() {
        FrontendReq::GET_FEATURES => number(1 << 30 | 1 << 32 | 1 << 40 | 0x204),
        // REPLY_ACK and CONFIG.
        FrontendReq::GET_PROTOCOL_FEATURES => number(0x208),
        FrontendReq::GET_VRING_BASE => {
            Some(Message::reply(request).with(&VhostUserVringState::new(0, 3)))
        }
        FrontendReq::GET_CONFIG => {
            let mut reply = Message::reply(request);
            reply.payload = message.payload.clone();
            reply.payload[12..].fill(7);
            Some(reply)
        }
        _ if message.needs_reply => number(0),
        _ => None,
    }
}

/// Serves so many connections, one after the other, and tells what it is told.
fn backend(directory: TempDir, connections: usize) -> Receiver<Told> {
    let listener = UnixListener::bind(directory.path().join("socket")).unwrap();
    let (tell, told) = channel();
    thread::spawn(move || {
        // With it the socket would go.
        let _directory = directory;
        for stream in listener.incoming().take(connections) {
            let Ok(stream) = stream else { return };
            let mut wire = Wire::new(stream);
            while let Ok(message) = wire.receive(None) {
                let request = FrontendReq::try_from(message.request).unwrap();
                let what = match request {
                    FrontendReq::SET_VRING_BASE => {
                        Told::Base(message.body::<VhostUserVringState>().unwrap().num)
                    }
                    _ => Told::Request(request),
                };
                if tell.send(what).is_err() {
                    return;
                }
                if let Some(reply) = answer(&message) {
                    let _ = wire.post(&reply);
                }
            }
        }
    });
    told
}

fn device(in_order: bool, connections: usize) -> (VhostUser, Arc<GuestRam>, Receiver<Told>) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let told = backend(directory, connections);
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = File::from(memfd_create("ram", flags).unwrap());
    ftruncate(&file, SIZE as u64).unwrap();
    fcntl_add_seals(&file, SealFlags::SHRINK).unwrap();
    let part = (
        GuestAddress(RAM.into()),
        SIZE,
        Some(FileOffset::new(file, 0)),
    );
    let memory = Arc::new(GuestRam::from_ranges_with_files([part]).unwrap());
    let description = Description {
        socket,
        id: 2,
        queues: 1,
        queue_size: 16,
        features: 0x200,
        own_features: 0,
        config: vec![0; 8],
        asks: Some(Needs::Config),
        patch: Some((2, [1, 2])),
        in_order,
    };
    let space = DmaSpace::pass_through(Arc::clone(&memory));
    let stop = Stop::new(Arc::new(Control::new(Arc::default())));
    let made = VhostUser::connect(description, Arc::clone(&memory), space, false, stop);
    (made.unwrap(), memory, told)
}

fn queue() -> Queue {
    let mut queue = Queue::new(16).unwrap();
    let [descriptors, available, used] = RINGS.map(Some);
    queue.set_desc_table_address(descriptors, None);
    queue.set_avail_ring_address(available, None);
    queue.set_used_ring_address(used, None);
    queue.set_ready(true);
    queue
}

/// Sets the indices of the available and the used ring.
fn indices(memory: &GuestRam, available: u16, used: u16) {
    for (ring, index) in [(RINGS[1], available), (RINGS[2], used)] {
        memory
            .write_obj(index, GuestAddress(u64::from(ring) + 2))
            .unwrap();
    }
}

#[test]
fn the_driver_sees_what_the_process_offers_and_this_machine_passes_on() {
    let (device, _, _told) = device(false, 1);
    // Of 0x204 one bit, and no reset of single rings, which the process would not hear of.
    assert_eq!((device.features(), device.ring_features()), (0x200, 0));
    assert_eq!(device.config(), [7, 7, 1, 2, 7, 7, 7, 7]);
}

#[test]
fn rings_are_started_in_order_and_stopped_by_a_reset() {
    use FrontendReq as R;
    let (mut device, _memory, told) = device(false, 1);
    device.start(1 << 32, &[queue()]);
    device.reset();
    drop(device);
    let all: Vec<Told> = told
        .iter()
        .skip_while(|one| *one != Told::Request(R::GET_CONFIG))
        .skip(1)
        .take(10)
        .collect();
    let mut wanted: Vec<Told> = [
        R::SET_FEATURES,
        R::SET_MEM_TABLE,
        R::SET_VRING_NUM,
        R::SET_VRING_ADDR,
        R::SET_VRING_CALL,
        R::SET_VRING_KICK,
        R::SET_VRING_ENABLE,
        R::SET_VRING_ENABLE,
        R::GET_VRING_BASE,
    ]
    .map(Told::Request)
    .into();
    wanted.insert(3, Told::Base(0));
    assert_eq!(all, wanted);
}

#[test]
fn requests_are_lost_with_a_process_unless_the_next_one_finds_them() {
    for (in_order, available, used, lost) in [
        (false, 5, 5, false),
        (false, 5, 4, true),
        (true, 5, 4, false),
    ] {
        let (mut device, memory, told) = device(in_order, 2);
        device.start(1 << 32, &[queue()]);
        indices(&memory, available, used);
        assert_eq!(device.process_gone(), lost);
        assert!(device.shared.frontend().is_none());
        let (connection, _) = device.shared.connect().unwrap();
        device.shared.install(connection);
        device.process_come();
        device.reset();
        drop(device);
        let bases: Vec<Told> = told
            .iter()
            .filter(|one| matches!(one, Told::Base(_)))
            .collect();
        let again = (!lost).then_some(Told::Base(used.into()));
        let wanted: Vec<Told> = [Told::Base(0)].into_iter().chain(again).collect();
        assert_eq!(bases, wanted, "{available} {used}");
    }
}

#[test]
fn a_write_is_noticed_by_the_used_ring() {
    let (mut device, memory, _told) = device(false, 1);
    let writes = Writes::new(&device.shared());
    device.start(1 << 32, &[queue()]);
    assert!(writes.any(), "what it had before is not known");
    assert!(!writes.any());
    indices(&memory, 1, 0);
    assert!(!writes.any());
    indices(&memory, 1, 1);
    assert!(writes.any());
    assert!(!writes.any());
    device.reset();
    assert!(writes.any());
}
