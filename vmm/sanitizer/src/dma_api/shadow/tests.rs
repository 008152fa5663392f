//! The shadow, alone and held against a model that has one entry for each byte.

use proptest::prelude::*;

use super::*;

const DEVICE: GuestDevice = GuestDevice(1);

fn mapping(first: u64, bytes: u64, direction: Direction) -> Mapping<u32> {
    Mapping {
        first,
        bytes,
        direction,
        kind: MappingKind::Streaming,
        buffer: None,
        in_use: false,
        owned: None,
        freed: None,
        made: 0,
    }
}

/// Takes back a streaming mapping, of which size and direction are said.
fn unmap(shadow: &mut Shadow<u32>, said: &Mapping<u32>) -> Unmapped<u32> {
    let how = (said.bytes, Some(said.direction));
    shadow.unmap(DEVICE, said.kind, said.first, how, 9)
}

#[test]
fn directions_are_those_of_the_kernel() {
    let allowed = |number| {
        let direction = Direction::of(number);
        (direction.allows(false), direction.allows(true))
    };
    assert_eq!(allowed(0), (true, true));
    assert_eq!(allowed(1), (true, false));
    assert_eq!(allowed(2), (false, true));
    assert_eq!(allowed(3), (false, false));
    assert_eq!(allowed(u64::MAX), (false, false));
}

#[test]
fn an_access_beyond_a_mapping_names_what_is_near() {
    let mut shadow = Shadow::default();
    let near = mapping(0x1010, 0x20, Direction::Both);
    shadow.map(DEVICE, near.clone());
    let judge = |shadow: &Shadow<u32>, first, last| match shadow.judge(DEVICE, (first, last), true)
    {
        Verdict::Outside {
            at,
            neighbour,
            past,
        } => Some((at, neighbour.cloned(), past.cloned())),
        Verdict::Fine => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(judge(&shadow, 0x1010, 0x102f), None);
    assert_eq!(
        judge(&shadow, 0x1010, 0x1030),
        Some((0x1030, Some(near.clone()), None))
    );
    assert_eq!(
        judge(&shadow, 0x1000, 0x1010),
        Some((0x1000, Some(near.clone()), None))
    );
    assert_eq!(judge(&shadow, 0x2000, 0x2000), Some((0x2000, None, None)));
    assert_eq!(unmap(&mut shadow, &near), Unmapped::Matched(near.clone()));
    let past = Past {
        mapping: near,
        ended: 9,
        is_over: false,
    };
    assert_eq!(
        judge(&shadow, 0x1010, 0x1010),
        Some((0x1010, None, Some(past)))
    );
}

#[test]
fn neighbours_in_address_are_one_piece() {
    let mut shadow = Shadow::default();
    shadow.map(DEVICE, mapping(0x1000, 0x1000, Direction::Both));
    shadow.map(DEVICE, mapping(0x2000, 0x1000, Direction::ToDevice));
    let fine = |write, last| matches!(shadow.judge(DEVICE, (0x1000, last), write), Verdict::Fine);
    assert!(fine(false, 0x2fff) && fine(true, 0x1fff) && !fine(true, 0x2000));
}

#[test]
fn what_the_device_only_reads_may_be_mapped_again() {
    let mut shadow = Shadow::default();
    let read = mapping(0x1000, 0x100, Direction::ToDevice);
    let written = mapping(0x1080, 0x10, Direction::FromDevice);
    assert_eq!(shadow.map(DEVICE, read.clone()), Mapped::New);
    assert_eq!(shadow.map(DEVICE, read.clone()), Mapped::New);
    assert!(matches!(shadow.map(DEVICE, written.clone()), Mapped::Twice(of) if of == read));
    assert_eq!(shadow.count, 3);
    // Each is taken back once.
    assert!(matches!(unmap(&mut shadow, &read), Unmapped::Matched(_)));
    assert!(matches!(unmap(&mut shadow, &read), Unmapped::Matched(_)));
    assert!(matches!(
        unmap(&mut shadow, &read),
        Unmapped::Nothing(Some(_))
    ));
    assert!(matches!(unmap(&mut shadow, &written), Unmapped::Matched(_)));
    assert!(shadow.count == 0);
}

#[test]
fn the_same_memory_at_two_addresses_is_mapped_twice() {
    let mut shadow = Shadow::default();
    let of = |first, buffer, bytes| Mapping {
        buffer: Some(buffer),
        ..mapping(first, bytes, Direction::FromDevice)
    };
    assert_eq!(shadow.map(DEVICE, of(0x1000, 0x7_0100, 0x100)), Mapped::New);
    assert_eq!(shadow.map(DEVICE, of(0x2000, 0x7_0200, 0x100)), Mapped::New);
    assert!(
        matches!(shadow.map(DEVICE, of(0x3000, 0x7_01ff, 1)), Mapped::Twice(m) if m.first == 0x1000)
    );
    assert!(
        matches!(shadow.map(DEVICE, of(0x4000, 0x7_02ff, 9)), Mapped::Twice(m) if m.first == 0x2000)
    );
    // Another device may have it too.
    assert_eq!(
        shadow.map(GuestDevice(2), of(0x1000, 0x7_0100, 0x100)),
        Mapped::New
    );
    shadow.forget(DEVICE);
    assert_eq!(shadow.count, 1);
}

#[test]
fn an_unmap_must_say_what_the_map_said() {
    let mut shadow = Shadow::default();
    let made = mapping(0x1000, 0x100, Direction::FromDevice);
    for said in [
        mapping(0x1000, 0x80, Direction::FromDevice),
        mapping(0x1000, 0x100, Direction::Both),
    ] {
        shadow.map(DEVICE, made.clone());
        assert_eq!(unmap(&mut shadow, &said), Unmapped::Differed(made.clone()));
    }
    // Coherent memory has a function of its own.
    shadow.map(DEVICE, made.clone());
    let free = shadow.unmap(DEVICE, MappingKind::Coherent, 0x1000, (0x100, None), 9);
    assert!(matches!(free, Unmapped::Nothing(_)));
    let never = mapping(0x5000, 1, Direction::Both);
    assert_eq!(unmap(&mut shadow, &never), Unmapped::Nothing(None));
}

#[test]
fn what_is_left_is_told_once() {
    let mut shadow = Shadow::default();
    let made = mapping(0x1000, 0x100, Direction::FromDevice);
    shadow.map(DEVICE, made.clone());
    assert_eq!(shadow.unbind(DEVICE), std::slice::from_ref(&made));
    assert_eq!(shadow.unbind(DEVICE), []);
    assert!(matches!(
        shadow.judge(DEVICE, (0x1000, 0x1000), true),
        Verdict::Unbound(Some(_))
    ));
    assert!(matches!(
        shadow.judge(DEVICE, (0x9000, 0x9000), true),
        Verdict::Unbound(None)
    ));
    // The next driver may be given the same memory.
    assert_eq!(shadow.map(DEVICE, made.clone()), Mapped::New);
    assert!(matches!(
        shadow.judge(DEVICE, (0x1000, 0x1000), true),
        Verdict::Fine
    ));
    assert_eq!(shadow.unbind(DEVICE), [made]);
}

#[test]
fn a_call_that_takes_back_may_not_have_returned() {
    let mut shadow = Shadow::default();
    for first in [0x1000, 0x2000] {
        let made = mapping(first, 0x100, Direction::Both);
        shadow.map(DEVICE, made.clone());
        unmap(&mut shadow, &made);
    }
    shadow.returned(DEVICE, &|mapping| mapping.first == 0x1000);
    let over = |address| shadow.past(DEVICE, address).map(|past| past.is_over);
    assert_eq!(
        (over(0x1010), over(0x2010), over(0x3010)),
        (Some(true), Some(false), None)
    );
}

#[test]
fn a_list_is_one() {
    let mut shadow = Shadow::default();
    for first in [0x1000, 0x9000] {
        let kind = MappingKind::List(0xc123);
        shadow.map(
            DEVICE,
            Mapping {
                kind,
                ..mapping(first, 0x10, Direction::Both)
            },
        );
    }
    assert_eq!(shadow.unmap_list(DEVICE, 0xc124, &9), []);
    assert_eq!(shadow.unmap_list(DEVICE, 0xc123, &9).len(), 2);
    assert!(shadow.count == 0);
}

#[test]
fn memory_is_bounded_and_what_is_lost_is_not_judged() {
    let mut shadow = Shadow::default();
    for n in 0..MAX_MAPPINGS as u64 {
        shadow.map(DEVICE, mapping(n << 12, 1, Direction::Both));
    }
    let one_more = mapping(1 << 40, 1, Direction::Both);
    assert_eq!(shadow.map(DEVICE, one_more.clone()), Mapped::Unknown);
    assert_eq!(shadow.count, MAX_MAPPINGS);
    assert!(matches!(
        shadow.judge(DEVICE, (5, 5), true),
        Verdict::Unknown
    ));
    assert_eq!(unmap(&mut shadow, &one_more), Unmapped::Unknown);
    shadow.give_up(DEVICE);
    assert!(shadow.count == 0 && shadow.is_given_up(DEVICE));
    // Others go on.
    let other = GuestDevice(2);
    assert_eq!(shadow.map(other, one_more), Mapped::New);
    for n in 0..2 * MAX_DEVICES as u64 {
        shadow.map(GuestDevice(100 + n), mapping(0, 1, Direction::Both));
    }
    assert!(shadow.devices.len() <= MAX_DEVICES);
    for n in 0..2 * MAX_PAST as u64 {
        let one = mapping(n, 1, Direction::Both);
        shadow.map(other, one.clone());
        shadow.unmap(other, one.kind, n, (1, None), 0);
    }
    assert_eq!(shadow.devices[&other].past.len(), MAX_PAST);
}

#[test]
fn hostile_numbers_end_with_the_address_space() {
    let mut shadow = Shadow::default();
    let all = mapping(u64::MAX - 1, u64::MAX, Direction::Both);
    shadow.map(
        DEVICE,
        Mapping {
            buffer: Some(u64::MAX),
            ..all
        },
    );
    shadow.map(DEVICE, mapping(0, 0, Direction::Both));
    shadow.map(
        DEVICE,
        Mapping {
            buffer: Some(7),
            ..mapping(5, u64::MAX, Direction::Both)
        },
    );
    let top = (u64::MAX, u64::MAX);
    assert!(matches!(shadow.judge(DEVICE, top, true), Verdict::Fine));
    assert!(matches!(
        shadow.judge(DEVICE, (0, u64::MAX), true),
        Verdict::Outside { at: 0, .. }
    ));
}

/// What a test does to a shadow.
#[derive(Clone, Debug)]
enum Step {
    Map(Mapping<u32>),
    /// Unmaps as the mapping of this number was made, counted around.
    Unmap(usize),
    /// Unmaps something that may not be there.
    UnmapAt(Mapping<u32>),
    Access(u64, u64, bool),
    Unbind,
}

fn any_mapping() -> impl Strategy<Value = Mapping<u32>> {
    let buffer = prop::option::of(0..40u64);
    (0..48u64, 1..12u64, 0..3u64, buffer).prop_map(|(first, bytes, direction, buffer)| Mapping {
        buffer,
        ..mapping(first, bytes, Direction::of(direction))
    })
}

fn step() -> impl Strategy<Value = Step> {
    let access = (0..48u64, 1..12u64, any::<bool>());
    prop_oneof![
        4 => any_mapping().prop_map(Step::Map),
        2 => any::<usize>().prop_map(Step::Unmap),
        1 => any_mapping().prop_map(Step::UnmapAt),
        4 => access.prop_map(|(first, bytes, write)| Step::Access(first, first + bytes - 1, write)),
        1 => Just(Step::Unbind),
    ]
}

/// The model: a list of mappings, each searched byte by byte. `made` is a number of its own for
/// each, and with it whether it was left over.
#[derive(Default)]
struct Model {
    live: Vec<(Mapping<u32>, bool)>,
    unbound: bool,
}

impl Model {
    fn bytes(first: u64, of: &Mapping<u32>) -> std::ops::Range<u64> {
        first..first + of.bytes
    }

    fn twice(&self, new: &Mapping<u32>) -> bool {
        self.live.iter().any(|(old, left)| {
            let shared = |(old_first, new_first): (u64, u64)| {
                Self::bytes(old_first, old).any(|byte| Self::bytes(new_first, new).contains(&byte))
            };
            let memory = old.buffer.zip(new.buffer);
            let shares = shared((old.first, new.first)) || memory.is_some_and(shared);
            shares && !left && (old.direction.allows(true) || new.direction.allows(true))
        })
    }

    /// Returns the byte at which an access goes wrong, and whether it is in a mapping.
    fn wrong(&self, (first, last): (u64, u64), write: bool) -> Option<(u64, bool)> {
        (first..=last).find_map(|byte| {
            let has = |(m, _): &&(Mapping<u32>, bool)| Self::bytes(m.first, m).contains(&byte);
            let mut here = self.live.iter().filter(has);
            let mapped = here.clone().next().is_some();
            (!here.any(|(m, _)| m.direction.allows(write))).then_some((byte, mapped))
        })
    }

    /// Checks what became of an unmap that said `said`.
    fn unmap(&mut self, said: &Mapping<u32>, gone: Unmapped<u32>) -> Result<(), TestCaseError> {
        let fits = |m: &Mapping<u32>| {
            (m.first, m.bytes, m.direction) == (said.first, said.bytes, said.direction)
        };
        let (any_fits, any_begins) = (
            self.live.iter().any(|(m, _)| fits(m)),
            self.live.iter().any(|(m, _)| m.first == said.first),
        );
        let gone = match gone {
            Unmapped::Matched(gone) => {
                prop_assert!(fits(&gone));
                gone
            }
            Unmapped::Differed(gone) => {
                prop_assert!(!any_fits && gone.first == said.first);
                gone
            }
            Unmapped::Nothing(_) | Unmapped::Unknown => {
                prop_assert!(!any_begins);
                return Ok(());
            }
        };
        let place = self.live.iter().position(|(m, _)| *m == gone);
        prop_assert!(place.is_some());
        self.live.remove(place.unwrap_or_default());
        Ok(())
    }
}

proptest! {
    #[test]
    fn the_shadow_does_as_the_model(steps in prop::collection::vec(step(), 1..80)) {
        let mut shadow = Shadow::default();
        let mut model = Model::default();
        for (made, step) in (0..).zip(steps) {
            match step {
                Step::Map(mapping) => {
                    let mapping = Mapping { made, ..mapping };
                    let twice = matches!(shadow.map(DEVICE, mapping.clone()), Mapped::Twice(_));
                    prop_assert_eq!(twice, model.twice(&mapping));
                    model.live.push((mapping, false));
                    model.unbound = false;
                }
                Step::Unmap(n) if !model.live.is_empty() => {
                    let (said, _) = model.live[n % model.live.len()].clone();
                    model.unmap(&said, unmap(&mut shadow, &said))?;
                }
                Step::Unmap(_) => {}
                Step::UnmapAt(said) => model.unmap(&said, unmap(&mut shadow, &said))?,
                Step::Access(first, last, write) => {
                    let wrong = model.wrong((first, last), write);
                    match shadow.judge(DEVICE, (first, last), write) {
                        Verdict::Fine => prop_assert_eq!(wrong, None),
                        Verdict::Outside { at, .. } => prop_assert_eq!(wrong, Some((at, false))),
                        Verdict::Direction(_) => prop_assert!(matches!(wrong, Some((_, true)))),
                        Verdict::Unbound(_) => prop_assert!(model.unbound),
                        Verdict::Unknown => prop_assert!(shadow.devices.is_empty()),
                    }
                }
                Step::Unbind => {
                    let told = shadow.unbind(DEVICE).len();
                    let left = model.live.iter_mut().filter(|(_, left)| !left);
                    prop_assert_eq!(told, left.map(|(_, left)| *left = true).count());
                    model.unbound = !shadow.devices.is_empty();
                }
            }
            prop_assert_eq!(shadow.count, model.live.len());
            let buffers: usize = shadow.devices.values().map(|known| known.buffers.len()).sum();
            let known = model.live.iter().filter(|(m, _)| m.buffer.is_some());
            prop_assert_eq!(buffers, known.count());
        }
    }
}

#[test]
fn of_a_pool_only_blocks_may_be_accessed() {
    let mut shadow = Shadow::default();
    let page = Mapping {
        kind: MappingKind::Coherent,
        ..mapping(0x1000, 0x1000, Direction::Both)
    };
    let block = Mapping {
        kind: MappingKind::Block(7),
        ..mapping(0x1040, 0x30, Direction::Both)
    };
    assert!(!shadow.pool(DEVICE, 0x1040));
    shadow.map(DEVICE, page.clone());
    assert!(!shadow.pool(DEVICE, 0x2000) && shadow.pool(DEVICE, 0x1040));
    assert_eq!(shadow.map(DEVICE, block.clone()), Mapped::New);
    let outside =
        |shadow: &Shadow<u32>, first, last| match shadow.judge(DEVICE, (first, last), true) {
            Verdict::Outside {
                at,
                neighbour,
                past,
            } => Some((
                at,
                neighbour.cloned(),
                past.map(|past| past.mapping.clone()),
            )),
            Verdict::Fine => None,
            other => panic!("{other:?}"),
        };
    assert_eq!(outside(&shadow, 0x1040, 0x106f), None);
    let beyond = Some((0x1070, Some(block.clone()), None));
    assert_eq!(outside(&shadow, 0x1060, 0x1070), beyond);
    let before = Some((0x103f, Some(block.clone()), None));
    assert_eq!(outside(&shadow, 0x103f, 0x103f), before);
    let free = |shadow: &mut Shadow<u32>| {
        let how = (block.bytes, None);
        shadow.unmap(DEVICE, block.kind, block.first, how, 9)
    };
    assert_eq!(free(&mut shadow), Unmapped::Matched(block.clone()));
    let gone = Some((0x1040, None, Some(block.clone())));
    assert_eq!(outside(&shadow, 0x1040, 0x1040), gone);
    assert!(matches!(free(&mut shadow), Unmapped::Nothing(Some(_))));
    // The page is taken back as it was given.
    let how = (page.bytes, None);
    let taken = shadow.unmap(DEVICE, page.kind, page.first, how, 9);
    assert_eq!(taken, Unmapped::Matched(page));
}
