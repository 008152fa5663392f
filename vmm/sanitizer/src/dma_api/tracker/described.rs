//! Mappings in words.

use super::{Mapping, MappingKind};

/// Returns a mapping in words.
pub fn described<C>(mapping: &Mapping<C>) -> String {
    let Mapping {
        first,
        bytes,
        direction,
        kind,
        ..
    } = mapping;
    let coherent = match kind {
        MappingKind::Coherent => ", coherent",
        MappingKind::Block(_) => ", of a pool",
        MappingKind::Streaming | MappingKind::List(_) => "",
    };
    format!(
        "{bytes} bytes at {first:#x} ({}{coherent})",
        direction.name()
    )
}
