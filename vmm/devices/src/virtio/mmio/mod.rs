//! The MMIO transport, version 2 (4.2): a register file over `virtio-queue`.
//!
//! | offered | |
//! |---|---|
//! | VIRTIO_F_VERSION_1 | required of the driver: there is no legacy interface |
//! | VIRTIO_F_RING_RESET, VIRTIO_RING_F_EVENT_IDX, INDIRECT_DESC | unless the device does without |
//! | VIRTIO_F_ACCESS_PLATFORM | when the configuration says so; then required of the driver |
//! | packed rings, in-order, notification data, shared memory | not offered |
//!
//! Whatever a driver writes, in whatever order, changes this state or is ignored with a warning;
//! nothing it can write makes the machine fail.

mod elsewhere;
mod faults;
mod later;
mod status;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use crate::ram::DmaSpace;
use serde::{Deserialize, Serialize};
use virtio_bindings::virtio_config::*;
use virtio_bindings::virtio_mmio::*;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_queue::{Queue, QueueT};
use vm_device::MutDeviceMmio;
use vm_device::bus::{MmioAddress, MmioAddressOffset};

use super::budget::Halts;
use super::kick::{Kick, Pending};
use super::schedule::Deferred;
use super::waits::{Waiting, Waits};
use super::{Due, Progress, QueueService, ServeError, VirtioDevice};
use later::Pace;
use vmm_base::{Interrupt, warn_guest};
use vmm_faults::DeviceFaults;
use vmm_faults::spec::QueueFault;

/// "virt" (4.2.2).
const MAGIC: u32 = 0x7472_6976;
/// Version 2: not legacy.
const VERSION: u32 = 2;
/// Vendor identifier; any value will do ("VIMU").
const VENDOR: u32 = 0x554d_4956;
/// Resets the selected queue (4.2.2, with VIRTIO_F_RING_RESET); virtio-bindings has no name for it.
const VIRTIO_MMIO_QUEUE_RESET: u32 = 0xc0;

const fn bit(feature: u32) -> u64 {
    1 << feature
}

const fn bit_if(offered: bool, feature: u32) -> u64 {
    (offered as u64) << feature
}

/// The registers of the transport that the driver has written, apart from those of queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers {
    /// Device status (2.1).
    pub status: u32,
    /// Features that the driver accepts.
    pub driver_features: u64,
    /// The half of the device's features that is shown.
    pub device_features_sel: u32,
    /// The half of the driver's features that is written.
    pub driver_features_sel: u32,
    /// The selected queue.
    pub queue_sel: u32,
    /// Reasons for the interrupt.
    pub interrupt_status: u32,
    /// Changes of the configuration space.
    pub config_generation: u32,
}

/// One virtio-mmio slot with a device in it.
pub struct VirtioMmio {
    pub(super) device: Box<dyn VirtioDevice>,
    mem: DmaSpace,
    interrupt: Arc<dyn Interrupt>,
    access_platform: bool,
    pub(super) queues: Vec<Queue>,
    pub(super) regs: Registers,
    /// One for each queue when another thread serves them; none when they are served at the
    /// notification.
    kicks: Vec<Kick>,
    /// Whether the registers show no virtio device.
    broken: bool,
    /// Faults that are put in, if any may be.
    faults: Option<DeviceFaults>,
    /// The amount of work that is done at a time.
    pace: Pace,
    /// Queues that are to be served again in a later turn.
    deferred: Option<Deferred>,
    /// Queues that its device serves by itself, in host time.
    alarm: Option<Due>,
    /// Queues of the machine that wait for the host.
    waits: Arc<Waits>,
}

impl VirtioMmio {
    /// Creates a slot at reset. `mem` is all that the device can reach.
    ///
    /// # Panics
    /// The device has a queue whose size is no power of two.
    pub fn new(
        device: Box<dyn VirtioDevice>,
        mem: DmaSpace,
        interrupt: Arc<dyn Interrupt>,
        access_platform: bool,
    ) -> Self {
        let queue =
            |size: &u16| Queue::new(*size).expect("queue sizes of devices are powers of two");
        let queues = device.queue_sizes().iter().map(queue).collect();
        Self {
            device,
            mem,
            interrupt,
            access_platform,
            queues,
            regs: Registers::default(),
            kicks: Vec::new(),
            broken: false,
            faults: None,
            pace: Pace::Alone,
            deferred: None,
            alarm: None,
            waits: Arc::default(),
        }
    }

    /// Makes the slot one whose magic number is wrong: a driver's probe fails.
    pub fn set_broken(&mut self) {
        self.broken = true;
    }

    /// Has faults put in where the driver notifies the device.
    pub fn set_faults(&mut self, faults: DeviceFaults) {
        self.faults = Some(faults);
    }

    /// Lets notifications send a kick for each queue instead of serving it at once, and counts them
    /// in `pending`. Who holds the kicks takes them and calls [`Self::process_queue`]. Work pauses
    /// when `halts` says so.
    ///
    /// # Errors
    /// The host has no file descriptors left.
    pub fn defer(&mut self, pending: &Pending, halts: &Arc<Halts>) -> io::Result<Vec<Kick>> {
        self.kicks = self
            .queues
            .iter()
            .map(|_| Kick::new(Arc::clone(pending)))
            .collect::<io::Result<_>>()?;
        // The device gets descriptors of its own, as a wait may outlast a call, and end on another
        // thread.
        let copies = || self.kicks.iter().map(Kick::try_clone);
        let theirs = copies().collect::<io::Result<_>>()?;
        let waiting = Waiting::kicking(Arc::clone(&self.waits), theirs);
        self.device.set_waiting(waiting);
        let kicks = copies().collect();
        self.pace = Pace::Host(Arc::clone(halts));
        kicks
    }

    /// Returns the kicks of [`Self::defer`]: what writes to the event of one of them notifies its
    /// queue.
    pub fn kicks(&self) -> &[Kick] {
        &self.kicks
    }

    /// Sends the kick of queue `index`. Returns false if queues are not served elsewhere.
    fn kick(&self, index: usize) -> bool {
        let Some(kick) = self.kicks.get(index) else {
            return false;
        };
        kick.send();
        true
    }

    /// Takes back all kicks that nobody has seen.
    fn take_kicks_back(&self) {
        // They are over when they are dropped.
        self.kicks.iter().for_each(|kick| drop(kick.take()));
    }

    /// Returns the device in the slot.
    pub fn device(&self) -> &dyn VirtioDevice {
        self.device.as_ref()
    }

    /// Returns the device in the slot, to change what it knows.
    pub fn device_mut(&mut self) -> &mut dyn VirtioDevice {
        self.device.as_mut()
    }

    /// Returns what the driver has told the transport.
    pub fn registers(&self) -> Registers {
        self.regs
    }

    /// Returns the features offered.
    pub fn offered(&self) -> u64 {
        self.device.features()
            | bit(VIRTIO_F_VERSION_1)
            | self.device.ring_features()
            | bit_if(self.access_platform, VIRTIO_F_ACCESS_PLATFORM)
    }

    /// Reads `size` bytes at `offset`. Registers are words; the configuration space has any size up
    /// to 8.
    pub fn read(&self, offset: u64, size: usize) -> u64 {
        if offset >= u64::from(VIRTIO_MMIO_CONFIG) {
            return self.read_config(offset - u64::from(VIRTIO_MMIO_CONFIG), size);
        }
        if size != 4 || !offset.is_multiple_of(4) {
            warn_guest!("virtio-mmio: {size}-byte read at {offset:#x}: reads as zero");
            return 0;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the registers end below the configuration space"
        )]
        let offset = offset as u32;
        u64::from(self.shown(offset, self.read_register(offset)))
    }

    fn read_register(&self, offset: u32) -> u32 {
        let queue = self.queues.get(self.regs.queue_sel as usize);
        match offset {
            VIRTIO_MMIO_MAGIC_VALUE if self.broken => 0,
            VIRTIO_MMIO_MAGIC_VALUE => MAGIC,
            VIRTIO_MMIO_VERSION => VERSION,
            VIRTIO_MMIO_DEVICE_ID => self.device.id(),
            VIRTIO_MMIO_VENDOR_ID => VENDOR,
            VIRTIO_MMIO_DEVICE_FEATURES => half(self.offered(), self.regs.device_features_sel),
            VIRTIO_MMIO_QUEUE_NUM_MAX => queue.map_or(0, |q| u32::from(q.max_size())),
            VIRTIO_MMIO_QUEUE_READY => queue.map_or(0, |q| u32::from(q.ready())),
            VIRTIO_MMIO_INTERRUPT_STATUS => self.regs.interrupt_status,
            VIRTIO_MMIO_STATUS => self.regs.status,
            // No shared memory region exists: length -1 (4.2.2).
            VIRTIO_MMIO_SHM_LEN_LOW..=VIRTIO_MMIO_SHM_BASE_HIGH => u32::MAX,
            VIRTIO_MMIO_CONFIG_GENERATION => self.regs.config_generation,
            // A reset of a queue is over when the write returns.
            VIRTIO_MMIO_QUEUE_RESET => 0,
            _ => {
                // Registers that are only written, and those that do not exist.
                warn_guest!("virtio-mmio: read of register {offset:#x}: reads as zero");
                0
            }
        }
    }

    fn read_config(&self, offset: u64, size: usize) -> u64 {
        let mut bytes = [0; 8];
        let config = usize::try_from(offset)
            .ok()
            .and_then(|at| self.device.config().get(at..))
            .unwrap_or(&[]);
        for (to, from) in bytes.iter_mut().zip(config).take(size) {
            *to = *from;
        }
        // What is beyond the configuration space is zero.
        u64::from_le_bytes(bytes)
    }

    /// Writes to the configuration space. A change that the driver can read counts the generation
    /// up (2.5.1), by which it can tell an old value from a new one.
    fn write_config(&mut self, offset: u64, size: usize, value: u64) {
        let before = self.device.config().to_vec();
        let bytes = value.to_le_bytes();
        self.device.write_config(offset, &bytes[..size.min(8)]);
        if self.device.config() != before {
            // Drivers only compare it, so that it may wrap.
            self.regs.config_generation = self.regs.config_generation.wrapping_add(1);
        }
    }

    /// Writes the low `size` bytes of `value` at `offset`.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the registers end below the configuration space, and have 4 bytes"
    )]
    pub fn write(&mut self, offset: u64, size: usize, value: u64) {
        if let Some(offset) = offset.checked_sub(u64::from(VIRTIO_MMIO_CONFIG)) {
            self.write_config(offset, size, value);
            return;
        }
        if size != 4 || !offset.is_multiple_of(4) {
            warn_guest!("virtio-mmio: {size}-byte write at {offset:#x}: ignored");
            return;
        }
        let Some(value) = self.taken(offset as u32, value as u32) else {
            return;
        };
        match offset as u32 {
            VIRTIO_MMIO_DEVICE_FEATURES_SEL => self.regs.device_features_sel = value,
            VIRTIO_MMIO_DRIVER_FEATURES_SEL => self.regs.driver_features_sel = value,
            VIRTIO_MMIO_DRIVER_FEATURES => self.set_driver_features(value),
            VIRTIO_MMIO_QUEUE_SEL => self.regs.queue_sel = value,
            VIRTIO_MMIO_QUEUE_NOTIFY => self.notify(value as usize),
            VIRTIO_MMIO_INTERRUPT_ACK => self.acknowledge(value),
            VIRTIO_MMIO_STATUS => self.set_status(value),
            VIRTIO_MMIO_SHM_SEL => {}
            VIRTIO_MMIO_QUEUE_RESET if value == 1 => self.reset_queue(),
            register => self.write_queue(register, value),
        }
    }

    fn write_queue(&mut self, register: u32, value: u32) {
        let negotiated = self.regs.status & VIRTIO_CONFIG_S_FEATURES_OK != 0;
        let event_idx = self.regs.driver_features & bit(VIRTIO_RING_F_EVENT_IDX) != 0;
        let index = self.regs.queue_sel;
        // Queues are set up after features were negotiated (3.1.1): what they are may depend on
        // these.
        let Some(queue) = self.queues.get_mut(index as usize).filter(|_| negotiated) else {
            warn_guest!("virtio-mmio: write {value:#x} to {register:#x} without a queue: ignored");
            return;
        };
        if register == VIRTIO_MMIO_QUEUE_READY {
            // Features were negotiated before, and this one holds from the queue's first buffer on.
            queue.set_event_idx(event_idx);
            queue.set_ready(value & 1 != 0);
            return;
        }
        if queue.ready() {
            warn_guest!("virtio-mmio: write {value:#x} to {register:#x} of a live queue: ignored");
            return;
        }
        // virtio-queue itself refuses sizes that are no powers of two and addresses that are not
        // aligned.
        match register {
            // A size that does not fit becomes 0, which is refused, too.
            VIRTIO_MMIO_QUEUE_NUM => queue.set_size(u16::try_from(value).unwrap_or(0)),
            VIRTIO_MMIO_QUEUE_DESC_LOW => queue.set_desc_table_address(Some(value), None),
            VIRTIO_MMIO_QUEUE_DESC_HIGH => queue.set_desc_table_address(None, Some(value)),
            VIRTIO_MMIO_QUEUE_AVAIL_LOW => queue.set_avail_ring_address(Some(value), None),
            VIRTIO_MMIO_QUEUE_AVAIL_HIGH => queue.set_avail_ring_address(None, Some(value)),
            VIRTIO_MMIO_QUEUE_USED_LOW => queue.set_used_ring_address(Some(value), None),
            VIRTIO_MMIO_QUEUE_USED_HIGH => queue.set_used_ring_address(None, Some(value)),
            _ => warn_guest!("virtio-mmio: write {value:#x} to register {register:#x}: ignored"),
        }
    }

    fn reset_queue(&mut self) {
        if self.regs.driver_features & bit(VIRTIO_F_RING_RESET) == 0 {
            warn_guest!("virtio-mmio: queue reset without having negotiated it: ignored");
        } else if let Some(queue) = self.queues.get_mut(self.regs.queue_sel as usize) {
            // The queue first: the device then forgets requests of which nothing can be answered
            // any more.
            queue.reset();
            self.device.reset_queue(self.regs.queue_sel as usize);
        }
    }

    fn notify(&mut self, index: usize) {
        if index >= self.queues.len() {
            warn_guest!(
                "virtio-mmio: notification of queue {index}, which does not exist: ignored"
            );
            return;
        }
        if let Some(what) = self.faults.as_ref().and_then(|faults| faults.queue(index)) {
            match what {
                QueueFault::NeedsReset {} => self.ask_for_reset(),
                QueueFault::Reset {} => self.reset(),
                // It is lost, or served later.
                QueueFault::Lost {} | QueueFault::Late { .. } => {}
            }
        } else if !self.kick(index) {
            self.process_queue(index);
        }
    }

    /// Tells the driver that the device cannot go on (2.1.2).
    pub fn ask_for_reset(&mut self) {
        self.regs.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
        self.raise(VIRTIO_MMIO_INT_CONFIG);
    }

    /// Serves queue `index`: the one handler, called at the notification or on a device thread.
    /// Returns whether the turn was too short for what there is.
    pub fn process_queue(&mut self, index: usize) -> bool {
        if !self.is_live(index) {
            warn_guest!("virtio-mmio: notification of queue {index}, which is not live: ignored");
            return false;
        }
        // Its turn will come: a driver cannot have more done by asking for it more often.
        !self.is_deferred(index) && self.serve(index)
    }

    /// Serves queue `index`, which is live, for a turn. Returns whether more is left.
    fn serve(&mut self, index: usize) -> bool {
        let mut budget = self.budget();
        let result = self.device.process(QueueService {
            index,
            queue: &mut self.queues[index],
            mem: &self.mem,
            budget: &mut budget,
        });
        // Charged even if serving failed: the work before the failure was done.
        self.pace.charge(&budget);
        let more = result.as_ref().is_ok_and(|progress| progress.more);
        self.finish(index, result);
        self.look_ahead();
        more
    }

    /// Goes on with what its queues wait for other than its driver.
    pub fn resume(&mut self) {
        for index in 0..self.queues.len() {
            if self.is_live(index) {
                let mut budget = self.budget();
                let result = self.device.resume(QueueService {
                    index,
                    queue: &mut self.queues[index],
                    mem: &self.mem,
                    budget: &mut budget,
                });
                self.pace.charge(&budget);
                self.finish(index, result);
            }
        }
    }

    /// Returns whether queue `index` can be served.
    fn is_live(&self, index: usize) -> bool {
        let live = VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET;
        self.regs.status & live == VIRTIO_CONFIG_S_DRIVER_OK
            && self.queues.get(index).is_some_and(Queue::ready)
    }

    /// Tells the driver the result of serving queue `index`. The used ring is written by then, so
    /// its handler finds the buffers.
    fn finish(&mut self, index: usize, result: Result<Progress, ServeError>) {
        match result {
            Ok(progress) => {
                // If the driver's wish cannot be read, a needless interrupt harms less than a lost
                // one.
                let wanted =
                    |queue: &mut Queue| queue.needs_notification(&self.mem.pin()).unwrap_or(true);
                if progress.used && self.queues.get_mut(index).is_some_and(wanted) {
                    self.raise(VIRTIO_MMIO_INT_VRING);
                }
                if progress.more && self.device.waits(index) {
                    self.go_on_then(index);
                } else if progress.more {
                    self.go_on_later(index);
                }
            }
            Err(error) => {
                warn_guest!("virtio-mmio: queue {index} is broken: {error}");
                self.ask_for_reset();
            }
        }
    }

    fn raise(&mut self, reason: u32) {
        self.regs.interrupt_status |= reason;
        self.interrupt.set(true);
    }

    fn acknowledge(&mut self, reasons: u32) {
        self.regs.interrupt_status &= !reasons;
        // Reasons that came after the driver had read the status keep the line high.
        self.interrupt.set(self.regs.interrupt_status != 0);
    }
}

/// Returns the low or high word of `features`; there are no more than 64.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is asked for"
)]
const fn half(features: u64, select: u32) -> u32 {
    match select {
        0 => features as u32,
        1 => (features >> 32) as u32,
        _ => 0,
    }
}

impl MutDeviceMmio for VirtioMmio {
    fn mmio_read(&mut self, _base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        let bytes = self.read(offset, data.len()).to_le_bytes();
        for (to, from) in data.iter_mut().zip(bytes) {
            *to = from;
        }
    }

    fn mmio_write(&mut self, _base: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        let mut bytes = [0; 8];
        for (to, from) in bytes.iter_mut().zip(data) {
            *to = *from;
        }
        self.write(offset, data.len(), u64::from_le_bytes(bytes));
    }
}
