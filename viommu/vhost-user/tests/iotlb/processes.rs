//! Two processes: the entropy device of the example in one, its front end in the other.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress, Permissions};

use crate::common::{Guest, HANG, Iommu, PAGE, RAM, settle, wait_until};
use crate::driver::{BUFFER, Driver};
use viommu_vhost_user::backend::{DaemonConfig, VhostUserDaemon};
use viommu_vhost_user::frontend::{Frontend, Notice, Patience};

#[path = "../../examples/rng/device.rs"]
mod device;

/// The variable that has the other process be the back end.
const SOCKET: &str = "VIOMMU_VHOST_USER_TEST_SOCKET";
/// What that process has in place of entropy.
const BYTE: u8 = 0;

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

#[test]
fn a_device_in_another_process_serves_a_queue_and_may_be_killed() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("rng");
    let guest = Guest::new();
    let (process, stream) = start(&socket);
    let frontend = Frontend::new(stream, Patience::new(HANG)).unwrap();
    let mut iommu = Iommu::new(guest.memory.clone());
    for address in [RAM, BUFFER] {
        iommu.map(crate::page(address, address, Permissions::ReadWrite));
    }
    let mut driver = Driver::new(&frontend, &guest, &iommu, 0);
    let bytes = || guest.memory.read_obj::<[u8; 16]>(GuestAddress(BUFFER));
    guest
        .memory
        .write_obj([0xffu8; 16], GuestAddress(BUFFER))
        .unwrap();
    assert_eq!(driver.request(BUFFER), (16, vec![]));
    assert_eq!(bytes().unwrap(), [BYTE; 16]);

    iommu.unmap(BUFFER, BUFFER + PAGE - 1);
    settle(&mut iommu, &frontend);
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
            vec![Notice::Fault {
                iova: BUFFER,
                wanted
            }]
        )
    );
    assert_eq!(bytes().unwrap(), [0xff; 16]);
    assert_eq!(driver.stop(), 2);

    drop(process);
    wait_until(|| !frontend.is_alive());
    wait_until(|| driver.channel.serve(Some(&iommu.space())).is_err());
    iommu.map(crate::page(BUFFER, BUFFER, Permissions::ReadWrite));
    wait_until(|| iommu.is_settled());

    let (_process, stream) = start(&socket);
    let frontend = Frontend::new(stream, Patience::new(HANG)).unwrap();
    let mut driver = Driver::new(&frontend, &guest, &iommu, 0);
    assert_eq!(driver.request(BUFFER), (16, vec![]));
    assert_eq!(bytes().unwrap(), [BYTE; 16]);
}
