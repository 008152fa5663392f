//! An entropy device in a process of its own, behind a virtual IOMMU.
//!
//! `cargo run -p viommu-vhost-user --example rng -- SOCKET` serves front ends on a socket, one
//! after the other. Without an argument it serves a front end of its own, which shows what the
//! device reaches; with `drive SOCKET` it is only that front end, for an entropy device of any
//! make.

mod device;
mod iommu;

use std::error::Error;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, SealFlags};
use viommu::Mapping;
use viommu_vhost_user::backend::{DaemonConfig, VhostUserDaemon};
use viommu_vhost_user::frontend::{Frontend, MemoryRegion, Patience, Ring};
use virtio_queue::desc::{RawDescriptor, split::Descriptor};
use virtio_queue::mock::MockSplitQueue;
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap, Permissions};

use iommu::Iommu;

/// Where the guest's memory is, and where the device sees it.
const RAM: u64 = 0x4000_0000;
const SIZE: u64 = 0x1_0000;
const IOVA: u64 = 0x10_0000;
/// The page of the buffer, among the guest's pages.
const BUFFER: u64 = 0x8000;
const PAGE: u64 = 0x1000;
/// How long a back end has for a reply.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a device has for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// `VIRTIO_F_VERSION_1` and `VIRTIO_F_ACCESS_PLATFORM`.
const FEATURES: u64 = 1 << 32 | 1 << 33;
const USAGE: &str = "rng [SOCKET | drive SOCKET]";

fn main() -> Result<(), Box<dyn Error>> {
    let device = Arc::new(device::Rng::new(File::open("/dev/urandom")?));
    let daemon = VhostUserDaemon::new(device, DaemonConfig::default());
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match &arguments[..] {
        [] => {}
        [.., help] if help == "--help" => {
            println!("{USAGE}");
            return Ok(());
        }
        [socket] => loop {
            daemon.serve(socket)?;
        },
        [_, socket] => return show(UnixStream::connect(socket)?),
        _ => return Err(USAGE.into()),
    }
    let (ours, theirs) = UnixStream::pair()?;
    let served = thread::spawn(move || daemon.serve_stream(theirs));
    let shown = show(ours);
    served.join().map_err(|_| "the daemon panicked")??;
    shown
}

/// Does what a VMM and its guest do.
fn show(stream: UnixStream) -> Result<(), Box<dyn Error>> {
    let memfd = rustix::fs::memfd_create("guest", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&memfd, SIZE)?;
    rustix::fs::fcntl_add_seals(
        &memfd,
        SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
    )?;
    let file = Arc::new(File::from(memfd));
    let at = |address| -> Result<GuestMemoryMmap<()>, Box<dyn Error>> {
        let offset = FileOffset::from_arc(Arc::clone(&file), 0);
        let part = (GuestAddress(address), usize::try_from(SIZE)?, Some(offset));
        Ok(GuestMemoryMmap::from_ranges_with_files([part])?)
    };
    // The guest, which uses the device's addresses here.
    let guest = at(IOVA)?;
    let mut iommu = Iommu::new(at(RAM)?);
    let space = iommu.space();

    let frontend = Frontend::new(stream, Patience::new(TIMEOUT))?;
    let offer = frontend.begin()?;
    let mut misses = frontend.open_channel()?;
    let region = MemoryRegion {
        address: RAM,
        size: SIZE,
        offset: 0,
    };
    frontend.set_up(&offer, offer.features & FEATURES, &[(region, &file)])?;
    iommu.backend.set(Some(&frontend));

    // The driver of the IOMMU maps the queue and the buffer.
    for (offset, permissions) in [(0, Permissions::ReadWrite), (BUFFER, Permissions::Write)] {
        let first = IOVA + offset;
        iommu.map(Mapping {
            first,
            last: first + PAGE - 1,
            address: RAM + offset,
            permissions,
        });
    }

    let queue = MockSplitQueue::create(&guest, GuestAddress(IOVA), 16);
    let kick = eventfd(0, EventfdFlags::CLOEXEC)?;
    let call = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let ring = Ring {
        size: 16,
        base: 0,
        descriptors: queue.desc_table_addr().0,
        available: queue.avail_addr().0,
        used: queue.used_addr().0,
        kick: kick.as_fd(),
        call: call.as_fd(),
    };
    frontend.start_ring(&offer, 0, &ring)?;
    for (round, name) in ["mapped", "unmapped"].into_iter().enumerate() {
        let written = 2; // VIRTQ_DESC_F_WRITE
        let buffer = RawDescriptor::from(Descriptor::new(IOVA + BUFFER, 16, written, 0));
        queue.add_desc_chains(&[buffer], 0)?;
        rustix::io::write(&kick, &1u64.to_ne_bytes())?;
        // Some devices give up a request that leads nowhere.
        let end = Instant::now() + PATIENCE;
        while rustix::io::read(&call, &mut [0u8; 8]).is_err() && Instant::now() < end {
            // A VMM polls both.
            misses.serve(Some(&space))?;
        }
        let answers = usize::from(queue.used().idx().load());
        let bytes: [u8; 16] = guest.read_obj(GuestAddress(IOVA + BUFFER))?;
        let found = if bytes == [0; 16] { "zeroes" } else { "random" };
        match answers > round {
            true => {
                let length = queue.used().ring().ref_at(round)?.load().len();
                println!("{name}: {length} bytes, {found}");
            }
            false => println!("{name}: no answer, {found}"),
        }
        guest.write_obj([0u8; 16], GuestAddress(IOVA + BUFFER))?;
        iommu.unmap(IOVA + BUFFER, IOVA + BUFFER + PAGE - 1);
        while !iommu.is_settled() {}
    }
    frontend.end();
    Ok(())
}
