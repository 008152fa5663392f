//! An image obtained in the background, and how far that is.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use guest_images::{Cache, Error, Image, Progress, Unit};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::show::{good, line, paragraph};
use crate::cli::{UserError, text};

/// The time between two lines of a plain report.
const PLAIN_INTERVAL: Duration = Duration::from_secs(15);
/// The time between two looks at the state.
const TICK: Duration = Duration::from_millis(200);
/// Before so much time has passed a pace says little.
const SETTLED: Duration = Duration::from_secs(3);

/// The progress of an image.
#[derive(Debug, Default)]
struct State {
    task: String,
    total: Option<(u64, Unit)>,
    done: u64,
    /// The time at which the task began to advance, and its state then: a build may go on from an
    /// earlier one.
    pace: Option<(Instant, u64)>,
    notes: Vec<String>,
}

/// Takes reports for whoever wants to look at them later.
#[derive(Clone, Debug, Default)]
struct Shared(Arc<Mutex<State>>);

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Progress for Shared {
    fn start(&mut self, task: &str, total: Option<(u64, Unit)>) {
        let mut state = self.state();
        // Notes that were not shown yet outlive the task that they came with.
        let notes = std::mem::take(&mut state.notes);
        *state = State {
            task: task.to_owned(),
            total,
            notes,
            ..State::default()
        };
    }

    fn advance(&mut self, done: u64) {
        let mut state = self.state();
        state.done = done;
        state.pace.get_or_insert_with(|| (Instant::now(), done));
    }

    fn finish(&mut self) {}

    fn note(&mut self, line: &str) {
        self.state().notes.push(line.to_owned());
    }
}

impl State {
    /// Returns the time left of the present task at its pace so far.
    fn left(&self, now: Instant) -> Option<Duration> {
        let ((total, _), (start, from)) = (self.total?, self.pace?);
        let elapsed = now.saturating_duration_since(start);
        // Without progress there is no pace, and the division below would be by zero.
        let done = self.done.checked_sub(from).filter(|done| *done > 0)?;
        (elapsed >= SETTLED)
            .then(|| elapsed.mul_f64(total.saturating_sub(self.done) as f64 / done as f64))
    }

    /// Returns tenths of a percent of the present task, and words about it.
    fn words(&self, now: Instant) -> (Option<u64>, String) {
        let share = self
            .total
            .map(|(total, _)| self.done.min(total).saturating_mul(1000) / total.max(1));
        let left = self
            .left(now)
            .map_or_else(String::new, |left| format!(", {} left", text::about(left)));
        (share, left)
    }
}

/// An image on its way.
pub struct Build {
    thread: JoinHandle<Result<Image, Error>>,
    shared: Shared,
    start: Instant,
}

impl Build {
    /// Starts to obtain an image.
    ///
    /// # Errors
    /// The host allows no more threads.
    pub fn start(cache: Cache, image: &'static str) -> Result<Self, UserError> {
        let shared = Shared::default();
        let mut progress = shared.clone();
        let thread = vmm_base::thread::spawn("image", move || cache.obtain(image, &mut progress))?;
        Ok(Self {
            thread,
            shared,
            start: Instant::now(),
        })
    }

    /// Waits for the image, showing how far it is.
    pub fn wait(self) -> Result<Image, UserError> {
        let reporter: &mut dyn Reporter = if std::io::stderr().is_terminal() {
            &mut Bar::new()
        } else {
            &mut Plain::default()
        };
        if !self.thread.is_finished() {
            paragraph(&[
                "Debian's kernel source, unmodified, with our configuration; it is being compiled since the \
                    first guest",
                "began. This happens once. To do without, press Ctrl-C: it goes on where it stopped at the next run.",
            ]);
        }
        loop {
            // Looked at before the rest, so that the last notes are not missed.
            let over = self.thread.is_finished();
            let notes = std::mem::take(&mut self.shared.state().notes);
            notes.iter().for_each(|note| reporter.note(note));
            if over {
                break;
            }
            reporter.show(&self.shared.state());
            std::thread::sleep(TICK);
        }
        reporter.end();
        let result = self
            .thread
            .join()
            // Joining fails only if the thread has panicked.
            .map_err(|_| UserError::new("obtaining the kernel failed: this is a bug in vmm"))?;
        let image = result?;
        good(&format!(
            "Linux {} is built, {} after the start.",
            image.version,
            since(self.start)
        ));
        Ok(image)
    }
}

/// Shows how far a build is.
trait Reporter {
    fn show(&mut self, state: &State);
    fn note(&mut self, text: &str);
    fn end(&mut self) {}
}

/// A bar, for a terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let mut bar = Self(ProgressBar::with_draw_target(
            Some(1000),
            ProgressDrawTarget::stderr(),
        ));
        bar.show(&State::default());
        bar
    }
}

impl Reporter for Bar {
    fn show(&mut self, state: &State) {
        let (share, left) = state.words(Instant::now());
        let template = match share {
            Some(_) => "  {msg} [{wide_bar}] {percent} %{prefix}",
            None => "  {spinner} {msg}{prefix}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style.progress_chars("=> "));
        }
        let task = if state.task.is_empty() {
            "waiting"
        } else {
            &state.task
        };
        self.0.set_message(task.to_owned());
        self.0.set_prefix(left);
        self.0.set_position(share.unwrap_or(0));
        self.0.tick();
    }

    fn note(&mut self, text: &str) {
        self.0.println(format!("  {text}"));
    }

    fn end(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A line now and then, for a log.
#[derive(Default)]
struct Plain {
    last: Option<(Instant, String)>,
}

impl Reporter for Plain {
    fn show(&mut self, state: &State) {
        let now = Instant::now();
        let due = self.last.as_ref().is_none_or(|(at, task)| {
            *task != state.task || now.duration_since(*at) >= PLAIN_INTERVAL
        });
        if !due || state.task.is_empty() {
            return;
        }
        let (share, left) = state.words(now);
        let share = share.map_or_else(String::new, |share| format!(": {} %", share / 10));
        line(&format!("  {}{share}{left}", state.task));
        self.last = Some((now, state.task.clone()));
    }

    fn note(&mut self, text: &str) {
        paragraph(&[text]);
    }
}

/// Returns words for the duration since `start`.
fn since(start: Instant) -> String {
    text::seconds(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_the_pace_of_this_run() {
        let mut shared = Shared::default();
        shared.start("building", Some((1000, Unit::Steps)));
        shared.advance(500);
        shared.advance(600);
        let state = shared.state();
        let (start, _) = state.pace.unwrap();
        assert_eq!(state.left(start + Duration::from_secs(1)), None);
        // 100 steps in 30 s, 400 steps to go.
        assert_eq!(
            state.left(start + Duration::from_secs(30)),
            Some(Duration::from_secs(120))
        );
        let (share, left) = state.words(start + Duration::from_secs(30));
        assert_eq!(
            (share, left.as_str()),
            (Some(600), ", about 2 minutes left")
        );
    }

    #[test]
    fn nothing_known_is_nothing_said() {
        let mut shared = Shared::default();
        shared.start("unpacking", None);
        shared.note("a note");
        shared.start("next", Some((0, Unit::Bytes)));
        shared.advance(u64::MAX);
        let state = shared.state();
        assert_eq!(state.notes, ["a note"]);
        assert_eq!(state.words(Instant::now()), (Some(0), String::new()));
    }
}
