//! R-Car M2-W's board by mainline's own device tree: real DMA controllers behind IPMMU-DS.

use integration::{Guest, Run};
use vm_memory::{Bytes, GuestAddress};
use vmm::introspect::probe;
use vmm::lab::Behaviours;
use vmm::sanitizer::{Kind, Sanitizer};

use crate::iommu::utlb;

/// Tests every channel of every controller, whose data the kernel compares, and says what came of
/// it.
const DMATEST: &str = "cd /sys/module/dmatest/parameters; echo 2 >iterations; echo 1 >run; cat wait; echo 0 >run; \
    dmesg | grep -c 'dmatest: dma.*: summary 2 tests, 0 failures'; dmesg | grep -c 'dmatest: dma.*: summary'";

/// Has channel 0 of the first controller, which no driver uses behind an IPMMU, copy 4 KiB from one
/// physical address to another as if these were IOVAs, and says what became of it: 0xc0005411 is an
/// address error, 0x40005413 a transfer that has ended.
const STRAY: &str = "copy() { d=0xe6708000; devmem 0xe6700080 32 1; devmem $d 32 0x4c000000; \
    devmem $((d+4)) 32 0x4d000000; devmem $((d+8)) 32 0x400; devmem $((d+12)) 32 0x40005411; sleep 0.01; \
    echo $1: $(devmem $((d+12))); }; cd /sys/bus/platform/drivers/rcar-dmac; copy bound; \
    echo e6700000.dma-controller >unbind; copy unbound; echo e6700000.dma-controller >bind; copy rebound";

const SOURCE: GuestAddress = GuestAddress(0x4c00_0000);
const VICTIM: GuestAddress = GuestAddress(0x4d00_0000);

#[test]
fn every_channel_copies_behind_the_ipmmu_the_same_in_each_run_and_from_a_snapshot() {
    let guest = Guest::koelsch().iommu("ipmmu").cpus(2).run(DMATEST);
    let run = guest.clone().boot();
    run.assert_good();
    // Channel 0 is left alone where there is an IPMMU (`rcar_dmac_probe`).
    let channels = 14 + 15 + 13 + 13;
    assert_eq!(run.output(1), format!("Y\n{channels}\n{channels}"));
    for channel in 1..15 {
        let utlb = utlb(&run, &format!("dmac0-ch{channel}"));
        assert_eq!((utlb.attaches, utlb.detaches), (1, 0), "{channel}");
        assert_eq!((utlb.faults, utlb.bus_errors), (0, 0), "{channel}");
    }
    assert_eq!(run.summary.exits.unmapped, 0);
    // Stopped in the midst of the work, saved, and gone on with.
    let mut live = guest.start();
    live.run_until("guest: ready");
    run.assert_same(&live.restored().finish());
}

/// What became of a stray transfer, each time: the channel's control register.
fn outcomes(run: &Run) -> Vec<String> {
    let text = run.text();
    let lines = text.lines().filter_map(|line| {
        let (when, control) = line.split_once("bound: ")?;
        let when = ["", "un", "re"].into_iter().find(|word| *word == when)?;
        Some(format!("{when}bound {control}"))
    });
    lines.collect()
}

/// The trap of this board: its RAM is where IOVAs are. While the IPMMU translates, an IOVA that
/// nobody has mapped is refused; when the micro-TLB is off, the same address overwrites memory, and
/// no part of the guest notices. The guard of `arch_teardown_dma_ops` keeps it on when `rcar-dmac`
/// is unbound; without, as before 2017, it is taken down.
#[test]
fn a_stray_iova_overwrites_ram_when_the_controller_was_detached() {
    let behaviours = Behaviours::shipped().unwrap();
    for (behaviour, control, kinds) in [
        ("stock", "0xC0005411", &[][..]),
        ("guard-absent", "0x40005413", &[Kind::StrayAddress]),
    ] {
        let probes = &behaviours.get(behaviour).unwrap().probes;
        let probes: Vec<_> = probes
            .iter()
            .map(|text| probe::parse(text).unwrap())
            .collect();
        let sanitizer = Sanitizer::new("dma".parse().unwrap(), Box::new(|_| {}));
        let guest = Guest::koelsch()
            .iommu("ipmmu")
            // What follows is nobody's.
            .cmdline("mem=192M")
            .run(STRAY);
        let mut live = guest.start_watched(Some(sanitizer.sink()));
        probe::attach(live.machine_mut(), probes, Box::new(|_, _| {}));
        let memory = live.machine().memory();
        #[expect(clippy::cast_possible_truncation, reason = "the bytes are whatever")]
        let wanted: Vec<u8> = (0..4096_u32).map(|n| ((n * 7) >> 2) as u8).collect();
        memory.write_slice(&wanted, SOURCE).unwrap();
        let victim = || {
            let mut bytes = vec![0; 4096];
            memory.read_slice(&mut bytes, VICTIM).unwrap();
            bytes
        };
        live.run_until("\nbound: ");
        assert!(victim().iter().all(|byte| *byte == 0), "{behaviour}");
        let run = live.finish();
        run.assert_good();
        let lost = control == "0x40005413";
        assert_eq!(victim() == wanted, lost, "{behaviour}: {}", run.text());
        let refused = "0xC0005411";
        let wanted = [
            format!("bound {refused}"),
            format!("unbound {control}"),
            format!("rebound {refused}"),
        ];
        assert_eq!(outcomes(&run), wanted, "{behaviour}");
        let utlb = utlb(&run, "dmac0-ch0");
        assert_eq!(
            (utlb.detaches, utlb.faults),
            (lost.into(), 3 - u64::from(lost))
        );
        // The guest has no say in it.
        let findings = sanitizer.finish(run.summary.guest_ns);
        assert!(findings.counts.keys().eq(kinds), "{findings:?}");
    }
}
