//! `--faults`: a fault plan at work in one run.

use vmm::Accel;
use vmm::campaign::{plan, single};
use vmm_faults::Account;
use vmm_machine::RunFaults;
use vmm_machine::board::Board;

use super::files::Files;
use super::origin::Origin;
use super::{UserError, text};

/// Faults that are told one by one when a run has ended.
const MAX_TOLD: usize = 16;

/// What goes wrong in a run.
#[derive(Debug, Default, clap::Args)]
pub struct FaultArgs {
    /// Have hardware fail as a fault plan says, from the beginning of the run on: a name from
    /// `vmm inject --list`, or a file. The plan's scenario does not matter here
    #[arg(long, value_name = "PLAN|FILE", help_heading = "Run")]
    faults: Option<String>,
    /// The seed of what the plan leaves to chance, such as that of a campaign's run [default: 1]
    #[arg(long, value_name = "NUMBER", requires = "faults", help_heading = "Run")]
    faults_seed: Option<u64>,
}

impl FaultArgs {
    /// Notes the file that is read.
    pub fn name(&self, files: &mut Files) {
        let file = self.faults.as_deref().filter(|name| plan::is_file(name));
        files.inputs("fault plan", file.map(Into::into).as_ref());
    }

    /// Reads the plan.
    ///
    /// # Errors
    /// There is none, or it is wrong.
    pub fn read(self) -> Result<Option<RunFaults>, UserError> {
        let Some(name) = self.faults else {
            return Ok(None);
        };
        let plan = plan::find(&name).map_err(|error| UserError::new(error.to_string()))?;
        let seed = self.faults_seed.unwrap_or(1);
        Ok(Some(RunFaults { plan, seed }))
    }
}

/// Checks that a run which begins at `origin` can have these faults.
///
/// # Errors
/// It cannot.
pub fn check(faults: &RunFaults, origin: &Origin) -> Result<(), UserError> {
    let config = origin.config();
    if config.accel != Accel::Emulated {
        return Err(UserError::new(
            "--faults needs the emulated processor: leave --accel out",
        ));
    }
    single::check_devices(&faults.plan, &Board::new(config))?;
    match origin {
        Origin::Power(_) => Ok(single::check_power_on(&faults.plan)?),
        Origin::Snapshot(..) | Origin::Recording(_) => Ok(()),
    }
}

/// Says which faults there were.
pub fn tell(account: &Account) {
    for told in account.told.iter().take(MAX_TOLD) {
        let at = text::seconds(told.at_ns);
        let (what, rule) = (&told.text, told.rule + 1);
        text::tell(&format!("{at} {what} (fault {rule} of the plan)"));
    }
    let more = account.faults.saturating_sub(MAX_TOLD as u64);
    if more > 0 {
        text::tell(&format!("and {more} more faults"));
    }
}
