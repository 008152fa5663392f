//! Frames for the guest.

use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestMemoryError};
use vmm_base::warn_guest;

use super::super::budget::Budget;
use super::super::buffers::total;
use super::super::faults::change_chain;
use super::super::{Buffers, Progress, QueueService, ServeError, fetch};
use super::Net;
use super::spec::{HEADER_BYTES, MAX_DESCRIPTORS, NUM_BUFFERS};
use crate::ram::DmaSpace;

/// A chain of the guest's for part of a frame.
struct Room {
    head: u16,
    /// `None` if it makes no sense; then it is given back empty.
    buffers: Option<Buffers>,
    bytes: u64,
}

impl Net {
    /// Gives the guest frames as long as the peer has some and the guest has room.
    pub(super) fn receive(&mut self, turn: QueueService<'_>) -> Result<Progress, ServeError> {
        let QueueService {
            queue, mem, budget, ..
        } = turn;
        let mut used = false;
        // A ring's worth, or a driver that refills it meanwhile would keep this loop going.
        let mut left = queue.size();
        self.starved = false;
        // Room is looked for when there is a frame; until then the guest need not tell of it.
        queue.disable_notification(&mem.pin())?;
        loop {
            self.hold();
            let Some(frame) = self.held.take() else {
                return Ok(Progress { used, more: false });
            };
            if budget.is_spent() || left == 0 {
                self.held = Some(frame);
                return Ok(Progress { used, more: true });
            }
            let Some(rooms) = self.room(queue, mem, budget, HEADER_BYTES + frame.len())? else {
                self.held = Some(frame);
                self.starved = true;
                return Ok(Progress { used, more: false });
            };
            left = left.saturating_sub(u16::try_from(rooms.len()).unwrap_or(u16::MAX));
            self.fill(queue, mem, &rooms, &frame)?;
            budget.spend(frame.len() as u64);
            used = true;
        }
    }

    /// Takes chains for `bytes` bytes off the ring: one, or as many as it takes where the driver
    /// merges buffers. Without enough of them all stay there, and the guest will tell of more.
    fn room(
        &self,
        queue: &mut Queue,
        mem: &DmaSpace,
        budget: &mut Budget,
        bytes: usize,
    ) -> Result<Option<Vec<Room>>, ServeError> {
        let start = queue.next_avail();
        let (mut rooms, mut room) = (Vec::new(), 0);
        let mut announced = false;
        while room < bytes as u64 {
            let Some((head, buffers)) = fetch(queue, mem, MAX_DESCRIPTORS)? else {
                // The ring announces buffers and none could be fetched.
                if announced {
                    return Err(ServeError::Stuck);
                }
                // While the ring looks empty to it: only so does the guest tell of the next buffer,
                // and not of those that are too few.
                announced = queue.enable_notification(&mem.pin())?;
                if announced {
                    continue;
                }
                queue.set_next_avail(start);
                return Ok(None);
            };
            announced = false;
            budget.spend(0);
            let mut buffers = buffers
                .inspect_err(|error| warn_guest!("virtio-net: {error}"))
                .ok();
            if let (Some(faults), Some(buffers)) = (&self.faults, &mut buffers) {
                change_chain(faults, buffers);
            }
            let bytes = buffers.as_ref().map_or(0, |b| total(&b.writable));
            room += bytes;
            let bad = buffers.is_none();
            rooms.push(Room {
                head,
                buffers,
                bytes,
            });
            // A chain that makes no sense has no room, and no other is for the same frame.
            if bad || !self.is_mergeable() {
                break;
            }
        }
        Ok(Some(rooms))
    }

    /// Writes a frame with its header to chains and gives them back; empty ones if that fails, by
    /// which the driver knows that the frame is lost.
    fn fill(
        &mut self,
        queue: &mut Queue,
        mem: &DmaSpace,
        rooms: &[Room],
        frame: &[u8],
    ) -> Result<(), ServeError> {
        let mut data = vec![0; HEADER_BYTES];
        // Linux's driver looks at it only where it merges buffers; else it is 1 (5.1.6.4.1).
        let count = u16::try_from(rooms.len()).unwrap_or(u16::MAX);
        data[NUM_BUFFERS..].copy_from_slice(&count.to_le_bytes());
        data.extend(frame);
        let room: u64 = rooms.iter().map(|room| room.bytes).sum();
        let fits = room >= data.len() as u64 && rooms.iter().all(|r| r.buffers.is_some());
        let written = match fits.then(|| write(mem, rooms, &data)) {
            Some(Ok(written)) => written,
            Some(Err(error)) => {
                warn_guest!("virtio-net: a frame is lost: {error}");
                Vec::new()
            }
            None => {
                warn_guest!("virtio-net: a frame is lost: its buffer has {room} bytes");
                Vec::new()
            }
        };
        if written.is_empty() {
            self.summary.lost += 1;
        } else {
            self.summary.received += 1;
            self.summary.received_bytes += frame.len() as u64;
        }
        for (index, room) in rooms.iter().enumerate() {
            let len = written.get(index).copied().unwrap_or(0);
            queue.add_used(&mem.pin(), room.head, len)?;
        }
        Ok(())
    }
}

/// Writes `data` to chains, one after the other; how much is in each.
fn write(mem: &DmaSpace, rooms: &[Room], mut data: &[u8]) -> Result<Vec<u32>, GuestMemoryError> {
    // One pin: a frame is short.
    let pin = mem.pin();
    let mut written = Vec::new();
    for room in rooms {
        let mut here: u32 = 0;
        for segment in room.buffers.iter().flat_map(|b| &b.writable) {
            let len = data.len().min(segment.len as usize);
            let (now, later) = data.split_at(len);
            pin.write_slice(now, segment.addr)?;
            data = later;
            #[expect(clippy::cast_possible_truncation, reason = "a frame is short")]
            let len = len as u32;
            here += len;
        }
        written.push(here);
    }
    Ok(written)
}
