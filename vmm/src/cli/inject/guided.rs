//! `--guided`: what a campaign that is guided needs besides, and what a shard of one waits for.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use vmm::campaign::Shard;
use vmm::campaign::guided::{Awaited, GENERATION, Guided};
use vmm::campaign::journal::Header;
use vmm::campaign::merge;
use vmm::campaign::run::Record;

use super::fail;
use crate::cli::files::Files;
use crate::cli::sandbox::Policy;
use crate::cli::{CommandExit, UserError, text};

/// What a guided campaign is given.
#[derive(Debug, clap::Args)]
pub struct GuideArgs {
    /// Runs of a generation of --guided, which are chosen by those before it: many for many
    /// machines [default: 32]
    #[arg(long, value_name = "N", requires = "guided")]
    pub generation: Option<NonZeroU64>,
    /// With --guided and --shard: the journals of the other shards, as far as they are. What runs
    /// they lack of a generation has this one end behind its own of it
    #[arg(long, value_name = "JOURNAL", num_args = 1.., requires = "guided")]
    others: Vec<PathBuf>,
}

/// Returns whether two names are of one file, which may not be there yet.
fn is_same(one: &Path, other: &Path) -> bool {
    one == other
        || one
            .canonicalize()
            .is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

impl GuideArgs {
    /// Refuses journals of others for a campaign that has no others.
    pub fn check(&self, guided: bool, shard: Option<Shard>) -> Result<(), UserError> {
        if guided && shard.is_none() && !self.others.is_empty() {
            return Err(UserError::new(
                "--others is for a shard of a guided campaign: say which by --shard, or leave it out",
            ));
        }
        Ok(())
    }

    /// Names the files that are read. This shard's own journal may be among them.
    pub fn name(&self, own: Option<&Path>, files: &mut Files) {
        let others = self.others.iter();
        files.inputs(
            "journal",
            others.filter(|path| own.is_none_or(|own| !is_same(own, path))),
        );
    }

    /// Allows the files that are read.
    pub fn allow(&self, policy: &mut Policy) {
        for path in self.others.iter().filter(|path| path.exists()) {
            policy.read(path);
        }
    }

    /// Returns the runs of other shards.
    pub fn others(
        &self,
        own: Option<&Path>,
        header: &Header,
    ) -> Result<BTreeMap<u64, Record>, UserError> {
        let own = own.unwrap_or(Path::new("this campaign"));
        merge::others(&self.others, own, header).map_err(fail)
    }

    /// Returns what is to be run.
    pub fn guided<'o>(
        &self,
        seed: u64,
        runs: u64,
        shard: Shard,
        others: &'o BTreeMap<u64, Record>,
    ) -> Guided<'o> {
        Guided {
            seed,
            runs,
            generation: self.generation.unwrap_or(GENERATION),
            shard,
            others,
        }
    }
}

/// Tells what a shard waits for.
pub fn wait(awaited: Awaited, shard: Shard) -> CommandExit {
    let Awaited {
        generation,
        generations,
        runs,
        first,
    } = awaited;
    text::tell(&format!(
        "generation {generation} of {generations} lacks {runs} runs of other shards, the first is run {first} of shard \
         {}: name their journals by --others, and go on by --resume when they are there",
        shard.sibling(first)
    ));
    CommandExit::Waits
}
