//! What the examples of models have in common: a device that knows of no IOMMU, and its driver.

use std::error::Error;
use std::io::{Read, Write};
use std::sync::Arc;

use viommu::DmaSpace;
use virtio_bindings::bindings::virtio_ring::VRING_DESC_F_WRITE;
use virtio_queue::desc::{RawDescriptor, split::Descriptor};
use virtio_queue::mock::MockSplitQueue;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

pub const PAGE: u64 = 0x1000;
/// Where RAM is: 1 MiB. The first eight pages are for the queue and its buffers.
pub const RAM: u64 = 0x8000_0000;
/// Where the guest's IOMMU driver may have its tables.
pub const TABLES: u64 = RAM + 0x8_0000;
/// The IOVA of the first of eight pages, where no RAM is.
pub const IOVA: u64 = 0x4000_0000;
/// The page that the examples unmap: the device's answer begins on it.
pub const ANSWER: u64 = IOVA + 5 * PAGE;

/// Returns the guest's RAM.
pub fn ram() -> Result<Arc<GuestMemoryMmap>, Box<dyn Error>> {
    let ranges = [(GuestAddress(RAM), 0x10_0000)];
    Ok(Arc::new(GuestMemoryMmap::from_ranges(&ranges)?))
}

/// Returns the eight pages, IOVA and RAM, that the guest maps. Neighbours are apart in RAM, so that
/// buffers that cross pages are really in two pieces.
pub fn pages() -> impl Iterator<Item = (u64, u64)> {
    (0..8).map(|page| (IOVA + page * PAGE, RAM + page * 5 % 8 * PAGE))
}

/// Answers each request of a queue in capitals.
fn serve(queue: &mut Queue, dma: &DmaSpace) -> Result<(), Box<dyn Error>> {
    // Everything that is used of the memory is used under one pin: see `DmaSpace`.
    let pinned = dma.pin();
    while let Some(chain) = queue.pop_descriptor_chain(&pinned) {
        let head = chain.head_index();
        let mut request = String::new();
        chain
            .clone()
            .reader(&pinned)?
            .read_to_string(&mut request)?;
        let answer = request.to_uppercase();
        chain.writer(&pinned)?.write_all(answer.as_bytes())?;
        queue.add_used(&pinned, head, answer.len().try_into()?)?;
    }
    Ok(())
}

/// Has a driver, for which virtio-queue's mock stands, send a request by way of the eight pages,
/// and a device on `dma` answer it.
pub fn exchange(dma: &DmaSpace) -> Result<(), Box<dyn Error>> {
    let driver = dma.pin();
    let queue = MockSplitQueue::create(&driver, GuestAddress(IOVA), 16);
    let (request, answer) = (
        GuestAddress(IOVA + 4 * PAGE - 3),
        GuestAddress(ANSWER + PAGE - 3),
    );
    dma.write_slice(b"hello", request)?;
    let write = u16::try_from(VRING_DESC_F_WRITE)?;
    queue.build_desc_chain(&[
        RawDescriptor::from(Descriptor::new(request.0, 5, 0, 0)),
        RawDescriptor::from(Descriptor::new(answer.0, 5, write, 0)),
    ])?;
    serve(&mut queue.create_queue()?, dma)?;
    let mut data = [0; 5];
    dma.read_slice(&mut data, answer)?;
    println!("the device answered {:?}", String::from_utf8_lossy(&data));
    if &data == b"HELLO" {
        Ok(())
    } else {
        Err("that is not the answer".into())
    }
}

/// Checks that the page of the answer cannot be reached any more, while its neighbour can.
pub fn check_unmapped(dma: &DmaSpace) -> Result<(), Box<dyn Error>> {
    dma.read_obj::<u8>(GuestAddress(ANSWER + PAGE))?;
    match dma.read_obj::<u8>(GuestAddress(ANSWER)) {
        Ok(_) => Err("the page was unmapped".into()),
        Err(error) => {
            println!("the device gets: {error}");
            Ok(())
        }
    }
}
