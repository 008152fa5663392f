//! What two machines differ in.

use serde_json::Value;
use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress};
use vmm_devices::ram::GuestRam;

use super::host;
use crate::snapshot::touched;
use crate::{Error, Machine, MachineState};

/// Bytes compared at a time: what a processor's cache holds.
const CHUNK: usize = 64 << 10;
/// As many different words of memory are told; more say no more.
const MOST_WORDS: usize = 16;

/// What was found where two machines were compared.
pub(super) struct Compared {
    /// The states of both, if they differ.
    pub states: Option<Box<[MachineState; 2]>>,
    /// The first words of memory that differ, with their addresses.
    pub words: Vec<(u64, [u32; 2])>,
}

impl Compared {
    /// Returns whether nothing differs.
    pub fn are_equal(&self) -> bool {
        self.states.is_none() && self.words.is_empty()
    }
}

/// Compares two machines; memory only if `everything` is to be.
pub(super) fn machines(
    interpreting: &mut Machine,
    translating: &mut Machine,
    everything: bool,
) -> Result<Compared, Error> {
    let state = |machine: &mut Machine| {
        let state = machine.state();
        state.map_err(|error| host("look at the machine", error))
    };
    let states = [state(interpreting)?, state(translating)?];
    let words = if everything {
        let found = memory(&interpreting.memory(), &translating.memory());
        found.map_err(|error| host("compare the guests' memory", error))?
    } else {
        Vec::new()
    };
    Ok(Compared {
        states: (states[0] != states[1]).then(|| states.into()),
        words,
    })
}

/// Returns the first words of the memory of two machines that differ.
fn memory(one: &GuestRam, other: &GuestRam) -> std::io::Result<Vec<(u64, [u32; 2])>> {
    let mut words = Vec::new();
    for (one, other) in one.iter().zip(other.iter()) {
        let base = one.start_addr().0;
        // What neither has touched is the same in both.
        for run in touched(one)?.into_iter().chain(touched(other)?) {
            let mut buffers = [vec![0; CHUNK], vec![0; CHUNK]];
            for at in run.clone().step_by(CHUNK) {
                let len = usize::try_from(run.end - at).map_or(CHUNK, |left| left.min(CHUNK));
                let [ours, theirs] = &mut buffers;
                let (ours, theirs) = (&mut ours[..len], &mut theirs[..len]);
                let from = MemoryRegionAddress(at);
                one.read_slice(ours, from).map_err(std::io::Error::other)?;
                other
                    .read_slice(theirs, from)
                    .map_err(std::io::Error::other)?;
                if ours == theirs {
                    continue;
                }
                let pairs = ours
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .zip(theirs.as_chunks::<4>().0);
                let places = (base + at..).step_by(4).zip(pairs);
                let differ = places.filter(|(_, (a, b))| a != b);
                words.extend(differ.map(|(at, (a, b))| (at, [*a, *b].map(u32::from_le_bytes))));
                // What both have touched is met twice.
                words.sort_unstable();
                words.dedup();
                if words.len() >= MOST_WORDS {
                    words.truncate(MOST_WORDS);
                    return Ok(words);
                }
            }
        }
    }
    Ok(words)
}

/// Is told a path in two states, and the values there.
type Tell<'a> = dyn FnMut(&str, Option<&Value>, Option<&Value>) + 'a;

/// Calls `tell` with the path of every value that two states differ in, and with both.
pub(super) fn values(path: &str, one: Option<&Value>, other: Option<&Value>, tell: &mut Tell<'_>) {
    match (one, other) {
        (one, other) if one == other => {}
        (Some(Value::Object(ours)), Some(Value::Object(theirs))) => {
            let more = theirs.keys().filter(|key| !ours.contains_key(*key));
            for key in ours.keys().chain(more) {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                values(&path, ours.get(key), theirs.get(key), tell);
            }
        }
        (Some(Value::Array(ours)), Some(Value::Array(theirs))) => {
            for index in 0..ours.len().max(theirs.len()) {
                let path = format!("{path}[{index}]");
                values(&path, ours.get(index), theirs.get(index), tell);
            }
        }
        (one, other) => tell(path, one, other),
    }
}
