//! `vmm inject --run N --gdb`: a debugger in a run of a campaign.

use vmm::campaign::campaign::Prepared;
use vmm::campaign::run::Task;
use vmm::campaign::start::Viewer;
use vmm::{ConsoleSink, Flow, TextError};

use super::repeat::told;
use super::{Args, fail};
use crate::cli::console::Watched;
use crate::cli::gdb::{self, GdbAddress};
use crate::cli::stdout::print;
use crate::cli::travel::Travel;
use crate::cli::{CommandExit, UserError, patience};

/// A console that is shown, too.
struct Shown {
    /// The one whose end is the run's.
    console: Box<dyn ConsoleSink>,
    shown: Watched,
}

impl ConsoleSink for Shown {
    fn write(&mut self, bytes: &[u8]) -> Flow {
        self.shown.write(bytes);
        self.console.write(bytes)
    }

    fn flush(&mut self) {
        self.shown.flush();
        self.console.flush();
    }
}

/// Tells what becomes of the run of `task`, and has a debugger stop in it, a moment before its
/// first fault.
pub fn debug(
    args: &Args,
    at: GdbAddress,
    prepared: &Prepared<'_>,
    task: &Task,
) -> Result<CommandExit, UserError> {
    // Once without, as the moment is known only then: a run takes a moment itself.
    let record = prepared.runner.run(task, None).record;
    print(&told(&record));
    let first = record.told.first().map(|told| told.at_ns);
    let travel = Travel::forward(args.travel.clone(), first.map(gdb::moment_before))?;
    let view = |console: Box<dyn ConsoleSink>| {
        let (shown, _) = Watched::new(Some(Box::new(patience::Console::new())), None);
        let console = travel.console(Box::new(Shown { console, shown }));
        let console = console.map_err(|why| TextError::from(why.to_string()))?;
        let sink = travel.iommu_sink(None);
        Ok((
            console,
            sink.map_err(|why| TextError::from(why.to_string()))?,
        ))
    };
    let debuggee = prepared.runner.debuggee(task, Viewer::Other(&view));
    let mut debuggee = debuggee.map_err(fail)?;
    let limits = debuggee.limits;
    travel.enter(debuggee.machine(), Some(at), limits)
}
