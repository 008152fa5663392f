//! Several vCPUs and devices at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_memory::GuestMemoryMmap;

use super::harness::*;
use crate::dma::DmaSpace;
use crate::testing::{DEVICES, Driver, IOVA, VISITOR, all_at_once, wait_until};
use crate::virtio::spec::Status;
use crate::virtio::{EndpointConfig, VirtioIommuConfig};

const BUFFERS: u64 = RAM + 0x20_0000;
const DOMAIN: u32 = 1;

/// The driver: one queue, of which each vCPU waits for its own answers.
struct Shared {
    ram: Arc<GuestMemoryMmap<()>>,
    spaces: Vec<DmaSpace>,
    queue: Mutex<Queue>,
}

struct Queue {
    machine: Machine,
    /// Requests sent so far.
    sent: u64,
    /// Requests whose answers nobody has taken yet, by number.
    open: BTreeSet<u64>,
    /// Answers that nobody has taken yet, by head.
    answered: BTreeMap<u16, u32>,
}

/// A request that was sent.
struct Sent {
    number: u64,
    head: u16,
    writable: Vec<(u64, u32)>,
}

/// Requests after the oldest open one: no descriptor is used again while a thread still looks for
/// its answer.
const WINDOW: u64 = SIZE as u64 / 2 - 2;

impl Queue {
    fn serve(&mut self) {
        self.machine.serve();
        while let Some((head, length)) = self.machine.requests.take_used() {
            self.answered.insert(head as u16, length);
        }
    }

    /// Sends requests if there is room; whether there was.
    fn send(&mut self, requests: &[Vec<u8>], sent: &mut Vec<Sent>) -> bool {
        let oldest = self.open.first().copied().unwrap_or(self.sent);
        if self.sent + requests.len() as u64 > oldest + WINDOW {
            return false;
        }
        for request in requests {
            let parts = [Part::In(request.clone()), Part::Out(4)];
            let (head, writable) = self.machine.requests.send(&parts);
            sent.push(Sent {
                number: self.sent,
                head,
                writable,
            });
            self.open.insert(self.sent);
            self.sent += 1;
        }
        true
    }

    /// Takes the answer to a request if it is there; whether it is.
    fn take(&mut self, sent: &Sent) -> bool {
        let Some(length) = self.answered.remove(&sent.head) else {
            return false;
        };
        assert_eq!(length, 4);
        let answer = self.machine.requests.bytes(&sent.writable);
        assert_eq!(answer, [Status::Ok as u8, 0, 0, 0]);
        self.open.remove(&sent.number);
        true
    }
}

impl Shared {
    fn new() -> Self {
        let endpoints = (0..=VISITOR).map(|device| EndpointConfig::new(device as u32));
        let mut config = VirtioIommuConfig::new(endpoints);
        config.bypass_config = Some(false);
        let machine = Machine::active(config);
        let spaces = (0..=VISITOR).map(|device| machine.dma(device as u32));
        Self {
            ram: Arc::clone(&machine.ram),
            spaces: spaces.collect(),
            queue: Mutex::new(Queue {
                machine,
                sent: 0,
                open: BTreeSet::new(),
                answered: BTreeMap::new(),
            }),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends requests, and waits for all answers; others use the queue meanwhile.
    fn ask(&self, requests: &[Vec<u8>]) {
        let mut sent = Vec::new();
        wait_until(|| self.queue().send(requests, &mut sent));
        wait_until(|| {
            let mut queue = self.queue();
            queue.serve();
            sent.retain(|sent| !queue.take(sent));
            sent.is_empty()
        });
    }

    fn mapping(&self, iova: u64, frame: u64) -> Vec<u8> {
        map_rw(DOMAIN, iova, iova + 0xfff, self.frame(frame))
    }
}

impl Driver for Shared {
    fn ram(&self) -> &GuestMemoryMmap<()> {
        &self.ram
    }

    fn frame(&self, index: u64) -> u64 {
        BUFFERS + index * 0x1000
    }

    fn space(&self, device: u64) -> DmaSpace {
        self.spaces[device as usize].clone()
    }

    fn map(&self, iova: u64, frame: u64) {
        self.ask(&[self.mapping(iova, frame)]);
    }

    fn unmap(&self, iova: u64) {
        self.ask(&[unmap(DOMAIN, iova, iova + 0xfff)]);
    }

    /// Remaps the page in one batch.
    fn remap(&self, iova: u64, frame: u64) {
        let unmapped = unmap(DOMAIN, iova, iova + 0xfff);
        self.ask(&[unmapped, self.mapping(iova, frame)]);
    }

    fn detach(&self, device: u64) {
        self.ask(&[detach(DOMAIN, device as u32)]);
    }

    fn attach(&self, device: u64) {
        self.ask(&[attach(DOMAIN, device as u32)]);
    }

    /// Maps and unmaps a page that nobody uses.
    fn fuss(&self) {
        let iova = IOVA + 0x1000_0000;
        self.map(iova, 1);
        self.unmap(iova);
        let mut queue = self.queue();
        queue.machine.reports();
        queue.machine.log.events.lock().unwrap().clear();
    }
}

#[test]
fn nothing_lands_through_what_was_unmapped_while_many_unmap() {
    let shared = Shared::new();
    for device in 0..DEVICES {
        shared.attach(device);
    }
    shared.attach(VISITOR);
    all_at_once(&shared);
}
