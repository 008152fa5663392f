//! `--tier`: whether the emulated processor translates the guest's code.

use clap::ValueEnum;
use vmm_machine::code_memory;

use super::UserError;

/// How the emulated processor executes the guest's code. What the guest does is the same in each,
/// bit for bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tier {
    /// One instruction after the other.
    Interpreter,
    /// What runs often is translated to the host's code.
    Translate,
}

/// The flag of commands that make any number of machines.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct TierArgs {
    /// How the emulated processor executes the guest's code: interpreter, or translate (what runs
    /// often becomes the host's code). The run is the same, only its speed is not [default:
    /// translate where the host can]
    #[arg(
        long,
        value_name = "interpreter|translate",
        value_enum,
        hide_possible_values = true,
        help_heading = "Host"
    )]
    tier: Option<Tier>,
}

/// As [`Tier`], with both of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BootTier {
    Interpreter,
    Translate,
    Both,
}

/// The flag of commands that run one guest.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct BootTierArgs {
    /// How the emulated processor executes the guest's code: interpreter, or translate (what runs
    /// often becomes the host's code). The run is the same, only its speed is not. With both, two
    /// machines run, one each way, and are compared: to report a bug of the translator [default:
    /// translate where the host can]
    #[arg(
        long,
        value_name = "interpreter|translate|both",
        value_enum,
        hide_possible_values = true,
        help_heading = "Host"
    )]
    tier: Option<BootTier>,
    /// With both: has the machine that translates do something else after so many instructions, for
    /// tests
    #[arg(long, value_name = "N", hide = true, requires = "tier")]
    tier_differs_after: Option<u64>,
}

/// What `--tier both` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Both {
    /// The machine that translates does something else after so many instructions.
    pub differs_after: Option<u64>,
}

impl TierArgs {
    /// Makes this the decision of the process, before there is any machine.
    ///
    /// # Errors
    /// It says to translate, and this host cannot.
    pub fn apply(self) -> Result<(), UserError> {
        match self.tier {
            None => Ok(()),
            Some(Tier::Interpreter) => {
                code_memory::seal();
                Ok(())
            }
            Some(Tier::Translate) => translates(),
        }
    }
}

impl BootTierArgs {
    /// Makes this the decision of the process, before there is any machine. Returns what there is
    /// to know of two machines, one of each tier, if there are to be two.
    ///
    /// # Errors
    /// It says to translate, and this host cannot.
    pub fn apply(self) -> Result<Option<Both>, UserError> {
        let tier = match self.tier {
            None => None,
            Some(BootTier::Interpreter) => Some(Tier::Interpreter),
            Some(BootTier::Translate | BootTier::Both) => Some(Tier::Translate),
        };
        TierArgs { tier }.apply()?;
        let differs_after = self.tier_differs_after;
        Ok((self.tier == Some(BootTier::Both)).then_some(Both { differs_after }))
    }
}

/// Finds out whether this host can translate.
fn translates() -> Result<(), UserError> {
    code_memory::reserve(1).map_err(|why| {
        UserError::new(format!(
            "the guest's code cannot be translated: {why}; leave --tier out, or say --tier interpreter"
        ))
    })
}
