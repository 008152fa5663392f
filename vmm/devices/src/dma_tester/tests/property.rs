//! Operations beside a model that does them byte by byte.

use proptest::prelude::*;

use super::*;

/// Memory as a map of bytes, and an operation done byte by byte.
#[derive(Default)]
struct Model {
    bytes: std::collections::BTreeMap<u64, u8>,
    met: Met,
}

impl Model {
    fn has(address: u64) -> bool {
        (RAM..HOLE).contains(&address) || (UPPER..UPPER + HALF).contains(&address)
    }

    fn run(&mut self, operation: &Operation) {
        self.met = Met::default();
        let mut read = Vec::new();
        'operation: for access in (0..operation.repeat).flat_map(|_| 0..operation.count) {
            let first =
                i128::from(operation.address) + i128::from(operation.stride) * i128::from(access);
            self.met.accesses += 1;
            for offset in 0..u64::from(operation.length) {
                let address = u64::try_from(first).unwrap() + offset;
                if operation.requester == 1 || !Self::has(address) {
                    if self.met.faults == 0 {
                        self.met.fault = address;
                        self.met.reason = if operation.requester == 1 { 24 } else { 1 };
                    }
                    self.met.faults += 1;
                    if operation.go_on {
                        continue 'operation;
                    }
                    break 'operation;
                }
                let place = u64::from(access) * u64::from(operation.length) + offset;
                let word = match operation.pattern {
                    Pattern::Word => operation.data,
                    _ => (operation
                        .data
                        .wrapping_add(u32::try_from(place / 4).unwrap()))
                    .wrapping_mul(SEQUENCE_FACTOR),
                };
                let byte = word.to_le_bytes()[usize::try_from(place % 4).unwrap()];
                let found = self.bytes.entry(address).or_default();
                self.met.moved += 1;
                if operation.kind == OperationKind::Fill {
                    *found = byte;
                    continue;
                }
                read.push(*found);
                if operation.kind == OperationKind::Compare && *found != byte {
                    if self.met.mismatches == 0 {
                        self.met.mismatch = address;
                    }
                    self.met.mismatches += 1;
                }
            }
        }
        self.met.checksum = crc32fast::hash(&read);
    }
}

fn operations() -> impl Strategy<Value = Operation> {
    let kind = prop_oneof![
        Just(OperationKind::Read),
        Just(OperationKind::Compare),
        Just(OperationKind::Fill),
    ];
    let pattern = prop_oneof![Just(Pattern::Word), Just(Pattern::Sequence)];
    let numbers = (
        0..2_u32,
        1..0x2400_u32,
        1..5_u32,
        -0x900..0x900_i32,
        1..3_u32,
    );
    let place = (0x4000..0x1a000_u64, 0..3_u64, 0..3_u32, any::<bool>());
    (kind, pattern, numbers, place).prop_map(|(kind, pattern, numbers, place)| {
        let (requester, length, count, stride, repeat) = numbers;
        let (offset, interval, data, go_on) = place;
        Operation {
            kind,
            requester,
            // Below what the strides subtract.
            address: RAM - 0x4000 + offset,
            length,
            count,
            stride,
            repeat,
            interval_ns: 1000 * interval,
            pattern,
            data,
            go_on,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_does_what_bytes_one_by_one_would(
        operations in prop::collection::vec(operations(), 1..6), moved in any::<bool>(),
    ) {
        let mut fixture = fixture();
        let mut model = Model::default();
        for operation in operations {
            let kind = match operation.kind {
                OperationKind::Read => COMMAND_READ,
                OperationKind::Compare => COMMAND_COMPARE,
                _ => COMMAND_FILL,
            };
            fixture.set(&[
                (REQUESTER, operation.requester), at(operation.address), (LENGTH, operation.length),
                (COUNT, operation.count), (STRIDE, operation.stride.cast_unsigned()),
                (REPEAT, operation.repeat), (PATTERN, operation.pattern as u32), (DATA, operation.data),
                (INTERVAL, u32::try_from(operation.interval_ns).unwrap()),
                (CONTROL, operation.go_on.into()), (COMMAND, kind),
            ]);
            fixture.tester.run_due();
            if moved {
                // It goes on in another device with the same state.
                let saved = fixture.tester.save();
                let (other, line, control) = tester(&fixture.ram, &fixture.clock, Vec::new());
                prop_assert!(other.restore(&saved));
                prop_assert_eq!(other.save(), saved);
                (fixture.tester, fixture.line, fixture.control) = (other, line, control);
            }
            fixture.finish();
            model.run(&operation);
            prop_assert_eq!(fixture.tester.save().met, model.met, "{:?}", operation);
        }
        for (address, byte) in &model.bytes {
            prop_assert_eq!(fixture.bytes(*address, 1)[0], *byte);
        }
    }
}
