//! How the cores of an emulated machine execute the guest's code.

use std::io;

use super::Machine;

/// How emulated cores execute the guest's code. What the guest does is the same in each, bit for
/// bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// One instruction after the other.
    Interpreter,
    /// What runs often is translated to the host's code, where the host can.
    Translator,
}

impl Machine {
    /// Has the cores execute code this way from now on. New machines translate where the host can.
    ///
    /// # Errors
    /// This host has no translator, or allows no memory that can be executed; or the cores are not
    /// emulated.
    pub fn set_tier(&mut self, tier: Tier) -> io::Result<()> {
        let why = "the cores are not emulated";
        let unsupported = || io::Error::new(io::ErrorKind::Unsupported, why);
        let cluster = self.cluster().ok_or_else(unsupported)?;
        match tier {
            Tier::Interpreter => {
                cluster.interpret_code();
                Ok(())
            }
            Tier::Translator => cluster.translate_code(),
        }
    }
}
