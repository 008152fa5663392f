//! A virtio queue behind a virtio-iommu.
//!
//! `cargo run -p viommu --example virtio`

mod queue;

use std::error::Error;

use queue::{ANSWER, PAGE, TABLES};
use viommu::virtio::{EndpointConfig, Observers, VirtioIommu, VirtioIommuConfig, spec};
use virtio_bindings::bindings::virtio_ring::VRING_DESC_F_WRITE;
use virtio_queue::desc::{RawDescriptor, split::Descriptor};
use virtio_queue::mock::MockSplitQueue;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// The device's endpoint, and the driver's domain for it.
const ENDPOINT: u32 = 8;
const DOMAIN: u32 = 1;
/// Where the driver of the virtio-iommu has its requests, behind the rings of their queue.
const REQUESTS: GuestAddress = GuestAddress(TABLES + 0x4000);

/// Sends requests of the guest's driver: by a queue that has room for all of them, in guest memory,
/// which is what a virtio-iommu itself sees.
fn send(
    ram: &GuestMemoryMmap,
    iommu: &mut VirtioIommu,
    requests: &[Vec<u8>],
) -> Result<(), Box<dyn Error>> {
    let driver = MockSplitQueue::create(ram, GuestAddress(TABLES), 64);
    let write = u16::try_from(VRING_DESC_F_WRITE)?;
    let mut descriptors = Vec::new();
    let mut at = REQUESTS;
    let mut tails = Vec::new();
    for request in requests {
        ram.write_slice(request, at)?;
        let length = u32::try_from(request.len())?;
        let tail = GuestAddress(at.0 + u64::from(length));
        let next = u16::try_from(descriptors.len() + 1)?;
        // VIRTQ_DESC_F_NEXT is 1.
        descriptors.push(RawDescriptor::from(Descriptor::new(at.0, length, 1, next)));
        descriptors.push(RawDescriptor::from(Descriptor::new(tail.0, 4, write, 0)));
        tails.push(tail);
        at = GuestAddress(at.0 + 0x80);
    }
    driver.add_desc_chains(&descriptors, 0)?;
    let mut queue = driver.create_queue()?;
    let mut served = iommu.process_requests(&mut queue, ram)?;
    // Pending while a device uses what was unmapped. A VMM would let its vCPUs run in between.
    while served.pending {
        std::thread::yield_now();
        served = iommu.poll(&mut queue, ram)?;
    }
    for tail in tails {
        let status: u8 = ram.read_obj(tail)?;
        if status != spec::Status::Ok as u8 {
            return Err(format!("a request was answered with status {status}").into());
        }
    }
    Ok(())
}

/// Returns a request: its type, the domain, and the rest.
fn request(kind: u8, rest: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 0];
    bytes.extend(DOMAIN.to_le_bytes());
    rest.iter().for_each(|field| bytes.extend(*field));
    bytes
}

fn main() -> Result<(), Box<dyn Error>> {
    let ram = queue::ram()?;
    let config = VirtioIommuConfig::new([EndpointConfig::new(ENDPOINT)]);
    // A VMM's transport passes accepted features, the configuration space and the queues; the
    // closure tells it that fault reports wait for the event queue.
    let waiting = Box::new(|| println!("a fault report waits"));
    let mut iommu = VirtioIommu::new(ram.clone(), config, waiting, Observers::default())?;
    iommu.activate(iommu.offered_features())?;

    // The guest's driver attaches the endpoint to a domain, and maps pages.
    let attach = [&ENDPOINT.to_le_bytes()[..], &[0; 8]];
    let mut requests = vec![request(spec::request_type::ATTACH, &attach)];
    let flags = spec::map_flag::READ | spec::map_flag::WRITE;
    for (iova, page) in queue::pages() {
        let (first, last) = (iova.to_le_bytes(), (iova + PAGE - 1).to_le_bytes());
        let rest = [&first[..], &last, &page.to_le_bytes(), &flags.to_le_bytes()];
        requests.push(request(spec::request_type::MAP, &rest));
    }
    send(&ram, &mut iommu, &requests)?;

    // A device needs to know nothing of that.
    let dma = iommu.space(ENDPOINT).ok_or("there is one")?;
    queue::exchange(&dma)?;

    // The driver unmaps a page; when the request is answered, no access lands there any more.
    let (first, last) = (ANSWER.to_le_bytes(), (ANSWER + PAGE - 1).to_le_bytes());
    let unmap = request(spec::request_type::UNMAP, &[&first, &last, &[0; 4]]);
    send(&ram, &mut iommu, &[unmap])?;
    queue::check_unmapped(&dma)?;
    if iommu.waiting_reports() == 1 {
        Ok(())
    } else {
        Err("the fault is not reported".into())
    }
}
