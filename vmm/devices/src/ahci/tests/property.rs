//! The disk beside an array of bytes.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A command that a driver could send.
#[derive(Clone, Debug)]
struct Sent {
    write: bool,
    how: u8,
    first: u8,
    sectors: u8,
    byte: u8,
    cuts: Vec<u16>,
}

fn sent() -> impl Strategy<Value = Sent> {
    let cuts = vec(1..2000_u16, 0..6);
    (any::<bool>(), 0..4_u8, 0..70_u8, 1..6_u8, any::<u8>(), cuts).prop_map(
        |(write, how, first, sectors, byte, cuts)| Sent {
            write,
            how,
            first,
            sectors,
            byte,
            cuts,
        },
    )
}

proptest! {
    #[test]
    fn a_disk_is_an_array_of_bytes(all in vec(sent(), 1..30)) {
        let mut d = driver(Access::Overlay);
        let mut model = contents();
        for Sent { write, how, first, sectors, byte, cuts } in all {
            let (at, bytes) = (usize::from(first) * 512, usize::from(sectors) * 512);
            // In pieces of memory that lie apart.
            let (mut regions, mut left) = (Vec::new(), u32::try_from(bytes).unwrap());
            for (n, cut) in (0..).zip(cuts.into_iter().map(u32::from).chain([u32::MAX])) {
                if left > 0 {
                    let length = left.min(cut);
                    regions.push((DATA + n * 0x2000, length));
                    left -= length;
                }
            }
            for (region, length) in &regions {
                let data = vec![byte; *length as usize];
                d.ram.write_slice(&data, GuestAddress(u64::from(*region))).unwrap();
            }
            let slot = u32::from(how);
            let command = match (how, write) {
                (0, false) => command::READ_DMA,
                (0, true) => command::WRITE_DMA,
                (1, false) => command::READ_DMA_EXT,
                (1, true) => command::WRITE_FUA,
                (2, false) => command::READ,
                (2, true) => command::WRITE_EXT,
                (_, false) => command::READ_QUEUED,
                (_, true) => command::WRITE_QUEUED,
            };
            let queued = how == 3;
            let (features, count) = if queued { (sectors, how << 3) } else { (0, sectors) };
            d.put(slot, &[(2, command), (3, features), (4, first), (12, count)], &regions);
            if queued {
                d.ahci.write(P + port::SACT, 1 << slot);
            }
            d.issue(slot);
            let is = d.interrupt();
            let inside = at + bytes <= model.len();
            prop_assert_eq!(is & interrupt::TASK_FILE == 0, inside);
            if !inside {
                d.ahci.write(P + port::CMD, cmd::RECEIVE);
                d.ahci.write(P + port::CMD, cmd::RECEIVE | cmd::START);
                continue;
            }
            prop_assert_eq!(d.ahci.read(P + port::CI) | d.ahci.read(P + port::SACT), 0);
            prop_assert_eq!(d.moved(slot) as usize, bytes);
            if write {
                model[at..at + bytes].fill(byte);
            } else {
                let read = regions.iter().flat_map(|(at, n)| d.memory(*at, *n as usize));
                prop_assert!(read.collect::<Vec<_>>() == model[at..at + bytes]);
            }
        }
        prop_assert!(d.on_disk() == model);
    }
}
