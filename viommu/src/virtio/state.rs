//! The state of a virtio-iommu, to be saved and restored: what the driver has set up, and nothing
//! that follows from it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::batch::Answer;
use super::chain::{ScatteredWord, Segment};
use super::config::VirtioIommuConfig;
use super::device::VirtioIommu;
use super::domains::{Domain, Domains, Refusal, SPARE_SLOTS};
use super::events::{FaultReport, MAX_WAITING_REPORTS, ReportCounters, Reports};
use super::requests::Request;
use super::spec::{Status, TAIL_SIZE, attach_flag, fault, feature};

/// Most requests that are executed and not answered: the largest ring (virtio 1.2, 2.7).
const MAX_ANSWERS: usize = 1 << 15;

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
    /// One for each endpoint, in the order of their places on the translation path.
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
    /// A listener does not take what its endpoint would meet.
    #[error("a listener refuses what endpoint {0} meets in the saved virtio-iommu state")]
    Listener(u32),
    /// Something else that cannot be.
    #[error("the saved virtio-iommu state has {0}")]
    Invalid(&'static str),
}

impl<M> VirtioIommu<M> {
    /// Returns the state, to be saved.
    pub fn save(&self) -> VirtioIommuState {
        let domains = self.shared.domains();
        let endpoints = domains.endpoints.iter().map(|(_, endpoint)| EndpointState {
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
    /// wait again for accesses that are under way. Endpoints that the state does not know are as
    /// after a reset.
    ///
    /// # Errors
    /// If the state is of another version, of an endpoint that this device does not have or of
    /// another configuration, or could not have come about; then nothing changes.
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
        if reports.len() > MAX_WAITING_REPORTS || !reports.iter().all(is_report) {
            return Err(RestoreError::Invalid("fault reports that there cannot be"));
        }
        let longest = self.config.probe_size.unwrap_or(0) as usize + TAIL_SIZE;
        let answers = (answers.iter()).map(|answer| restore_answer(answer, longest));
        let answers: Option<Vec<_>> = answers.take(MAX_ANSWERS + 1).collect();
        let answers = answers.filter(|answers| answers.len() <= MAX_ANSWERS);
        let answers = answers.ok_or(RestoreError::Invalid("answers that there cannot be"))?;
        let fresh = self.shared.domains().fresh(&self.config);
        let restored = restore_domains(&self.config, fresh, saved)?;
        if let Err(position) = self.lead_restored(&restored) {
            let endpoint = self.shared.domains().endpoints.get(position).map(|e| e.id);
            return Err(RestoreError::Listener(endpoint.unwrap_or_default()));
        }
        let gone = std::mem::replace(&mut *self.shared.domains_mut(), restored);
        *self.shared.reports() = Reports {
            waiting: reports.iter().copied().collect(),
            counters: *counters,
        };
        // As in a reset: first what endpoints meet, then what is cached, then the grace period.
        self.attach_all();
        if let Some(injected) = &self.shared.injected {
            injected.forget_all();
        }
        self.unit.invalidate_all();
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

/// Returns whether the device may have made this report.
fn is_report(report: &FaultReport) -> bool {
    let FaultReport { reason, flags, .. } = *report;
    reason <= fault::REASON_MAPPING
        && (flags == fault::READ | fault::ADDRESS || flags == fault::WRITE | fault::ADDRESS)
}

/// Carries out by requests what the state says, on a device out of reset: what no request can do,
/// no state can.
fn restore_domains(
    config: &VirtioIommuConfig,
    mut domains: Domains,
    saved: &VirtioIommuState,
) -> Result<Domains, RestoreError> {
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
    let by_id: BTreeMap<u32, &DomainState> = saved.domains.iter().map(|d| (d.id, d)).collect();
    if !by_id
        .keys()
        .eq(saved.domains.iter().map(|domain| &domain.id))
    {
        return Err(RestoreError::Invalid("domains twice, or in no order"));
    }
    attach_endpoints(&mut domains, saved, &by_id)?;
    for DomainState { id, mappings, .. } in &saved.domains {
        // Attaching created the domains: one that no endpoint is attached to cannot exist.
        if !domains.slots_by_id.contains_key(id) {
            return Err(RestoreError::Domain(*id));
        }
        map_all(&mut domains, *id, mappings.as_deref().unwrap_or_default())?;
    }
    // Attaching took slots in order; a cache that is restored too knows those of the saved device.
    let slots = saved.domains.iter().map(|domain| (domain.id, domain.slot));
    let most = config.max_endpoints + SPARE_SLOTS;
    // The saved device had so many for its endpoints; this one may have more.
    let enough = saved.domains.len() + saved.free.len() >= saved.endpoints.len() + SPARE_SLOTS;
    let placed = domains.place(&slots.collect(), &saved.free, most);
    let placed = placed.filter(|()| enough);
    placed.ok_or(RestoreError::Invalid(
        "slots that this virtio-iommu does not have, or twice",
    ))?;
    Ok(domains)
}

/// Attaches endpoints as saved; those that are not in the state stay attached to nothing.
fn attach_endpoints(
    domains: &mut Domains,
    saved: &VirtioIommuState,
    by_id: &BTreeMap<u32, &DomainState>,
) -> Result<(), RestoreError> {
    let mut seen = BTreeSet::new();
    for EndpointState {
        id: endpoint,
        domain,
    } in &saved.endpoints
    {
        if domains.endpoint(*endpoint).is_none() || !seen.insert(*endpoint) {
            return Err(RestoreError::Endpoints);
        }
        let Some(domain) = *domain else {
            continue;
        };
        let of = by_id.get(&domain).ok_or(RestoreError::Domain(domain))?;
        let bypass = of.mappings.is_none();
        let attach = Request::Attach {
            domain,
            endpoint: *endpoint,
            flags: if bypass { attach_flag::BYPASS } else { 0 },
            reserved: 0,
        };
        domains
            .request(&attach)
            .map_err(|_: Refusal| RestoreError::Domain(domain))?;
    }
    Ok(())
}

/// Maps what a saved domain has mapped.
fn map_all(
    domains: &mut Domains,
    domain: u32,
    mappings: &[MappingState],
) -> Result<(), RestoreError> {
    let mut before = None;
    for mapping in mappings {
        let MappingState {
            first,
            last,
            address,
            flags,
        } = *mapping;
        let map = Request::Map {
            domain,
            first,
            last,
            address,
            flags,
        };
        // Without the feature no driver has mapped anything.
        let possible = domains.features & feature::MAP_UNMAP != 0 && before < Some(first);
        if !possible || domains.request(&map).is_err() {
            return Err(RestoreError::Mapping { domain, first });
        }
        before = Some(first);
    }
    Ok(())
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

/// Returns the answer of this state, if there can be one, of at most so many bytes.
fn restore_answer(saved: &AnswerState, longest: usize) -> Option<Answer> {
    let AnswerState {
        head,
        written,
        tail,
    } = *saved;
    let tail = match tail {
        None if written == 0 => None,
        None => return None,
        Some((status, place)) => {
            let place = ScatteredWord(place.map(|(addr, len)| Segment { addr, len }));
            let sound = place.is_whole() && (TAIL_SIZE..=longest).contains(&(written as usize));
            Some((place, Status::from_repr(status).filter(|_| sound)?))
        }
    };
    Some(Answer {
        head,
        written,
        tail,
    })
}
