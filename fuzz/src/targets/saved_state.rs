//! Any saved state, restored on a device of any model, and then use of it. What could not have come
//! about is refused and changes nothing; after anything else an access meets what the restored
//! registers, requests and tables say, and no access leaves RAM.

use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use serde_json::Value;
use viommu::CacheState;
use viommu::virtio::{
    AnswerState, DomainState, EndpointConfig, EndpointState, FaultReport, MappingState,
    ReportCounters, VirtioIommuState,
};
use vm_memory::{Bytes, GuestAddress, GuestRegionMmap};

use super::follower::Follower;
use super::virtio_iommu::{BUFFERS, ENDPOINTS, Machine, RAM, RAM_SIZE};
use super::{ipmmu, rockchip, smmu_v2};

/// Where memory is that comes and goes.
const MORE: u64 = RAM + 2 * RAM_SIZE;

/// Returns a number that is likely to be in use, or any at all.
fn small(u: &mut Unstructured<'_>) -> Result<u32> {
    if u.ratio(31, 32)? {
        u.int_in_range(0..=5)
    } else {
        u.arbitrary()
    }
}

fn any_mapping(u: &mut Unstructured<'_>) -> Result<MappingState> {
    let page = |u: &mut Unstructured<'_>| Ok(u64::from(u.int_in_range(0..=15u8)?) << 12);
    let first = page(u)?;
    let odd = u.ratio(1, 32)?;
    Ok(MappingState {
        first: if odd { u.arbitrary()? } else { first },
        last: first + page(u)? / 4 + 0xfff,
        address: if odd { u.arbitrary()? } else { RAM + page(u)? },
        flags: u.int_in_range(0..=if odd { 15 } else { 3 })?,
    })
}

fn any_domain(u: &mut Unstructured<'_>, slot: u32) -> Result<DomainState> {
    let mut mappings = Vec::new();
    for _ in 0..u.int_in_range(0..=4u8)? {
        mappings.push(any_mapping(u)?);
    }
    if u.ratio(7, 8)? {
        mappings.sort_by_key(|mapping| mapping.first);
    }
    Ok(DomainState {
        id: small(u)?,
        slot: if u.ratio(31, 32)? {
            slot
        } else {
            u.arbitrary()?
        },
        mappings: u.ratio(7, 8)?.then_some(mappings),
    })
}

/// Returns any state, most often one that fits the endpoints that all machines have.
fn any_state(u: &mut Unstructured<'_>) -> Result<VirtioIommuState> {
    let mut domains = Vec::new();
    for slot in 0..u.int_in_range(0..=3)? {
        domains.push(any_domain(u, slot)?);
    }
    if u.ratio(7, 8)? {
        domains.sort_by_key(|domain| domain.id);
        domains.dedup_by_key(|domain| domain.id);
    }
    let mut endpoints = Vec::new();
    for id in ENDPOINTS {
        let domain = domains.get(usize::from(u.int_in_range(0..=3u8)?));
        let domain = domain.map(|domain| domain.id);
        endpoints.push(EndpointState { id, domain });
    }
    // One less than there are, or one twice, or of another number.
    if u.ratio(1, 8)? {
        endpoints.truncate(u.int_in_range(0..=3)?);
    }
    if u.ratio(1, 32)? {
        endpoints.push(EndpointState {
            id: small(u)?,
            domain: None,
        });
    }
    let slots = if u.ratio(31, 32)? {
        67
    } else {
        u.int_in_range(0..=5000)?
    };
    let first = u32::try_from(domains.len()).expect("there are at most four");
    let mut answers = Vec::new();
    for _ in 0..u.int_in_range(0..=2u8)? {
        let (at, status) = (
            BUFFERS + u64::from(u.arbitrary::<u8>()?),
            u.int_in_range(0..=9)?,
        );
        let odd: [(u64, u32); 4] = u.arbitrary()?;
        let place = [(at, 4), (0, 0), (0, 0), (0, 0)];
        answers.push(AnswerState {
            head: u.arbitrary()?,
            written: if u.ratio(7, 8)? { 4 } else { u.arbitrary()? },
            tail: Some((status, if u.ratio(7, 8)? { place } else { odd })),
        });
    }
    let counter = u.arbitrary()?;
    let report = FaultReport {
        reason: u.int_in_range(0..=3)?,
        flags: 0x100 | u.int_in_range(0..=3)?,
        endpoint: u.arbitrary()?,
        address: u.arbitrary()?,
    };
    Ok(VirtioIommuState {
        version: if u.ratio(31, 32)? { 1 } else { u.arbitrary()? },
        features: if u.ratio(7, 8)? { 0x7f } else { u.arbitrary()? },
        bypass: u.arbitrary()?,
        endpoints,
        domains,
        free: (first..slots).rev().collect(),
        reports: vec![report; u.int_in_range(0..=130)?],
        counters: ReportCounters {
            delivered: counter,
            lost: u64::MAX - counter,
        },
        answers,
    })
}

/// Returns any state, with features that a driver can have negotiated.
fn fitting_state(machine: &Machine, u: &mut Unstructured<'_>) -> Result<VirtioIommuState> {
    let mut state = any_state(u)?;
    state.features &= machine.iommu.offered_features();
    state.bypass &= machine.config.bypass_config.is_some();
    Ok(state)
}

/// A virtio-iommu of any state: it is what `save` says, and does what requests say.
fn virtio(u: &mut Unstructured<'_>) -> Result<()> {
    let mut machine = Machine::any(u)?;
    machine.start(!0);
    let state = fitting_state(&machine, u)?;
    let before = machine.iommu.save();
    if machine.iommu.restore(&state).is_err() {
        assert_eq!(machine.iommu.save(), before, "nothing changes");
        return Ok(());
    }
    let saved = machine.iommu.save();
    // Nothing is added to it but endpoints and slots.
    assert_eq!(
        (&saved.domains, &saved.answers),
        (&state.domains, &state.answers)
    );
    let (follower, held) = Follower::new();
    let follows = u.arbitrary()?;
    if follows {
        let added = machine.iommu.add_listener(ENDPOINTS[1], follower);
        added.expect("it refuses nothing yet");
    }
    for _ in 0..30 {
        match u.int_in_range(0..=9)? {
            0..=2 => machine.request(u)?,
            3 => machine.serve(),
            4 => plug(&mut machine, u)?,
            5 => plug_endpoint(&mut machine, u)?,
            6 => held.lock().expect("nobody panics").refusals = u.arbitrary::<[bool; 3]>()?.into(),
            7 if u.ratio(1, 4)? => {
                let state = fitting_state(&machine, u)?;
                let restored = machine.iommu.restore(&state);
                assert!(restored.is_err() || machine.iommu.save().domains == state.domains);
            }
            8 if u.ratio(1, 8)? => {
                let bypass = machine.iommu.config_space()[36];
                machine.iommu.write_config(36, &[1 - bypass]);
            }
            // A follower may have refused to let an endpoint bypass: then it meets nothing.
            _ if follows => {}
            _ => machine.check(u)?,
        }
        if follows {
            let held = held.lock().expect("nobody panics");
            held.check(&machine.iommu.save(), ENDPOINTS[1]);
        }
    }
    Ok(())
}

/// Adds an endpoint, or removes one that was added.
fn plug_endpoint(machine: &mut Machine, u: &mut Unstructured<'_>) -> Result<()> {
    let id = u.int_in_range(100..=102)?;
    let there = machine.iommu.space(id).is_some();
    if u.arbitrary()? {
        let added = machine.iommu.add_endpoint(EndpointConfig::new(id));
        assert_eq!(added.is_ok(), !there);
    } else {
        assert_eq!(machine.iommu.remove_endpoint(id).is_ok(), there);
    }
    Ok(())
}

/// Adds memory, or removes what was added.
fn plug(machine: &mut Machine, u: &mut Unstructured<'_>) -> Result<()> {
    let memory = if u.arbitrary()? {
        let region = GuestRegionMmap::from_range(GuestAddress(MORE), 0x1000, None);
        let region = Arc::new(region.expect("a page can be had"));
        Arc::new(machine.ram.insert_region(region).expect("it is apart"))
    } else {
        Arc::clone(&machine.ram)
    };
    let change = machine.iommu.set_memory(memory);
    assert!(change.expect("nothing is reserved there").is_over());
    Ok(())
}

/// Changes numbers of a state in any place.
fn spoil(value: &mut Value, u: &mut Unstructured<'_>) -> Result<()> {
    match value {
        Value::Number(number) if u.int_in_range(0..=15u8)? == 15 => {
            let bit = 1u64 << u.int_in_range(0..=63u8)?;
            let old = number.as_u64().unwrap_or(0);
            let new = if u.ratio(3, 4)? {
                old ^ bit
            } else {
                u.arbitrary()?
            };
            *value = new.into();
        }
        Value::Array(all) => {
            for one in &mut *all {
                spoil(one, u)?;
            }
            if u.int_in_range(0..=31u8)? == 31 {
                all.pop();
            }
        }
        Value::Object(all) => {
            for one in all.values_mut() {
                spoil(one, u)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// A cache of any state: whatever it says, accesses stay in RAM, and after an invalidation meet the
/// truth.
fn cache(u: &mut Unstructured<'_>) -> Result<()> {
    let mut machine = Machine::any(u)?;
    machine.start(!0);
    let state = fitting_state(&machine, u)?;
    if machine.iommu.restore(&state).is_err() {
        return Ok(());
    }
    for _ in 0..u.int_in_range(0..=6u8)? {
        machine.check(u)?;
    }
    let unit = Arc::clone(machine.iommu.unit());
    let saved = serde_json::to_value(unit.save_cache()).expect("it has no odd keys");
    let mut spoilt = saved.clone();
    spoil(&mut spoilt, u)?;
    let Ok(state) = serde_json::from_value::<CacheState>(spoilt) else {
        return Ok(());
    };
    if unit.restore_cache(&state).is_err() {
        let now = serde_json::to_value(unit.save_cache()).expect("as above");
        assert_eq!(now, saved, "nothing changes");
    }
    for _ in 0..8 {
        let id = *u.choose(&ENDPOINTS)?;
        let dma = machine.iommu.space(id).expect("it is there");
        // A byte of RAM, or refused: no more can be said of a cache that someone made up.
        let _ = dma.read_obj::<u64>(GuestAddress(u64::from(u.arbitrary::<u16>()?)));
        if u.ratio(1, 4)? {
            plug(&mut machine, u)?;
        }
    }
    unit.invalidate_all();
    for _ in 0..8 {
        machine.check(u)?;
    }
    Ok(())
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    match u.int_in_range(0..=7)? {
        0..=2 => virtio(u),
        3 | 4 => cache(u),
        5 => ipmmu::restored(u),
        6 => smmu_v2::restored(u),
        _ => rockchip::restored(u),
    }
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    // Input may end anywhere.
    let _ = run(&mut Unstructured::new(data));
}
