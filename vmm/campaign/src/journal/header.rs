//! The first line of a journal: which campaign it is of.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};
use vmm_base::Shard;

use crate::chain::MAGIC;
use crate::code::CodeMap;
use crate::walk::Walk;

/// The version of the format.
pub(super) const VERSION: u32 = 3;

/// The identity of a campaign: one that differs in any of this is another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// What is written: `viommu-inject`.
    pub journal: String,
    /// The version of the format.
    pub version: u32,
    /// The plan's name or file.
    pub plan: String,
    /// SHA-256 of what the plan says.
    pub plan_sha256: String,
    /// SHA-256 of the kernel.
    pub kernel_sha256: String,
    /// The campaign's seed.
    pub seed: u64,
    /// Whether every point is walked.
    pub systematic: bool,
    /// Whether then every two points are, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pairs: bool,
    /// The points that are walked, once the scenario has run without faults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub walk: Option<Walk>,
    /// Whether points are chosen by the code that is reached.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub guided: bool,
    /// Runs of a generation of these, if not as many as usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<NonZeroU64>,
    /// The names of functions whose code is looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cover: Vec<String>,
    /// Their blocks, once the scenario has run without faults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<CodeMap>,
    /// The mistakes with DMA that are looked for, as `--sanitize` takes them, if any are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sanitize: Option<String>,
    /// The plan's title.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Where the kernel's types come from, if from a file or the name of an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vmlinux: Option<String>,
    /// Which part of the campaign this is; `None` if all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
}

/// A shard of a campaign whose number of runs is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Which shard.
    pub shard: Shard,
    /// How many runs all shards have together.
    pub runs: u64,
}

impl Header {
    /// Creates the header that this version writes.
    pub fn new(plan: &str, plan_sha256: String, kernel_sha256: String, seed: u64) -> Self {
        Self {
            journal: MAGIC.into(),
            version: VERSION,
            plan: plan.into(),
            plan_sha256,
            kernel_sha256,
            seed,
            systematic: false,
            pairs: false,
            walk: None,
            guided: false,
            generation: None,
            cover: Vec::new(),
            code: None,
            sanitize: None,
            title: String::new(),
            vmlinux: None,
            part: None,
        }
    }

    /// Returns whether both are of one campaign, and one part of it. A plan is what it says: its
    /// file may have another name or place now, and so may that of the kernel's types, which must
    /// be of its build. The plan's title is part of what it says.
    pub(super) fn is_same_campaign(&self, other: &Self) -> bool {
        let (plan, title) = (self.plan.clone(), self.title.clone());
        let vmlinux = self.vmlinux.clone();
        *self
            == Self {
                plan,
                title,
                vmlinux,
                ..other.clone()
            }
    }

    /// Returns the header of the campaign that this is of, all its parts together.
    pub(crate) fn of_all(&self) -> Self {
        Self {
            part: None,
            ..self.clone()
        }
    }

    /// Returns in which way this campaign is not `wanted`; `None` if it is.
    pub(crate) fn difference(&self, wanted: &Self) -> Option<String> {
        (!self.is_same_campaign(wanted)).then(|| difference(Some(self), wanted))
    }
}

/// Returns in which way a journal is not that of this campaign.
pub(super) fn difference(found: Option<&Header>, wanted: &Header) -> String {
    match found {
        None => "no journal of a campaign".into(),
        Some(found) if found.journal != wanted.journal => "no journal of a campaign".into(),
        Some(found) if found.version != wanted.version => format!(
            "of version {}, and this build reads version {VERSION}",
            found.version
        ),
        Some(found) if found.seed != wanted.seed => {
            format!("of seed {}, and not {}", found.seed, wanted.seed)
        }
        Some(found) if found.systematic != wanted.systematic => {
            "of another mode: --systematic must be given both times, or neither".into()
        }
        Some(found) if found.pairs != wanted.pairs => {
            "of another mode: pairs must be walked both times, or neither".into()
        }
        Some(found) if found.guided != wanted.guided => {
            "of another mode: --guided must be given both times, or neither".into()
        }
        Some(found) if found.generation != wanted.generation => {
            "of another mode: --generation must be the same both times".into()
        }
        Some(found) if found.cover != wanted.cover => {
            "of another mode: --cover must be the same both times".into()
        }
        Some(found) if found.sanitize != wanted.sanitize => {
            "of another mode: --sanitize must be the same both times".into()
        }
        Some(found) if found.kernel_sha256 != wanted.kernel_sha256 => "of another kernel".into(),
        Some(found)
            if found.plan_sha256 == wanted.plan_sha256
                && (&found.walk, &found.code) != (&wanted.walk, &wanted.code) =>
        {
            "of another build, with which the scenario comes to other points or other code".into()
        }
        Some(found) if found.part != wanted.part => {
            format!("of {}, and not of {}", part(found.part), part(wanted.part))
        }
        Some(found) => format!("of another plan, {}, or the plan was changed", found.plan),
    }
}

/// Returns a part in words.
pub(crate) fn part(part: Option<Part>) -> String {
    part.map_or_else(
        || "the whole campaign".to_owned(),
        |Part { shard, runs }| format!("shard {shard} of {runs} runs"),
    )
}
