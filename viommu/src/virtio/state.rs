//! The state of a virtio-iommu, to be saved and restored: what the driver has set up, and nothing
//! that follows from it.

use serde::{Deserialize, Serialize};

use super::batch::Answer;
use super::chain::{ScatteredWord, Segment};
use super::config::VirtioIommuConfig;
use super::device::VirtioIommu;
use super::domains::{Domain, Domains, Refusal};
use super::events::{FaultReport, MAX_WAITING_REPORTS, ReportCounters, Reports};
use super::spec::{Status, attach_flag};

/// Everything that a [`VirtioIommu`] knows. Its configuration, its queues and the translation cache
/// are not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtioIommuState {
    /// [`VirtioIommuState::VERSION`].
    pub version: u32,
    /// Features that are negotiated.
    pub features: u64,
    /// The field `bypass`.
    pub bypass: bool,
    /// One for each endpoint, in the order of the configuration.
    pub endpoints: Vec<EndpointState>,
    /// Domains by ascending number.
    pub domains: Vec<DomainState>,
    /// Slots that new domains may have, the next one last.
    pub free: Vec<u32>,
    /// Fault reports that wait for buffers, the oldest first.
    pub reports: Vec<FaultReport>,
    /// What happened to others.
    pub counters: ReportCounters,
    /// Requests that are executed but not answered.
    pub answers: Vec<AnswerState>,
}

impl VirtioIommuState {
    /// The version that this crate writes and reads.
    pub const VERSION: u32 = 1;
}

/// An endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointState {
    /// Its number.
    pub id: u32,
    /// The number of the domain that it is attached to.
    pub domain: Option<u32>,
}

/// A domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainState {
    /// Its number.
    pub id: u32,
    /// Its slot: its number on the translation path, and so in the cache.
    pub slot: u32,
    /// Its mappings by ascending IOVA; none if it is a bypass domain.
    pub mappings: Option<Vec<MappingState>>,
}

/// A mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingState {
    /// First IOVA.
    pub first: u64,
    /// Last IOVA.
    pub last: u64,
    /// The guest physical address that `first` leads to.
    pub address: u64,
    /// Flags of the MAP request.
    pub flags: u32,
}

/// A request that is executed but not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerState {
    /// The chain's first descriptor.
    pub head: u16,
    /// The used length.
    pub written: u32,
    /// The status, and where it and the three bytes after it go: addresses and lengths. None if
    /// nothing is written.
    pub tail: Option<(u8, [(u64, u32); 4])>,
}

/// Why a saved state does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// Written by another version.
    #[error("the saved virtio-iommu state has version {0}, but this build reads version \
        {expected}", expected = VirtioIommuState::VERSION)]
    Version(u32),
    /// Other endpoints.
    #[error("the saved virtio-iommu state is of other endpoints than this virtio-iommu has")]
    Endpoints,
    /// Features that are not offered.
    #[error(
        "the saved virtio-iommu state has features {0:#x}, which this virtio-iommu does not offer"
    )]
    Features(u64),
    /// A domain that no driver could have made.
    #[error("the saved virtio-iommu state has a domain {0} that this virtio-iommu cannot have")]
    Domain(u32),
    /// A mapping that no driver could have made.
    #[error(
        "the saved virtio-iommu state maps {first:#x} in domain {domain}, which this virtio-iommu cannot do"
    )]
    Mapping {
        /// The domain.
        domain: u32,
        /// First IOVA.
        first: u64,
    },
    /// Something else that cannot be.
    #[error("the saved virtio-iommu state has {0}")]
    Invalid(&'static str),
}

impl<M> VirtioIommu<M> {
    /// Returns the state, to be saved.
    pub fn save(&self) -> VirtioIommuState {
        let domains = self.shared.domains();
        let endpoints = domains.endpoints().iter().map(|endpoint| EndpointState {
            id: endpoint.id,
            domain: domains.domain_of(endpoint).map(|domain| domain.id),
        });
        let reports = self.shared.reports();
        let Reports { waiting, counters } = &*reports;
        VirtioIommuState {
            version: VirtioIommuState::VERSION,
            features: domains.features,
            bypass: domains.bypass,
            endpoints: endpoints.collect(),
            domains: domains.slots_in_use().map(save_domain).collect(),
            // Nobody can be using those that were just given up while the device is being saved.
            free: domains
                .free()
                .chain(self.batch.freed.iter().copied())
                .collect(),
            reports: waiting.iter().copied().collect(),
            counters: *counters,
            answers: self.batch.answers.iter().map(save_answer).collect(),
        }
    }

    /// Restores a saved state. The translation cache is emptied, and requests that are not answered
    /// wait again for accesses that are under way.
    ///
    /// # Errors
    /// If the state is of another version or another configuration, or could not have come about;
    /// then nothing changes.
    pub fn restore(&mut self, saved: &VirtioIommuState) -> Result<(), RestoreError> {
        let VirtioIommuState {
            version,
            features: _,
            bypass: _,
            endpoints: _,
            domains: _,
            free: _,
            reports,
            counters,
            answers,
        } = saved;
        // All that can be refused is done before the first change.
        if *version != VirtioIommuState::VERSION {
            return Err(RestoreError::Version(*version));
        }
        if reports.len() > MAX_WAITING_REPORTS {
            return Err(RestoreError::Invalid("too many fault reports"));
        }
        let answers: Option<Vec<_>> = answers.iter().map(restore_answer).collect();
        let answers = answers.ok_or(RestoreError::Invalid("an answer with no such status"))?;
        let restored = restore_domains(&self.config, saved)?;
        let gone = std::mem::replace(&mut *self.shared.domains_mut(), restored);
        *self.shared.reports() = Reports {
            waiting: reports.iter().copied().collect(),
            counters: *counters,
        };
        // As in a reset: first what endpoints meet, then what is cached, then the grace period.
        self.attach_all();
        self.unit.invalidate_all();
        if let Some(injected) = &self.shared.injected {
            injected.forget_all();
        }
        // The restored slots are complete: these would be given out twice.
        self.batch.freed.clear();
        // The transport's next poll gives these answers.
        self.batch.pending = !answers.is_empty();
        self.batch.answers = answers;
        // Accesses under way on this host may be using what the device had before.
        self.batch.changed = true;
        self.batch.seal(&self.unit, self.shared.injected.as_ref());
        // Freed without the lock.
        drop(gone);
        Ok(())
    }
}

fn save_domain((slot, domain): (u32, &Domain)) -> DomainState {
    let mappings = domain.mappings.as_ref().map(|mappings| {
        let mappings = mappings.iter().map(|(first, entry)| MappingState {
            first,
            last: entry.last,
            address: entry.address,
            flags: entry.flags,
        });
        mappings.collect()
    });
    DomainState {
        id: domain.id,
        slot,
        mappings,
    }
}

/// Carries out by requests what the state says, on a device out of reset: what no request can do,
/// no state can.
fn restore_domains(
    config: &VirtioIommuConfig,
    saved: &VirtioIommuState,
) -> Result<Domains, RestoreError> {
    let mut domains = Domains::new(config);
    let unknown = saved.features & !config.features();
    if unknown != 0 {
        return Err(RestoreError::Features(unknown));
    }
    if saved.bypass && config.bypass_config.is_none() {
        return Err(RestoreError::Invalid(
            "a bypass field that this virtio-iommu does not have",
        ));
    }
    // Before any request, as flags are checked against what was negotiated.
    domains.features = saved.features;
    domains.bypass = saved.bypass;
    let ids = saved.endpoints.iter().map(|endpoint| endpoint.id);
    if !ids.eq(config.endpoints.iter().map(|endpoint| endpoint.id)) {
        return Err(RestoreError::Endpoints);
    }
    for EndpointState { id, domain } in &saved.endpoints {
        let Some(domain) = *domain else {
            continue;
        };
        let mut of = saved.domains.iter();
        let of = of.find(|saved| saved.id == domain);
        let bypass = of.ok_or(RestoreError::Domain(domain))?.mappings.is_none();
        let flags = if bypass { attach_flag::BYPASS } else { 0 };
        domains
            .attach(domain, *id, flags, 0)
            .map_err(|_: Refusal| RestoreError::Domain(domain))?;
    }
    // Attaching created the domains: one that no endpoint is attached to cannot exist.
    for DomainState { id, mappings, .. } in &saved.domains {
        if !domains.domains().any(|domain| domain.id == *id) {
            return Err(RestoreError::Domain(*id));
        }
        for mapping in mappings.iter().flatten() {
            let MappingState {
                first,
                last,
                address,
                flags,
            } = *mapping;
            domains
                .map(*id, first, last, address, flags)
                .map_err(|_: Refusal| RestoreError::Mapping { domain: *id, first })?;
        }
    }
    // Attaching took slots in order; a cache that is restored too knows those of the saved device.
    let slots = saved.domains.iter().map(|domain| (domain.id, domain.slot));
    let placed = domains.place(&slots.collect(), &saved.free);
    placed.ok_or(RestoreError::Invalid(
        "slots that this virtio-iommu does not have, or twice",
    ))?;
    Ok(domains)
}

fn save_answer(answer: &Answer) -> AnswerState {
    let Answer {
        head,
        written,
        tail,
    } = *answer;
    AnswerState {
        head,
        written,
        tail: tail.map(|(place, status)| {
            (
                status as u8,
                place.0.map(|segment| (segment.addr, segment.len)),
            )
        }),
    }
}

fn restore_answer(saved: &AnswerState) -> Option<Answer> {
    let AnswerState {
        head,
        written,
        tail,
    } = *saved;
    let tail = match tail {
        None => None,
        Some((status, place)) => {
            let place = ScatteredWord(place.map(|(addr, len)| Segment { addr, len }));
            Some((place, Status::from_repr(status)?))
        }
    };
    Some(Answer {
        head,
        written,
        tail,
    })
}
