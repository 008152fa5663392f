//! Serving the queues.

use virtio_queue::{Error as QueueError, Queue, QueueOwnedT, QueueT};
use vm_memory::GuestMemory;

use super::batch::Answer;
use super::chain::ScatteredWord;
use super::config::{Exchange, ReservedKind};
use super::device::VirtioIommu;
use super::domains::{Effects, Refusal};
use super::requests::Request;
use super::spec::{Status, TAIL_SIZE, fault, feature, property, readable_size};
use crate::attachment::Attachment;
use crate::host::StableHostMemory;

/// How often a batch looks whether accesses that were under way have ended, before it is left
/// pending.
const ROUNDS: u32 = 64;

/// What serving a queue came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// At least one buffer was used: notify the driver, if it wants that.
    pub used: bool,
    /// More buffers are available: serve the queue again, after others have had a turn.
    pub more: bool,
    /// Requests are executed but not answered, as a device is still using what they removed: call
    /// [`VirtioIommu::poll`] until this is false.
    pub pending: bool,
}

/// What is left of a turn of serving requests.
///
/// A request takes about as long as another, except for those that remove mappings: these take a
/// time in proportion to how many they remove. No request is cut in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests that may be executed.
    pub requests: u16,
    /// Mappings that may be removed before no other request is begun.
    pub mappings: usize,
}

impl Quota {
    /// A ring's worth of requests, whatever they remove.
    pub const RING: Self = Self {
        requests: u16::MAX,
        mappings: usize::MAX,
    };

    /// Returns whether no further request may be begun.
    pub const fn is_used_up(&self) -> bool {
        self.requests == 0 || self.mappings == 0
    }
}

/// Why a queue cannot be served. The device then needs a reset.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The rings are out of reach or make no sense.
    #[error("{0}")]
    Queue(#[from] QueueError),
    /// Buffers are announced but cannot be fetched.
    #[error("the available ring announces buffers that cannot be fetched")]
    Stuck,
}

impl<M: StableHostMemory> VirtioIommu<M> {
    /// Serves the request queue, whose rings and buffers are in `mem`: everything that is available
    /// when it is called, at most one ring's worth.
    ///
    /// A ring is one batch: all requests are executed in their order, then all that they removed is
    /// invalidated at once and waited for at once, then all are answered. No answer is given while
    /// an access that began before may still use what the batch removed. This waits a moment for
    /// that, never longer: then the batch stays pending, and [`VirtioIommu::poll`] is to be called
    /// until it is not. No lock is held meanwhile.
    ///
    /// `mem` is plain guest memory, or a pinned [`DmaSpace`](crate::DmaSpace) of another unit: a
    /// pin of this device's own would be waited for.
    ///
    /// # Errors
    /// If the queue itself is broken. A bad request is answered instead.
    pub fn process_requests(
        &mut self,
        queue: &mut Queue,
        mem: &impl GuestMemory,
    ) -> Result<Served, ServeError> {
        self.process_requests_within(queue, mem, &mut Quota::RING.clone())
    }

    /// Serves the request queue as [`VirtioIommu::process_requests`] does, within `quota`, which is
    /// used up by what is done. What is left over is told by [`Served::more`].
    ///
    /// # Errors
    /// As [`VirtioIommu::process_requests`].
    pub fn process_requests_within(
        &mut self,
        queue: &mut Queue,
        mem: &impl GuestMemory,
        quota: &mut Quota,
    ) -> Result<Served, ServeError> {
        if !queue.ready() {
            // Before anything is written to a ring that is nowhere.
            return Err(QueueError::QueueNotReady.into());
        }
        let mut served = Served::default();
        // The batch before comes first: answers are given in the order of requests.
        if !self.settle(queue, mem, &mut served)? {
            return Ok(served);
        }
        // A driver that adds requests without end must not keep the thread for ever.
        let mut left = queue.size();
        loop {
            // What the driver adds from here on is found by the look at the end, without a
            // notification.
            queue.disable_notification(mem)?;
            let before = left;
            while self.collect(queue, mem, &mut left, quota)? {
                self.commit_listeners();
                self.batch.seal(&self.unit, self.shared.injected.as_ref());
                if !self.settle(queue, mem, &mut served)? {
                    // Notifications stay off: the transport polls until the batch is answered.
                    return Ok(served);
                }
            }
            // This looks again: what came just before notifications were on was not announced.
            served.more = queue.enable_notification(mem)?;
            if !served.more || left == 0 || quota.is_used_up() {
                return Ok(served);
            }
            // The ring says that there is more, and nothing could be fetched: another turn would be
            // the same.
            if left == before {
                return Err(ServeError::Stuck);
            }
        }
    }

    /// Goes on with a batch that is pending, and then with the queue. Does nothing if none is
    /// pending.
    ///
    /// # Errors
    /// As [`VirtioIommu::process_requests`].
    pub fn poll(
        &mut self,
        queue: &mut Queue,
        mem: &impl GuestMemory,
    ) -> Result<Served, ServeError> {
        if self.is_pending() {
            self.process_requests(queue, mem)
        } else {
            Ok(Served::default())
        }
    }

    /// Returns whether the request queue waits for the end of accesses that are under way.
    pub fn is_pending(&self) -> bool {
        self.batch.pending
    }

    /// Answers a batch if no access uses any more what it removed; returns whether that is so.
    fn settle(
        &mut self,
        queue: &mut Queue,
        mem: &impl GuestMemory,
        served: &mut Served,
    ) -> Result<bool, ServeError> {
        served.pending = !self.batch.is_over(ROUNDS) || !self.listeners_are_settled();
        self.batch.pending = served.pending;
        if served.pending {
            return Ok(false);
        }
        // Only now: an access that was under way may have asked for a slot by its old meaning.
        if !self.batch.freed.is_empty() {
            self.shared.domains_mut().reuse(&mut self.batch.freed);
        }
        if self.batch.answers.is_empty() {
            // No request was served yet, or a reset has dropped the answers.
            return Ok(true);
        }
        for Answer {
            head,
            written,
            tail,
        } in self.batch.answers.drain(..)
        {
            // A tail out of reach: the buffer is given back unwritten.
            let written = match tail {
                Some((place, status)) if place.write(mem, [status as u8, 0, 0, 0]) => written,
                _ => 0,
            };
            queue.add_used(mem, head, written)?;
            served.used = true;
        }
        Ok(true)
    }

    /// Executes what is available, as far as `quota` goes and as long as there are slots for new
    /// domains. Returns whether there was anything.
    fn collect(
        &mut self,
        queue: &mut Queue,
        mem: &impl GuestMemory,
        left: &mut u16,
        quota: &mut Quota,
    ) -> Result<bool, ServeError> {
        let longest = readable_size::MAX + TAIL_SIZE;
        let longest = longest + self.config.probe_size.unwrap_or(0) as usize;
        let mut chains = queue.iter(mem)?;
        while *left > 0 && !quota.is_used_up() {
            let Some(chain) = chains.next() else {
                break;
            };
            let head = chain.head_index();
            // The longest request, each byte in a descriptor of its own: with more something is
            // wrong.
            let sound = self.batch.chain.take(chain, longest);
            let mut answer = Answer {
                head,
                written: 0,
                tail: None,
            };
            let later = sound && self.answer(mem, &mut answer).is_err();
            if later {
                // It is fetched again when the batch before it is complete and has given its slots
                // back.
                chains.go_to_previous_position();
                break;
            }
            let removed = std::mem::take(&mut self.batch.removed);
            // Saturates: a request that removes more than is left is executed all the same.
            quota.mappings = quota.mappings.saturating_sub(removed);
            // Not 0, as the loop has just asked the quota.
            quota.requests -= 1;
            self.batch.answers.push(answer);
            *left -= 1;
        }
        Ok(!self.batch.answers.is_empty())
    }

    /// Executes the request in the chain at hand.
    #[expect(clippy::cast_possible_truncation, reason = "a tail has 4 bytes")]
    fn answer(&mut self, mem: &impl GuestMemory, answer: &mut Answer) -> Result<(), Later> {
        let mut bytes = [0; readable_size::MAX];
        // Without its bytes it cannot be parsed, so it is given back unwritten.
        let Some(length) = self.batch.chain.read(mem, &mut bytes) else {
            return Ok(());
        };
        let bytes = &bytes[..length];
        let request = Request::parse(bytes).ok();
        let mut properties = Vec::new();
        // A type whose feature was not negotiated is treated as one that is unknown.
        match request.filter(|request| self.has(request)) {
            None => {}
            // Its tail comes after the properties, not at the first writable byte.
            Some(Request::Probe { endpoint }) => {
                properties = self.probe(mem, endpoint, answer);
            }
            Some(request) => {
                // Before it is executed: what cannot be answered must change nothing.
                let Some(place) = self.batch.chain.place(0) else {
                    return Ok(());
                };
                let put_in = self.shared.injected.as_ref();
                let status = match put_in.and_then(|i| i.injector.request(&request)) {
                    Some(status) => status,
                    None => self.execute(request)?,
                };
                answer.written = TAIL_SIZE as u32;
                answer.tail = Some((place, status));
            }
        }
        if let Some(observer) = &self.observer {
            observer.executed(&Exchange {
                readable: bytes,
                writable: self.batch.chain.writable(),
                request,
                properties: &properties,
                status: answer.tail.map(|(_, status)| status),
                written: answer.written,
            });
        }
        Ok(())
    }

    /// Returns whether this type of request is available with the features that are negotiated.
    fn has(&self, request: &Request) -> bool {
        let needed = match request {
            Request::Attach { .. } | Request::Detach { .. } => 0,
            Request::Map { .. } | Request::Unmap { .. } => feature::MAP_UNMAP,
            Request::Probe { .. } => feature::PROBE,
        };
        self.shared.domains().features & needed == needed
    }

    /// Executes a request other than PROBE.
    fn execute(&mut self, request: Request) -> Result<Status, Later> {
        let mappings = self.shared.domains().mapping_count();
        // Translations are invalidated and mappings freed without the lock, for which bus masters
        // wait.
        let result = if self.listeners.is_empty() {
            self.shared.domains_mut().request(&request)
        } else {
            self.request_with_listeners(&request)
        };
        // Saturates at 0 for MAP, after which there are more.
        let left = self.shared.domains().mapping_count();
        self.batch.removed += mappings.saturating_sub(left);
        match result {
            Ok(effects) => self.note(effects),
            Err(Refusal::Status(status)) => return Ok(status),
            Err(Refusal::Later) => return Err(Later),
        }
        Ok(Status::Ok)
    }

    /// Executes PROBE (5.13.6.7). The used length counts from the first writable byte, so what
    /// comes before the tail is always written: as zeros, which are no property, if there is none.
    /// Returns what was written.
    fn probe(&mut self, mem: &impl GuestMemory, endpoint: u32, answer: &mut Answer) -> Vec<u8> {
        let chain = &self.batch.chain;
        let size = self.config.probe_size.unwrap_or(0) as usize;
        // Not even a status fits: the used length stays 0.
        let Some(room) = chain.writable().checked_sub(TAIL_SIZE as u64) else {
            return Vec::new();
        };
        let listed = size.min(usize::try_from(room).unwrap_or(size));
        let mut list = vec![0; listed];
        let position = self.shared.domains().endpoint(endpoint);
        let status = match position {
            None => Status::NoEnt,
            // Whatever this endpoint has to list: the driver must provide `probe_size` bytes.
            Some(_) if listed < size => Status::Inval,
            Some(position) => {
                self.list_properties(position, &mut list);
                Status::Ok
            }
        };
        let place = chain.place(listed as u64);
        let Some(place) = place.filter(|_| chain.write(mem, 0, &list)) else {
            return Vec::new();
        };
        answer.written = u32::try_from(listed + TAIL_SIZE).unwrap_or(u32::MAX);
        answer.tail = Some((place, status));
        list
    }

    /// Writes the properties of an endpoint into `list`, which is large enough.
    fn list_properties(&self, position: usize, list: &mut [u8]) {
        let domains = self.shared.domains();
        let regions = domains.endpoints.get(position).map(|e| &e.reserved);
        let places = list.chunks_exact_mut(property::RESV_MEM_SIZE);
        for (region, place) in regions.into_iter().flatten().zip(places) {
            place[0..2].copy_from_slice(&property::RESV_MEM.to_le_bytes());
            place[2..4].copy_from_slice(&property::RESV_MEM_LENGTH.to_le_bytes());
            place[4] = match region.kind {
                ReservedKind::Reserved => property::SUBTYPE_RESERVED,
                ReservedKind::Msi => property::SUBTYPE_MSI,
            };
            place[8..16].copy_from_slice(&region.first.to_le_bytes());
            place[16..24].copy_from_slice(&region.last.to_le_bytes());
        }
    }

    /// Serves the event queue: writes the fault reports that are waiting into the driver's buffers.
    ///
    /// To be called when the driver notifies that queue, and when
    /// [`ReportsWaiting`](super::ReportsWaiting) says so. A buffer that is too small, or out of
    /// reach, is given back unwritten. Until the driver has set up the queue, reports wait.
    ///
    /// # Errors
    /// If the queue itself is broken.
    pub fn process_events(
        &mut self,
        queue: &mut Queue,
        mem: &impl GuestMemory,
    ) -> Result<Served, ServeError> {
        let mut served = Served::default();
        if !queue.ready() {
            return Ok(served);
        }
        // Each round uses up a buffer: at most a ring's worth in one turn.
        for _ in 0..queue.size() {
            let front = self.shared.reports().waiting.front().copied();
            let Some(report) = front else {
                break;
            };
            let Some(chain) = queue.iter(mem)?.next() else {
                break;
            };
            let head = chain.head_index();
            // The lock is not held here: this very access may be refused, and be reported.
            let sound = self.batch.chain.take(chain, fault::SIZE);
            let fits = sound && self.batch.chain.writable() >= fault::SIZE as u64;
            let written = fits && self.batch.chain.write(mem, 0, &report.to_bytes());
            if written {
                // Nobody else takes reports out meanwhile: the first is still this one.
                self.shared.reports().delivered();
            }
            #[expect(clippy::cast_possible_truncation, reason = "a report has a fixed size")]
            let length = if written { fault::SIZE as u32 } else { 0 };
            queue.add_used(mem, head, length)?;
            served.used = true;
        }
        let available = queue.enable_notification(mem)?;
        served.more = available && self.waiting_reports() > 0;
        Ok(served)
    }
}

impl<M> VirtioIommu<M> {
    /// Tells the translation path what a request changed.
    pub(super) fn note(&mut self, effects: Effects) {
        let Effects {
            attach,
            invalid,
            freed,
            garbage,
        } = effects;
        if let Some((endpoint, to)) = attach {
            let from = self.unit.attachment(endpoint);
            if from != to {
                // Accesses that are under way may be using the old attachment, if it led anywhere.
                self.batch.changed |= from != Attachment::Blocked;
                self.unit.attach(endpoint, to);
            }
        }
        if let Some((slot, first, last)) = invalid {
            self.batch.invalidate(slot, first, last);
        }
        // Not free yet: accesses under way may ask for this slot until the grace period is over.
        self.batch.freed.extend(freed);
        drop(garbage);
    }
}

/// A request must wait for the batch before it to be complete.
#[derive(Clone, Copy, Debug)]
struct Later;

const _: () = assert!(size_of::<ScatteredWord>() <= 64);
