//! Threads that run together, stand still together and end together.
//!
//! A thread in KVM leaves it for a signal; a signal that comes just before it enters is lost. So
//! whoever wants the threads to stand still sends signals until all of them do.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, Once};
use std::thread::JoinHandle;
use std::time::Duration;

use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

/// How long to wait before a signal is sent again.
const PATIENCE: Duration = Duration::from_millis(2);

/// The end of a run from within.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The guest powered itself off.
    Off,
    /// The guest asked for a reset.
    Reset,
    /// KVM cannot go on, and why.
    Failed(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Stand,
    Run,
    Leave,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    /// Threads that stand still while the others run, a bit for each.
    held: u64,
    /// A thread has had all of them stand still, and its reason has not been looked at.
    halted: bool,
    alive: usize,
    standing: usize,
    end: Option<End>,
}

/// The state that the threads and their owner share.
#[derive(Debug)]
pub(super) struct VcpuBarrier {
    running: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

impl VcpuBarrier {
    /// Creates a barrier for threads that are still to come, and stand still at first.
    pub fn new() -> Self {
        Self {
            running: AtomicBool::new(false),
            state: Mutex::new(State {
                mode: Mode::Stand,
                held: 0,
                halted: false,
                alive: 0,
                standing: 0,
                end: None,
            }),
            changed: Condvar::new(),
        }
    }

    /// Announces one more thread.
    pub fn expect(&self) {
        self.lock().alive += 1;
    }

    /// Takes one thread off: it could not be started, or is about to end.
    pub fn miss(&self) {
        self.lock().alive -= 1;
        self.changed.notify_all();
    }

    /// Returns whether the calling thread shall go on running.
    pub fn running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    /// Makes thread `index` wait until it shall run; returns false when it shall leave.
    pub fn pass(&self, index: usize) -> bool {
        let mut state = self.lock();
        state.standing += 1;
        self.changed.notify_all();
        while state.mode == Mode::Stand || state.mode == Mode::Run && state.held >> index & 1 != 0 {
            // Poisoned only by a panic that its own thread has reported; another one here would
            // hide it.
            state = self.changed.wait(state).unwrap_or_else(|e| e.into_inner());
        }
        // Still under the lock that saw the mode: who waits for all
        // to stand does not miss this one.
        state.standing -= 1;
        state.mode == Mode::Run
    }

    /// Ends the run, called by a thread; only the first call counts.
    pub fn end(&self, end: End) {
        let mut state = self.lock();
        // Threads inside KVM do not notice: they leave it when the owner makes all stand still.
        state.end.get_or_insert(end);
        self.set(&mut state, Mode::Stand);
    }

    /// Makes all threads stand still, called by one of them, until [`VcpuBarrier::look`] was
    /// called. Its reason must be there to be looked at by now.
    pub fn halt(&self) {
        let mut state = self.lock();
        state.halted = true;
        // Threads that are to leave still do.
        if state.mode == Mode::Run {
            self.set(&mut state, Mode::Stand);
        }
    }

    /// Makes `threads` stand still, and notes that the reason for which one of them did so is
    /// looked at now: they may start again.
    pub fn look(&self, threads: &[JoinHandle<()>]) {
        // Only when all stand: one that has given its reason, and not yet made the others stand
        // still, would do it for a reason that is gone, and nobody would look again.
        self.wait_for(threads).halted = false;
    }

    /// Returns what ended the run, if a thread did.
    pub fn take_end(&self) -> Option<End> {
        self.lock().end.take()
    }

    /// Lets the threads run, but those whose bit is set in `held`, which stand still or are about
    /// to.
    pub fn start(&self, held: u64) {
        let mut state = self.lock();
        // What ended or stopped the threads is to be looked at first.
        if state.end.is_none() && !state.halted {
            state.held = held;
            self.set(&mut state, Mode::Run);
        }
    }

    /// Waits until a thread has made all of them stand still and they do, or for that long.
    pub fn wait_standing(&self, patience: Duration) {
        let state = self.lock();
        // Those that were started a moment ago are still counted as standing.
        let moving = |state: &mut State| state.mode == Mode::Run || state.standing < state.alive;
        drop(self.changed.wait_timeout_while(state, patience, moving));
    }

    /// Makes `threads` stand still, and waits until they do.
    pub fn stand(&self, threads: &[JoinHandle<()>]) {
        drop(self.wait_for(threads));
    }

    /// Makes `threads` stand still; returns the state in which they do.
    fn wait_for(&self, threads: &[JoinHandle<()>]) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        self.set(&mut state, Mode::Stand);
        while state.standing < state.alive {
            for thread in threads.iter().filter(|thread| !thread.is_finished()) {
                // A signal that could not be sent is sent again.
                let _ = thread.kill(SIGRTMIN());
            }
            let waited = self.changed.wait_timeout(state, PATIENCE);
            state = waited.unwrap_or_else(|e| e.into_inner()).0;
        }
        state
    }

    /// Makes the threads leave.
    pub fn dismiss(&self, threads: Vec<JoinHandle<()>>) {
        // Threads leave from where they stand, and no signal reaches one that is on its way out.
        self.stand(&threads);
        self.set(&mut self.lock(), Mode::Leave);
        for thread in threads {
            // Its panic has been told.
            let _ = thread.join();
        }
    }

    fn set(&self, state: &mut State, mode: Mode) {
        state.mode = mode;
        // Threads read this between two entries into KVM, without the lock.
        self.running.store(mode == Mode::Run, Ordering::Release);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Held by a thread as long as it lives, so that the barrier does not wait for one that has ended.
pub(super) struct Alive<'a>(pub &'a VcpuBarrier);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let why = "one of its cores' threads panicked (this is a bug)";
            // Before it is taken off: the owner must not find all others
            // standing and start them again.
            self.0.end(End::Failed(why.into()));
        }
        self.0.miss();
    }
}

/// Prepares the signal, once a process: to be interrupted is all that it is for.
pub(super) fn prepare_signal() {
    static ONCE: Once = Once::new();
    // A signal that is ignored would not end KVM_RUN.
    extern "C" fn nothing(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
    ONCE.call_once(|| {
        if let Err(error) = register_signal_handler(SIGRTMIN(), nothing) {
            tracing::error!("the cores' signal cannot be prepared: {error}");
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::*;

    /// Starts a thread that does `work` again and again while it runs.
    fn thread(
        gate: &Arc<VcpuBarrier>,
        work: impl Fn(&VcpuBarrier) + Send + 'static,
    ) -> JoinHandle<()> {
        let gate = Arc::clone(gate);
        gate.expect();
        std::thread::spawn(move || {
            let _alive = Alive(&gate);
            while gate.pass(0) {
                while gate.running() {
                    work(&gate);
                }
            }
        })
    }

    fn counter(gate: &Arc<VcpuBarrier>, count: &Arc<AtomicU64>) -> JoinHandle<()> {
        let count = Arc::clone(count);
        thread(gate, move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_micros(50));
        })
    }

    /// Returns a barrier, and a count for threads.
    fn barrier_and_count() -> (Arc<VcpuBarrier>, Arc<AtomicU64>) {
        prepare_signal();
        (Arc::new(VcpuBarrier::new()), Arc::default())
    }

    #[test]
    fn threads_run_stand_and_leave() {
        let (gate, count) = barrier_and_count();
        let threads: Vec<_> = (0..3).map(|_| counter(&gate, &count)).collect();
        gate.stand(&threads);
        assert_eq!(count.load(Ordering::Relaxed), 0);
        for _ in 0..20 {
            gate.start(0);
            let before = count.load(Ordering::Relaxed);
            while count.load(Ordering::Relaxed) == before {
                std::thread::yield_now();
            }
            gate.stand(&threads);
            let stood = count.load(Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(1));
            assert_eq!(count.load(Ordering::Relaxed), stood);
        }
        gate.dismiss(threads);
        assert_eq!(Arc::strong_count(&gate), 1);
    }

    #[test]
    fn the_first_end_is_heard_and_nothing_starts_before_it_is() {
        let gate = VcpuBarrier::new();
        gate.start(0);
        gate.end(End::Off);
        gate.end(End::Reset);
        gate.start(0);
        assert!(!gate.running());
        assert_eq!(gate.take_end(), Some(End::Off));
        gate.start(0);
        assert!(gate.running());
    }

    #[test]
    fn what_a_thread_halted_for_is_looked_at_before_any_starts() {
        let (gate, count) = barrier_and_count();
        let threads: Vec<_> = (0..2).map(|_| counter(&gate, &count)).collect();
        gate.start(0);
        gate.halt();
        gate.start(0);
        gate.stand(&threads);
        assert!(!gate.running());
        gate.look(&threads);
        gate.start(0);
        assert!(gate.running());
        gate.dismiss(threads);
    }

    #[test]
    fn threads_that_are_held_stand_while_others_run() {
        let (gate, count) = barrier_and_count();
        let thread = counter(&gate, &count);
        gate.start(1);
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(count.load(Ordering::Relaxed), 0);
        gate.start(2);
        while count.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        gate.dismiss(vec![thread]);
    }

    /// Starts a thread that gives a reason whenever it runs, and makes all stand still a moment
    /// later.
    fn halting(gate: &Arc<VcpuBarrier>, reasons: &Arc<AtomicU64>) -> JoinHandle<()> {
        let reasons = Arc::clone(reasons);
        thread(gate, move |gate| {
            reasons.fetch_add(1, Ordering::AcqRel);
            std::thread::sleep(Duration::from_millis(20));
            gate.halt();
        })
    }

    #[test]
    fn a_thread_that_is_about_to_halt_all_has_done_so_when_they_are_looked_at() {
        let (gate, reasons) = barrier_and_count();
        let threads = vec![halting(&gate, &reasons)];
        for round in 1..4 {
            gate.start(0);
            while reasons.load(Ordering::Acquire) < round {
                std::thread::yield_now();
            }
            gate.look(&threads);
            assert!(!gate.lock().halted);
            assert_eq!(gate.lock().standing, 1);
            // It did not give another one meanwhile.
            assert_eq!(reasons.load(Ordering::Acquire), round);
        }
        gate.dismiss(threads);
    }

    #[test]
    fn one_that_was_started_a_moment_ago_is_waited_for() {
        let (gate, reasons) = barrier_and_count();
        let threads = vec![halting(&gate, &reasons)];
        for round in 1..4 {
            gate.start(0);
            gate.wait_standing(Duration::from_secs(60));
            assert_eq!(reasons.load(Ordering::Acquire), round);
            gate.look(&threads);
        }
        // It does not begin for a reason that nobody has looked at, and there is nothing to wait
        // for.
        gate.halt();
        gate.start(0);
        gate.wait_standing(Duration::from_secs(60));
        assert_eq!(reasons.load(Ordering::Acquire), 3);
        gate.dismiss(threads);
    }

    #[test]
    fn a_thread_that_panics_ends_the_run_and_is_not_waited_for() {
        prepare_signal();
        let gate = Arc::new(VcpuBarrier::new());
        gate.expect();
        let other = Arc::clone(&gate);
        let thread = std::thread::spawn(move || {
            let _alive = Alive(&other);
            assert!(!other.pass(0), "a panic on purpose");
        });
        let threads = vec![thread];
        gate.stand(&threads);
        gate.start(0);
        while !threads[0].is_finished() {
            std::thread::yield_now();
        }
        gate.stand(&threads);
        assert!(matches!(gate.take_end(), Some(End::Failed(_))));
        gate.dismiss(threads);
    }
}
