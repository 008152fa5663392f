//! `--tier`: whether the emulated processor translates the guest's code.

use clap::ValueEnum;
use vmm_machine::code_memory;

use super::UserError;

/// How the emulated processor executes the guest's code. What the guest does is the same in each, bit for bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tier {
    /// One instruction after the other.
    Interpreter,
    /// What runs often is translated to the host's code.
    Translate,
}

/// The flag of every command that runs guests.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct TierArgs {
    /// How the emulated processor executes the guest's code: interpreter, or translate (what runs often becomes the
    /// host's code). The run is the same, only its speed is not [default: translate where the host can]
    #[arg(
        long,
        value_name = "interpreter|translate",
        value_enum,
        hide_possible_values = true,
        help_heading = "Host"
    )]
    tier: Option<Tier>,
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
            Some(Tier::Translate) => code_memory::reserve(1).map_err(|why| {
                UserError::new(format!(
                    "the guest's code cannot be translated: {why}; leave --tier out, or say --tier interpreter"
                ))
            }),
        }
    }
}
