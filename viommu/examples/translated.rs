//! A tiny IOMMU, a virtio queue behind it, and an unmapping that is over when it says so.
//!
//! `cargo run -p viommu --example translated`

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use viommu::{
    Attachment, DmaSpace, DomainId, EndpointId, Fault, FaultReason, Mapping, Miss, Model,
    Requester, TranslationUnit, UnitConfig,
};
use virtio_bindings::bindings::virtio_ring::VRING_DESC_F_WRITE;
use virtio_queue::desc::{RawDescriptor, split::Descriptor};
use virtio_queue::mock::MockSplitQueue;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap, Permissions};

const PAGE: u64 = 0x1000;

/// An IOMMU with one domain: pages by IOVA. A real one reads page tables, or is told by requests.
#[derive(Default)]
struct TinyIommu {
    pages: Mutex<BTreeMap<u64, u64>>,
}

impl Model for TinyIommu {
    fn translate(
        &self,
        _requester: Requester,
        _domain: DomainId,
        iova: u64,
        _wanted: Permissions,
    ) -> Result<Mapping, Miss> {
        // Called under the pin of a bus master: nothing is waited for with this lock held.
        let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let first = iova & !(PAGE - 1);
        let miss = Miss::new(FaultReason::Translation);
        let address = pages.get(&first).ok_or(miss)?;
        Ok(Mapping {
            first,
            last: first + (PAGE - 1),
            address: *address,
            permissions: Permissions::ReadWrite,
        })
    }

    fn fault(&self, fault: &Fault) {
        println!("the guest is told: {fault}");
    }
}

/// Serves as a device: answers each request of its queue in capitals. It knows of no IOMMU.
fn serve(queue: &mut Queue, dma: &DmaSpace) -> Result<(), Box<dyn Error>> {
    loop {
        // The reader and the writer keep slices, so they run on a pinned space: see `DmaSpace`.
        let pinned = dma.pin();
        let Some(chain) = queue.pop_descriptor_chain(&pinned) else {
            return Ok(());
        };
        let head = chain.head_index();
        let mut request = String::new();
        // Reader and writer each consume a chain, and take the descriptors of their direction.
        chain
            .clone()
            .reader(&pinned)?
            .read_to_string(&mut request)?;
        let answer = request.to_uppercase();
        chain.writer(&pinned)?.write_all(answer.as_bytes())?;
        queue.add_used(&pinned, head, answer.len().try_into()?)?;
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let ram = Arc::new(GuestMemoryMmap::from_ranges(&[(
        GuestAddress(0x8000_0000),
        0x10_0000,
    )])?);
    let iommu = Arc::new(TinyIommu::default());
    let domain = DomainId(0);
    // Attached from the start, so the device never sees untranslated memory.
    let config = UnitConfig::new(1, 1).with_initial(Attachment::Domain(domain));
    let model = Arc::clone(&iommu) as Arc<dyn Model>;
    let unit = TranslationUnit::new(Arc::clone(&ram), model, &config, None);
    let dma = unit.space(EndpointId(0));

    // The guest maps eight pages, in an order of its own.
    for page in 0..8 {
        // Neighbours are apart, so that the buffers below are really in two pieces.
        let frame = 0x8000_0000 + (page * 5 % 8) * PAGE;
        let mut pages = iommu.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.insert(page * PAGE, frame);
    }

    // Its driver, for which the mock stands here, sets up a queue and a request that crosses pages.
    let drivers_view = dma.pin();
    let driver = MockSplitQueue::create(&drivers_view, GuestAddress(0), 16);
    let (request, answer) = (GuestAddress(4 * PAGE - 3), GuestAddress(6 * PAGE - 3));
    dma.write_slice(b"hello", request)?;
    let write = u16::try_from(VRING_DESC_F_WRITE)?;
    driver.build_desc_chain(&[
        RawDescriptor::from(Descriptor::new(request.0, 5, 0, 0)),
        RawDescriptor::from(Descriptor::new(answer.0, 5, write, 0)),
    ])?;
    let mut queue: Queue = driver.create_queue()?;
    // A pin that is kept would hold up the unmapping below.
    drop(drivers_view);
    serve(&mut queue, &dma)?;
    println!("used ring at {}", queue.next_used());
    let mut data = [0; 5];
    dma.read_slice(&mut data, answer)?;
    println!("the device answered {:?}", String::from_utf8_lossy(&data));

    // The guest unmaps a page: change the mappings, invalidate, wait, and only then report that it
    // is done.
    iommu
        .pages
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .remove(&(6 * PAGE));
    unit.invalidate_range(domain, 6 * PAGE, 7 * PAGE - 1);
    let mut grace = unit.begin_grace_period();
    // Polled: a VMM would let its vCPUs run in between.
    while !grace.is_over() {
        std::thread::yield_now();
    }
    println!("unmapped; no access lands there any more");
    match dma.read_slice(&mut data, answer) {
        Ok(()) => Err("the page was unmapped".into()),
        Err(error) => {
            println!("the device gets: {error}");
            Ok(())
        }
    }
}
