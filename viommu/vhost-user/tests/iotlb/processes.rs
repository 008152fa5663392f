//! Two processes: the entropy device of the example in one, its front end in the other.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};
use virtio_queue::desc::{RawDescriptor, split::Descriptor};
use virtio_queue::mock::MockSplitQueue;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap, Permissions};

use crate::common::{Guest, HANG, PAGE, RAM, TRANSLATED, wait_until};
use viommu::{Attachment, DmaListener, DomainId};
use viommu_vhost_user::backend::{DaemonConfig, VhostUserDaemon};
use viommu_vhost_user::frontend::{BackendChannel, BackendEvent, Frontend, Translations};

#[path = "../../examples/rng/device.rs"]
mod device;

/// The variable that has the other process be the back end.
const SOCKET: &str = "VIOMMU_VHOST_USER_TEST_SOCKET";
/// What that process has in place of entropy.
const BYTE: u8 = 0;
const BUFFER: u64 = RAM + 0x8000;
/// A descriptor that the device writes to.
const WRITE: u16 = 2;

/// The other process; in this one it does nothing.
#[test]
fn back_end() {
    let Some(socket) = std::env::var_os(SOCKET) else {
        return;
    };
    let device = Arc::new(device::Rng::new(File::open("/dev/zero").unwrap()));
    let daemon = VhostUserDaemon::new(device, DaemonConfig::default());
    // Until it is killed.
    while daemon.serve(&socket).is_ok() {}
}

/// Killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(socket: &Path) -> (Process, UnixStream) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::back_end"])
        .env(SOCKET, socket)
        .stdout(Stdio::null())
        .spawn();
    let process = Process(child.unwrap());
    let mut stream = None;
    wait_until(|| {
        stream = UnixStream::connect(socket).ok();
        stream.is_some()
    });
    (process, stream.unwrap())
}

/// A guest with a queue of the device, at the same addresses for both.
struct Driver<'a> {
    frontend: Frontend,
    channel: BackendChannel,
    queue: MockSplitQueue<'a, GuestMemoryMmap<()>>,
    kick: rustix::fd::OwnedFd,
    call: rustix::fd::OwnedFd,
}

impl<'a> Driver<'a> {
    fn new(frontend: &Frontend, guest: &'a Guest, next: u16) -> Self {
        let offer = frontend.begin().unwrap();
        assert_eq!(offer.features, TRANSLATED);
        let channel = frontend.open_backend_channel().unwrap();
        frontend.set_features(TRANSLATED).unwrap();
        frontend.set_memory(&[guest.region.clone()]).unwrap();
        let queue = MockSplitQueue::create(&guest.memory, GuestAddress(RAM), 16);
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let driver = Self {
            frontend: frontend.clone(),
            channel,
            queue,
            kick: eventfd(0, flags).unwrap(),
            call: eventfd(0, flags).unwrap(),
        };
        let queue = &driver.queue;
        let places = (
            queue.desc_table_addr().0,
            queue.avail_addr().0,
            queue.used_addr().0,
        );
        frontend.set_queue(0, 16, places, next).unwrap();
        let (kick, call) = (driver.kick.as_fd(), driver.call.as_fd());
        frontend.set_queue_events(0, kick, call).unwrap();
        frontend.enable_queue(0, true).unwrap();
        driver
    }

    /// Requests 16 bytes; returns how many there are, and the faults on the way.
    fn request(&mut self, address: u64) -> (u32, Vec<BackendEvent>) {
        let buffer = RawDescriptor::from(Descriptor::new(address, 16, WRITE, 0));
        let used = self.queue.used().idx().load();
        self.queue.add_desc_chains(&[buffer], 0).unwrap();
        rustix::io::write(&self.kick, &1u64.to_ne_bytes()).unwrap();
        let mut events = Vec::new();
        wait_until(|| {
            events.extend(self.channel.serve().unwrap());
            rustix::io::read(&self.call, &mut [0u8; 8]).is_ok()
        });
        let element = self.queue.used().ring().ref_at(usize::from(used)).unwrap();
        (element.load().len(), events)
    }
}

#[test]
fn a_device_in_another_process_serves_a_queue_and_may_be_killed() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("rng");
    let guest = Guest::new();
    let (process, stream) = start(&socket);
    let frontend = Frontend::new(stream, HANG, Translations::Told);
    let mut listener = frontend.listener();
    listener.attach(Attachment::Domain(DomainId(0))).unwrap();
    for address in [RAM, BUFFER] {
        let mapping = crate::page(address, address, Permissions::ReadWrite);
        listener.map(&mapping).unwrap();
    }
    let mut driver = Driver::new(&frontend, &guest, 0);
    let bytes = || guest.memory.read_obj::<[u8; 16]>(GuestAddress(BUFFER));
    guest
        .memory
        .write_obj([0xffu8; 16], GuestAddress(BUFFER))
        .unwrap();
    assert_eq!(driver.request(BUFFER), (16, vec![]));
    assert_eq!(bytes().unwrap(), [BYTE; 16]);

    listener.unmap(BUFFER, BUFFER + PAGE - 1);
    listener.commit();
    wait_until(|| listener.is_settled());
    guest
        .memory
        .write_obj([0xffu8; 16], GuestAddress(BUFFER))
        .unwrap();
    let (length, events) = driver.request(BUFFER);
    let wanted = Permissions::Write;
    assert_eq!(
        (length, events),
        (
            0,
            vec![BackendEvent::Fault {
                iova: BUFFER,
                wanted
            }]
        )
    );
    assert_eq!(bytes().unwrap(), [0xff; 16]);
    assert_eq!(driver.frontend.stop_queue(0).unwrap(), 2);

    drop(process);
    wait_until(|| !frontend.is_alive());
    wait_until(|| driver.channel.serve().is_err());
    listener
        .map(&crate::page(BUFFER, BUFFER, Permissions::ReadWrite))
        .unwrap();
    wait_until(|| listener.is_settled());

    let (_process, stream) = start(&socket);
    frontend.reconnect(stream);
    let mut driver = Driver::new(&frontend, &guest, 0);
    assert_eq!(driver.request(BUFFER), (16, vec![]));
    assert_eq!(bytes().unwrap(), [BYTE; 16]);
}
