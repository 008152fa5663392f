//! The flags about this host that commands which run guests share.

use super::UserError;
use super::install::Install;
use super::sandbox::SandboxArgs;
use super::tier::TierArgs;

/// What may be installed, what executes the guests' code, and in what sandbox.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct HostArgs {
    #[command(flatten)]
    install: Install,
    #[command(flatten)]
    tier: TierArgs,
    #[command(flatten)]
    sandbox: SandboxArgs,
}

impl HostArgs {
    /// Has all that runs in this process from now on obey them.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn apply(self) -> Result<(), UserError> {
        self.install.apply();
        self.sandbox.apply();
        self.tier.apply()
    }
}
