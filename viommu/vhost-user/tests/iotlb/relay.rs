//! A device of `vhost-user-backend` as it is, behind a relay.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread;

use vhost::vhost_user::{Listener, VhostUserProtocolFeatures};
use vhost_user_backend::{VhostUserBackendMut, VhostUserDaemon, VringRwLock, VringT};
use virtio_queue::QueueT;
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vm_memory::{GuestMemory, Permissions};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{
    EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier,
};

use crate::common::{Guest, HANG, Iommu, PAGE, PLAIN, RAM, TRANSLATED, settle};
use crate::driver::{BUFFER, Driver};
use viommu_vhost_user::frontend::{Frontend, Patience};
use viommu_vhost_user::relay::relay;

const BYTE: u8 = 0x77;

/// An entropy device without any.
#[derive(Default)]
struct Unmodified {
    memory: Option<GuestMemoryAtomic<GuestMemoryMmap>>,
}

impl VhostUserBackendMut for Unmodified {
    type Bitmap = ();
    type Vring = VringRwLock;

    fn num_queues(&self) -> usize {
        1
    }

    fn max_queue_size(&self) -> usize {
        64
    }

    fn features(&self) -> u64 {
        // VHOST_USER_F_PROTOCOL_FEATURES.
        PLAIN | 1 << 30
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ
    }

    fn set_event_idx(&mut self, _: bool) {}

    fn exit_event(&self, _: usize) -> Option<(EventConsumer, EventNotifier)> {
        Some(new_event_consumer_and_notifier(EventFlag::NONBLOCK).unwrap())
    }

    fn update_memory(&mut self, memory: GuestMemoryAtomic<GuestMemoryMmap>) -> io::Result<()> {
        self.memory = Some(memory);
        Ok(())
    }

    fn handle_event(
        &mut self,
        _: u16,
        _: EventSet,
        vrings: &[VringRwLock],
        _: usize,
    ) -> io::Result<()> {
        let memory = self.memory.as_ref().unwrap().memory();
        let vring = &vrings[0];
        loop {
            let mut state = vring.get_mut();
            let chain = state.get_queue_mut().pop_descriptor_chain(memory.clone());
            drop(state);
            let Some(chain) = chain else {
                return Ok(());
            };
            let head = chain.head_index();
            let mut written = 0;
            for descriptor in chain.writable() {
                let bytes = vec![BYTE; descriptor.len() as usize];
                if memory.write_slice(&bytes, descriptor.addr()).is_ok() {
                    written += descriptor.len();
                }
            }
            vring.add_used(head, written).unwrap();
            vring.signal_used_queue()?;
        }
    }
}

#[test]
fn an_unmodified_device_reaches_what_is_mapped_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("device");
    let device = Arc::new(Mutex::new(Unmodified::default()));
    let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    let mut daemon = VhostUserDaemon::new("device".into(), Arc::clone(&device), memory).unwrap();
    let mut listener = Listener::new(&socket, true).unwrap();
    let served = thread::spawn(move || {
        daemon.start(&mut listener).unwrap();
        daemon.wait()
    });
    let (ours, theirs) = UnixStream::pair().unwrap();
    let daemon = UnixStream::connect(&socket).unwrap();
    let relayed = thread::spawn(move || relay(theirs, daemon, HANG));

    let guest = Guest::new();
    let frontend = Frontend::new(ours, Patience::new(HANG)).unwrap();
    let mut iommu = Iommu::new(guest.memory.clone());
    let page = |address| crate::page(address, address, Permissions::ReadWrite);
    iommu.map(page(RAM));
    let mut driver = Driver::new(&frontend, &guest, &iommu, 0);
    let reaches = |address: u64| {
        let memory = device.lock().unwrap().memory.clone().unwrap().memory();
        memory.check_range(GuestAddress(address), 1, Permissions::Read)
    };
    let bytes = || {
        guest
            .memory
            .read_obj::<[u8; 16]>(GuestAddress(BUFFER))
            .unwrap()
    };
    for _ in 0..3 {
        assert!(reaches(RAM) && !reaches(BUFFER));
        assert_eq!(driver.request(BUFFER).0, 0);
        assert_eq!(bytes(), [0; 16]);
        iommu.map(page(BUFFER));
        settle(&mut iommu, &frontend);
        assert!(reaches(BUFFER) && !reaches(BUFFER + PAGE));
        assert_eq!(driver.request(BUFFER).0, 16);
        assert_eq!(bytes(), [BYTE; 16]);
        iommu.unmap(BUFFER, BUFFER + PAGE - 1);
        settle(&mut iommu, &frontend);
        guest
            .memory
            .write_obj([0u8; 16], GuestAddress(BUFFER))
            .unwrap();
    }
    assert_eq!(driver.stop(), 6);
    frontend.end();
    assert!(relayed.join().unwrap().is_ok());
    // Whether a hang-up is an error is the daemon's.
    let _ = served.join().unwrap();
}

#[test]
fn ranges_beyond_what_a_daemon_takes_are_refused() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (daemon, peer) = UnixStream::pair().unwrap();
    let relayed = thread::spawn(move || relay(theirs, daemon, HANG));
    // A daemon that has all there is, and forgets it.
    let told = thread::spawn(move || {
        let mut connection = viommu_vhost_user::wire::Connection::new(peer);
        let mut most = 0;
        while let Ok(message) = connection.receive(None) {
            most = most.max(message.fds.len());
            if [1, 15, 17].contains(&message.request) {
                let request = message.request;
                let reply = viommu_vhost_user::wire::Message::reply(request).with(&u64::MAX);
                connection.send(&reply, &[], None).unwrap();
            }
        }
        most
    });
    let guest = Guest::new();
    let frontend = Frontend::new(ours, Patience::new(HANG)).unwrap();
    let mut iommu = Iommu::new(guest.memory.clone());
    guest.set_up(&frontend, &iommu, TRANSLATED);
    for number in 0..2 * viommu_vhost_user::relay::MAX_REGIONS as u64 {
        // Two by two they are one range.
        let iova = number / 2 * 4 * PAGE + number % 2 * PAGE;
        iommu.map(crate::page(iova, RAM + iova, Permissions::ReadWrite));
    }
    iommu.map(crate::page(1 << 40, RAM, Permissions::ReadWrite));
    settle(&mut iommu, &frontend);
    assert!(frontend.is_alive());
    frontend.end();
    assert!(relayed.join().unwrap().is_ok());
    assert_eq!(told.join().unwrap(), viommu_vhost_user::relay::MAX_REGIONS);
}
