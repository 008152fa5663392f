//! `vmm lab run --gdb` and `--ask`: a debugger, or questions, in the run of a case.

use std::collections::BTreeMap;

use vmm::lab::{self, Case, Lab};
use vmm::{Accel, GuestKernel};
use vmm_base::Seconds;
use vmm_files::shell::quoted;

use super::{RunArgs, Verdict};
use crate::cli::console::Watched;
use crate::cli::gdb::{self, GdbAddress};
use crate::cli::sandbox::Policy;
use crate::cli::stdout::print;
use crate::cli::travel::Travel;
use crate::cli::{CommandExit, UserError, patience};

impl RunArgs {
    /// Runs the one case that is named under a debugger, or to answer questions about it.
    pub(super) fn debug(
        &self,
        cases: &[Case],
        kernels: &BTreeMap<String, GuestKernel>,
        at: Option<GdbAddress>,
    ) -> Result<CommandExit, UserError> {
        let [case] = cases else {
            return Err(UserError::new(format!(
                "a debugger, or a question, is about one run, and {} cases are named: name one as \
                    `vmm lab list` has it",
                cases.len()
            )));
        };
        let travel = Travel::always(self.travel.clone());
        let mut policy = Policy::of_images()?;
        for kernel in kernels.values() {
            policy.read(&kernel.path);
        }
        policy.listen(at.map(GdbAddress::port));
        policy.enter()?;
        let (console, _) = Watched::new(Some(Box::new(patience::Console::new())), None);
        let console = travel.console(Box::new(console))?;
        let sink = travel.iommu_sink(None)?;
        let debuggee = lab::debuggee(case, &kernels[&case.machine.image], console, sink);
        let mut debuggee =
            debuggee.map_err(|why| UserError::new(format!("{}: {why}", case.name)))?;
        travel.enter(&mut debuggee.machine, at, debuggee.limits)
    }

    /// Prints the command with which a debugger stops a moment before the event that decided
    /// `case`, if there is one.
    pub(super) fn print_hint(&self, case: &Case, verdict: &Verdict) {
        let Ok(judged) = verdict else { return };
        let Some(at) = judged.decided_ns() else {
            return;
        };
        let name = match &self.selection.names[..] {
            [name] if Lab::is_file(name) => name,
            _ => &case.name,
        };
        if !lab::is_debuggable(case) || self.selection.host().accel != Accel::Emulated {
            return;
        }
        let at = Seconds(gdb::moment_before(at));
        let kernel = match (&self.kernel, &self.image) {
            (Some(path), _) => format!(" --kernel {}", quoted(&path.display().to_string())),
            (None, Some(image)) => format!(" --image {image}"),
            (None, None) => String::new(),
        };
        let module = self.module.as_ref();
        let module = module.map_or(String::new(), |path| {
            format!(" --module {}", quoted(&path.display().to_string()))
        });
        print(&format!(
            "     gdb: vmm lab run {}{kernel}{module} --gdb 1234 --goto time:{at}\n",
            quoted(name)
        ));
    }
}
