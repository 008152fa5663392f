//! What the table says of arguments.

use super::*;

fn function(name: &str) -> &'static Function {
    FUNCTIONS.iter().find(|f| f.name == name).unwrap()
}

const fn wide(dma: bool, physical: bool) -> Wide {
    Wide { dma, physical }
}

#[test]
fn arguments_are_where_the_procedure_call_standard_puts_them() {
    let all = |name, wide| {
        let function = function(name);
        let place = |n| words(function, n, wide).unwrap();
        (0..function.arguments.len()).map(place).collect::<Vec<_>>()
    };
    let one = |n| (n, false);
    let (narrow, both) = (wide(false, false), wide(true, true));
    assert_eq!(all("dma_map_page_attrs", both), [0, 1, 2, 3, 4, 5].map(one));
    assert_eq!(
        all("dma_unmap_page_attrs", narrow),
        [0, 1, 2, 3, 4].map(one)
    );
    // R1 stays empty, the address is in R2 and R3, and the rest on the stack.
    let even = [(0, false), (2, true), (4, false), (5, false), (6, false)];
    assert_eq!(all("dma_unmap_page_attrs", wide(true, false)), even);
    assert_eq!(all("dma_map_phys", wide(false, true)), even);
    assert_eq!(
        all("dma_map_phys", wide(true, false)),
        [0, 1, 2, 3, 4].map(one)
    );
    // R3 stays empty, as no register follows it that would take the other half.
    let free = [(0, false), (1, false), (2, false), (4, true), (6, false)];
    assert_eq!(all("dma_free_attrs", both), free);
    assert_eq!(words(function("dma_free_attrs"), 5, both), None);
}

#[test]
fn what_a_function_works_by_is_watched_too() {
    for Function { name, within, .. } in FUNCTIONS {
        assert!(
            within.is_none_or(|within| FUNCTIONS.iter().any(|f| f.name == within)),
            "{name}"
        );
        assert_eq!(
            FUNCTIONS.iter().filter(|f| f.name == *name).count(),
            1,
            "{name}"
        );
    }
}

#[test]
fn every_argument_that_is_used_is_there() {
    for function in FUNCTIONS {
        let used = match function.effect {
            Effect::Map {
                memory: Memory::Page(a, b),
                size,
                direction,
                attributes,
            } => vec![a, b, size, direction, attributes],
            Effect::Map {
                memory: Memory::Physical(a),
                size,
                direction,
                attributes,
            } => vec![a, size, direction, attributes],
            Effect::Map {
                memory: Memory::Registers,
                size,
                direction,
                attributes,
            } => vec![size, direction, attributes],
            Effect::Unmap {
                address,
                size,
                direction,
            } => vec![address, size, direction],
            Effect::MapList {
                list,
                direction,
                attributes,
            } => vec![list, direction, attributes],
            Effect::UnmapList { list } | Effect::SyncList { list, .. } => vec![list],
            Effect::Sync { address, size, .. } => vec![address, size],
            Effect::Allocate {
                size,
                handle,
                direction,
            } => [Some(size), Some(handle), direction]
                .into_iter()
                .flatten()
                .collect(),
            Effect::Free { size, handle } => vec![size, handle],
            Effect::CreatePool { device, size } => vec![device, size],
            Effect::AllocateBlock { handle } | Effect::FreeBlock { handle } => vec![0, handle],
            Effect::Release(Freed::Pages(Some(n)) | Freed::OneUser(n) | Freed::Object(n)) => {
                vec![0, n]
            }
            Effect::Release(_) | Effect::Untold | Effect::Unbind | Effect::DestroyPool => vec![0],
        };
        for n in used {
            // Ten words are kept of a call.
            let (word, two) = words(function, n, wide(true, true)).unwrap();
            assert!(word + usize::from(two) < 10, "{}", function.name);
        }
    }
}
