//! A guest that programs nonsense harms itself at most.

use integration::{Disk, Guest, Run, disk};
use vm_memory::{Bytes, GuestAddress};
use vmm::Reason;

/// The first IPMMU's registers in its non-secure bank (drivers/iommu/ipmmu-vmsa.c).
const BANK: u32 = 0x0980_0800;
const IMCTR: u32 = BANK;
const IMTTBCR: u32 = BANK + 0x08;
const IMTTLBR0: u32 = BANK + 0x10;
const IMUCTR0: u32 = BANK + 0x300;

/// Enabled, with interrupts, and flush.
const ON: u32 = 7;

fn write(register: u32, value: u32) -> String {
    format!("devmem {register:#x} 32 {value:#x}; ")
}

/// Asserts that a guest has read its disk of noise, has lived to say so by its last command, and
/// has written nothing.
pub(crate) fn assert_survived(run: &Run, (disk, seed): (&Disk, u64), last: usize) {
    assert_eq!(run.reason, Reason::PowerOff, "{}", run.text());
    assert!(run.output(1).starts_with(&disk.sha256()), "{}", run.text());
    assert_eq!(run.output(last), "still alive");
    let unharmed = disk.bytes() == disk::random_bytes(1 << 20, seed);
    assert!(unharmed, "the disk was written");
}

/// Boots a guest that does `nonsense`, then has its devices work, and goes on.
fn survives(nonsense: &str) -> Run {
    let disk = disk::noise(1 << 20, 61);
    let run = Guest::image("ipmmu")
        .iommu("ipmmu")
        .disk(&disk)
        .cpus(2)
        .run(&format!("sha256sum /dev/vda; {nonsense}"))
        // These may wait for ever for an answer.
        .run("dd if=/dev/vda of=/dev/null bs=64k iflag=direct & dd if=/dev/hwrng of=/dev/null bs=64 count=9 & sleep 2")
        .run("echo still alive")
        .boot();
    assert_survived(&run, (&disk, 61), 3);
    run
}

/// Returns the faults and bus errors of all devices.
pub(crate) fn refused(run: &Run) -> (u64, u64) {
    let utlbs = run.summary.iommus.iter().flat_map(|iommu| &iommu.utlbs);
    utlbs.fold((0, 0), |(faults, errors), utlb| {
        (faults + utlb.faults, errors + utlb.bus_errors)
    })
}

#[test]
fn tables_among_the_devices_and_beyond_memory() {
    for table in [0x0900_0000, BANK & !0xfff, 0xffff_f000, 0] {
        let run = survives(&(write(IMTTLBR0, table) + &write(IMCTR, ON)));
        let (faults, errors) = refused(&run);
        assert!(
            faults > 0 && errors == 0,
            "{table:#x}: {:?}",
            run.summary.iommus
        );
        assert!(
            run.text().contains("Page Table Walk Abort"),
            "{}",
            run.text()
        );
    }
}

#[test]
fn a_table_that_is_its_own_page() {
    // Every entry of the first table leads to itself, level after level, until it is the page.
    let nonsense = format!(
        "t=$(devmem {IMTTLBR0:#x} 32); for o in 0 8 16 24; do \
         devmem $((t+o)) 32 $((t|3)); devmem $((t+o+4)) 32 0x80; done; {}",
        write(IMCTR, ON)
    );
    let run = survives(&nonsense);
    assert!(refused(&run).0 > 0, "{:?}", run.summary.iommus);
}

#[test]
fn mappings_beyond_memory() {
    // Blocks of 1 GiB, readable and writable, to 4, 5, 6 and 7 GiB. The kernel's driver finds its
    // tables taken and has the device do nothing, so that the accesses are made in its place.
    let nonsense = format!(
        "t=$(devmem {IMTTLBR0:#x} 32); for o in 0 8 16 24; do \
         devmem $((t+o)) 32 $((0x661|((o>>3)<<30))); devmem $((t+o+4)) 32 1; done; {}",
        write(IMCTR, ON)
    );
    let mut live = Guest::image("ipmmu")
        .iommu("ipmmu")
        .run(&nonsense)
        .run("true")
        .start();
    live.run_until("guest: command 1 exited with 0\r\n");
    assert_eq!(live.machine().summary().iommus[0].mappings, 4);
    let dma = live.machine().dma_space("rng").expect("there is one");
    for iova in [0, 0x4000_0000, 0xbfff_fffc, 0xffff_fffc] {
        assert!(dma.read_obj::<u32>(GuestAddress(iova)).is_err());
        assert!(dma.write_obj(0_u32, GuestAddress(iova)).is_err());
    }
    let run = live.finish();
    run.assert_good();
    assert_eq!(refused(&run), (0, 8), "{:?}", run.summary.iommus);
}

#[test]
fn utlbs_on_dead_contexts_and_on_none() {
    let all = |value: u32| -> String {
        format!("for u in $(seq 0 31); do devmem $(({IMUCTR0}+16*u)) 32 {value:#x}; done; ")
    };
    // Contexts 1 and 3 translate nothing, 8 is the PMB and 15 does not exist.
    for (ttsel, blocked) in [(1, false), (3, false), (8, true), (15, true)] {
        let run = survives(&all(ttsel << 4 | 1));
        let (faults, errors) = refused(&run);
        assert_eq!(
            (faults > 0, errors > 0),
            (blocked, !blocked),
            "{ttsel}: {:?}",
            run.summary.iommus
        );
    }
    let run = survives(&all(0));
    assert!(refused(&run).1 > 0, "{:?}", run.summary.iommus);
}

#[test]
fn a_format_that_is_not_modelled_and_noise_in_every_register() {
    let run = survives(&(write(IMTTBCR, 0) + &write(IMCTR, ON)));
    assert!(refused(&run).0 > 0, "{:?}", run.summary.iommus);
    // The window from end to end, its secure bank included, each word with a value of its own.
    let noise = format!(
        "a={:#x}; n=1; while [ $a -lt {:#x} ]; do n=$(((n*1103515245+12345)&0x7fffffff)); \
         devmem $a 32 $n; devmem $a 32 >/dev/null; a=$((a+4)); done",
        BANK & !0xfff,
        (BANK & !0xfff) + 0x1000,
    );
    survives(&noise).assert_same(&survives(&noise));
}
