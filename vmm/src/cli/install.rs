//! The user's leave to install packages of the host.

use std::sync::atomic::{AtomicBool, Ordering};

use guest_images::{Cache, Terminal};

use super::UserError;

/// Whether `--install-packages` was given. What obtains an image is far from where the flag is
/// read, and the leave is one for the whole process.
static ALLOWED: AtomicBool = AtomicBool::new(false);

/// The flag of every command that may obtain an image.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Install {
    /// Install Debian packages of this host that obtaining an image takes, as root or with sudo, if
    /// some are missing; VIOMMU_INSTALL=yes does the same. Without either, a terminal's user is
    /// shown the command and asked; elsewhere the command is printed, and the run ends before
    /// anything is fetched or compiled
    #[arg(long, help_heading = "Host")]
    install_packages: bool,
}

impl Install {
    /// Sets whether this process may install packages.
    pub fn apply(self) {
        // Relaxed: it is set before there is any other thread, and starting one orders it.
        ALLOWED.store(self.install_packages, Ordering::Relaxed);
    }
}

/// Returns a reporter to stderr for what may install packages.
pub fn terminal() -> Terminal {
    Terminal::new().installing(ALLOWED.load(Ordering::Relaxed))
}

/// Makes sure that this host has what obtaining all of these images takes, before the first is
/// fetched.
pub fn prepare_host(cache: &Cache, images: &[&str]) -> Result<(), UserError> {
    Ok(cache.prepare_host(images, &mut terminal())?)
}
