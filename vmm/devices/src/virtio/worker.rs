//! The thread that serves queues in host time, so that the cores need not wait for a disk.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use event_manager::{EventManager, EventOps, EventSet, EventSubscriber, Events, SubscriberOps};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};
use vmm_sys_util::timerfd::TimerFd;

use super::VirtioMmio;
use super::budget::Halts;
use super::deferred_work::DeferredWork;
use super::kick::Kick;

pub use super::kick::Pending;

/// A source of events that the device thread serves.
pub type Subscriber = Arc<dyn EventSubscriber + Send + Sync>;

/// The pause between two turns of one device's work. A core that waits for the device's lock at one
/// of its registers would never have it if the lock were taken again at once, and looks at no
/// request to stop meanwhile.
const LULL: Duration = Duration::from_millis(1);

/// One device whose queues the thread serves.
struct Served {
    device: Arc<Mutex<VirtioMmio>>,
    kicks: Vec<Kick>,
    /// Runs while the device has something to do by itself at a later time.
    timer: Mutex<TimerFd>,
    deferred_work: Arc<DeferredWork>,
}

/// The number of the timer among a device's events; those of queues are less.
const TIMER: u32 = u32::MAX;

impl Served {
    /// Serves queue `index` if it was notified.
    fn serve(&self, index: usize) {
        // A device that was reset has taken its kicks back.
        let Some(taken) = self.kicks.get(index).and_then(Kick::take) else {
            return;
        };
        let mut device = self.device.lock().unwrap_or_else(|e| e.into_inner());
        let more = device.process_queue(index);
        let alarm = device.alarm_after_ns();
        // Deferred work locks devices itself.
        drop(device);
        self.deferred_work.run();
        self.set_timer(alarm);
        if more {
            std::thread::sleep(LULL);
        }
        // Only now: whoever sees nothing pending must see the interrupt that the work raised.
        drop(taken);
    }
}

impl Served {
    fn set_timer(&self, after_ns: Option<u64>) {
        let mut timer = self.timer.lock().unwrap_or_else(|e| e.into_inner());
        let set = match after_ns {
            // A timer of no time at all would be none.
            Some(after) => timer.reset(Duration::from_nanos(after.max(1)), None),
            None => timer.clear(),
        };
        if let Err(error) = set {
            tracing::error!("a timer of a device cannot be set: {error}");
        }
    }

    fn ring(&self) {
        // It was reached, or it would have no event: this does not wait.
        let _ = self.timer.lock().unwrap_or_else(|e| e.into_inner()).wait();
        let mut device = self.device.lock().unwrap_or_else(|e| e.into_inner());
        device.kick_alarm();
    }
}

impl EventSubscriber for Served {
    fn process(&self, events: Events, _ops: &mut EventOps) {
        match events.data() {
            TIMER => self.ring(),
            index => self.serve(index as usize),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a device has few queues")]
    fn init(&self, ops: &mut EventOps) {
        for (index, kick) in self.kicks.iter().enumerate() {
            // `init` returns no error; requests of that queue are then never answered.
            let event = Events::with_data(kick.event(), index as u32, EventSet::IN);
            if let Err(error) = ops.add(event) {
                tracing::error!("a queue cannot be served: {error}");
            }
        }
        let timer = self.timer.lock().unwrap_or_else(|e| e.into_inner());
        if let Err(error) = ops.add(Events::with_data(&*timer, TIMER, EventSet::IN)) {
            tracing::error!("a timer of a device cannot be served: {error}");
        }
    }
}

/// Has the thread look at all queues, also at those of whose notifications only the host's kernel
/// knows.
struct Round {
    kick: Kick,
    devices: Vec<Arc<Served>>,
}

impl EventSubscriber for Round {
    fn process(&self, _events: Events, _ops: &mut EventOps) {
        let Some(taken) = self.kick.take() else {
            return;
        };
        for device in &self.devices {
            (0..device.kicks.len()).for_each(|index| device.serve(index));
        }
        // Now all that was sent before the round is served.
        drop(taken);
    }

    fn init(&self, ops: &mut EventOps) {
        if let Err(error) = ops.add(Events::new(self.kick.event(), EventSet::IN)) {
            tracing::error!("the device thread cannot be asked for a round: {error}");
        }
    }
}

/// Ends the thread's wait.
struct Exit(EventFd);

impl EventSubscriber for Exit {
    // Nothing is read, so that the descriptor stays readable until the thread has seen the stop
    // flag.
    fn process(&self, _events: Events, _ops: &mut EventOps) {}

    fn init(&self, ops: &mut EventOps) {
        if let Err(error) = ops.add(Events::new(&self.0, EventSet::IN)) {
            tracing::error!("the device thread cannot be ended: {error}");
        }
    }
}

/// The device thread; ends when dropped.
pub struct Worker {
    thread: Option<JoinHandle<()>>,
    halts: Arc<Halts>,
    exit: EventFd,
    round: Kick,
    pending: Pending,
    devices: Vec<Arc<Mutex<VirtioMmio>>>,
}

impl Worker {
    /// Starts a thread that serves the queues of `devices` and `others`, and does the
    /// `deferred_work` of those that it does not serve.
    ///
    /// # Errors
    /// The host has no threads or file descriptors left.
    pub fn start(
        devices: &[Arc<Mutex<VirtioMmio>>],
        deferred_work: &Arc<DeferredWork>,
        others: Vec<Subscriber>,
    ) -> io::Result<Self> {
        let (pending, halts) = (Pending::default(), Arc::<Halts>::default());
        let exit = EventFd::new(EFD_NONBLOCK)?;
        let mut manager = EventManager::<Subscriber>::new().map_err(io::Error::other)?;
        manager.add_subscriber(Arc::new(Exit(exit.try_clone()?)));
        for other in others {
            manager.add_subscriber(other);
        }
        let round = Kick::new(pending.clone())?;
        let mut served = Vec::new();
        for device in devices {
            let mut slot = device.lock().unwrap_or_else(|e| e.into_inner());
            // The queues of these stay with the cores that notify them: their drivers spin for the
            // answer.
            if !slot.device().may_wait() {
                continue;
            }
            let kicks = slot.defer(&pending, &halts)?;
            // What a machine that was saved had left over.
            slot.kick_deferred();
            drop(slot);
            let device = Arc::new(Served {
                device: device.clone(),
                kicks,
                timer: Mutex::new(TimerFd::new().map_err(io::Error::from)?),
                deferred_work: Arc::clone(deferred_work),
            });
            manager.add_subscriber(Arc::clone(&device) as Subscriber);
            served.push(device);
        }
        manager.add_subscriber(Arc::new(Round {
            kick: round.try_clone()?,
            devices: served,
        }));
        let halted = Arc::clone(&halts);
        let serve = move || {
            // The event of `Exit` only ends the wait: the flag is what ends the thread.
            while !halted.stop.load(Ordering::Acquire) {
                if let Err(error) = manager.run() {
                    tracing::error!("the device thread cannot wait for events: {error}");
                    return;
                }
            }
        };
        let thread = vmm_base::thread::spawn("devices", serve)?;
        Ok(Self {
            thread: Some(thread),
            halts,
            exit,
            round,
            pending,
            devices: devices.to_vec(),
        })
    }

    /// Waits until every notification that was sent has been looked at, while the cores stand
    /// still. Work that is not over by then is left over in the devices, until
    /// [`resume`](Self::resume).
    pub fn settle(&self) {
        self.halts.settle.store(true, Ordering::Release);
        // What the host's kernel sent is not counted until the thread looks at it.
        self.round.send();
        let serves = || self.thread.as_ref().is_some_and(|t| !t.is_finished());
        // Spinning is cheap enough: with the flag set, a turn ends with its present piece of work.
        // A thread that has failed has said so, and serves no more.
        while self.pending.load(Ordering::Acquire) > 0 && serves() {
            std::thread::yield_now();
        }
    }

    /// Goes on with what is left over.
    pub fn resume(&self) {
        self.halts.settle.store(false, Ordering::Release);
        for device in &self.devices {
            device
                .lock()
                .unwrap_or_else(|e| e.into_inner())
                .kick_deferred();
        }
    }

    /// Returns the count of notifications that were sent and not yet served.
    pub fn pending(&self) -> Pending {
        self.pending.clone()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Before the event, after which the thread looks at it.
        self.halts.stop.store(true, Ordering::Release);
        // It cannot overflow: nobody else writes it.
        let _ = self.exit.write(1);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by itself, and a drop cannot return it.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::rng::Rng;
    use super::super::testing::{Driver, writable};
    use super::*;

    /// Starts a thread that serves an entropy device, of which its driver wants 8 bytes and has not
    /// said so.
    fn started(others: Vec<Subscriber>) -> (Worker, Arc<Mutex<VirtioMmio>>, Driver) {
        let mut driver = Driver::new(Box::new(Rng::new(1)));
        let spare = VirtioMmio::new(
            Box::new(Rng::new(1)),
            driver.mem.clone(),
            driver.line.clone(),
            false,
        );
        let device = Arc::new(Mutex::new(std::mem::replace(&mut driver.mmio, spare)));
        let worker = Worker::start(std::slice::from_ref(&device), &Arc::default(), others).unwrap();
        // The test's driver owns its slot, so the thread's device is swapped in while it is set up.
        std::mem::swap(&mut driver.mmio, &mut device.lock().unwrap());
        driver.start(0);
        let buffer = driver.buffer(0);
        driver.offer(0, &[writable(buffer, 8)]);
        std::mem::swap(&mut driver.mmio, &mut device.lock().unwrap());
        (worker, device, driver)
    }

    #[test]
    fn notifications_are_served_by_the_thread() {
        let (worker, device, driver) = started(Vec::new());
        device.lock().unwrap().write(0x50, 4, 0);
        let start = Instant::now();
        while worker.pending().load(Ordering::Acquire) != 0 {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "the thread does not serve"
            );
            std::thread::yield_now();
        }
        assert_eq!((driver.used_index(0), driver.used_len(0, 0)), (1, 8));
        assert!(driver.line.level());
    }

    /// Keeps the thread busy for a while.
    struct Slow(EventFd);

    impl EventSubscriber for Slow {
        fn process(&self, _events: Events, _ops: &mut EventOps) {
            self.0.read().unwrap();
            std::thread::sleep(Duration::from_millis(100));
        }

        fn init(&self, ops: &mut EventOps) {
            ops.add(Events::new(&self.0, EventSet::IN)).unwrap();
        }
    }

    #[test]
    fn what_only_the_hosts_kernel_knows_of_is_left_over_when_all_is_settled() {
        let slow = EventFd::new(EFD_NONBLOCK).unwrap();
        let busy = Arc::new(Slow(slow.try_clone().unwrap()));
        let (worker, device, driver) = started(vec![busy]);
        slow.write(1).unwrap();
        // As KVM does: nobody counts it.
        let kick = device.lock().unwrap().kicks()[0].try_clone().unwrap();
        kick.event().write(1).unwrap();
        worker.settle();
        // It is saved with the device, if this thread was not so late that it is served, and not
        // lost with the event.
        let left = device.lock().unwrap().deferred().map(|d| d.queues);
        assert!(left == Some(1) || driver.used_index(0) == 1, "{left:?}");
        worker.resume();
        while worker.pending().load(Ordering::Acquire) != 0 {
            std::thread::yield_now();
        }
        assert_eq!(driver.used_index(0), 1);
    }
}
