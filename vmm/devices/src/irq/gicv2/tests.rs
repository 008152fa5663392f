#![expect(
    clippy::cast_possible_truncation,
    reason = "the tests choose small numbers"
)]

use proptest::prelude::*;

use super::spec::*;
use super::*;

const IRQS: u32 = 128;

/// Returns a GIC that forwards everything, with every core listening to all priorities.
fn gic(cpus: usize) -> GicState {
    let mut gic = GicState::new(cpus, IRQS);
    assert!(gic.dist_write(0, GICD_CTLR, 4, 1));
    for cpu in 0..cpus {
        assert!(gic.cpu_write(cpu, GICC_CTLR, 1));
        assert!(gic.cpu_write(cpu, GICC_PMR, 0xff));
    }
    gic
}

fn enable(gic: &mut GicState, irq: u32, priority: u32, targets: u32) {
    gic.dist_write(
        0,
        GICD_ISENABLER + u64::from(irq / 32) * 4,
        4,
        1 << (irq % 32),
    );
    gic.dist_write(0, GICD_IPRIORITYR + u64::from(irq), 1, priority);
    gic.dist_write(0, GICD_ITARGETSR + u64::from(irq), 1, targets);
}

fn configure_edge(gic: &mut GicState, irq: u32) {
    gic.dist_write(
        0,
        GICD_ICFGR + u64::from(irq / 16) * 4,
        4,
        2 << (irq % 16 * 2),
    );
}

#[test]
fn a_level_interrupt_lives_and_dies_with_its_line() {
    let mut gic = gic(1);
    enable(&mut gic, 40, 0xa0, 1);
    gic.set_shared(40, true);
    assert_eq!(gic.outputs(0), (true, false));
    assert_eq!(gic.cpu_read(0, GICC_HPPIR), 40);
    assert_eq!(gic.cpu_read(0, GICC_IAR), 40);
    assert_eq!(gic.outputs(0), (false, false));
    assert_eq!(gic.cpu_read(0, GICC_RPR), 0xa0);
    assert_eq!(gic.cpu_read(0, GICC_IAR), SPURIOUS);
    assert!(gic.cpu_write(0, GICC_EOIR, 40));
    assert_eq!(gic.outputs(0), (true, false), "the line is still high");
    assert_eq!(gic.cpu_read(0, GICC_IAR), 40);
    gic.set_shared(40, false);
    gic.cpu_write(0, GICC_EOIR, 40);
    assert_eq!(gic.outputs(0), (false, false));
    assert_eq!(gic.cpu_read(0, GICC_RPR), 0xff);
}

#[test]
fn an_edge_is_remembered_once_also_while_active() {
    let mut gic = gic(1);
    configure_edge(&mut gic, 40);
    assert_eq!(gic.dist_read(0, GICD_ICFGR + 8, 4), 2 << 16);
    enable(&mut gic, 40, 0xa0, 1);
    for _ in 0..2 {
        gic.set_shared(40, true);
        gic.set_shared(40, false);
    }
    assert_eq!(gic.cpu_read(0, GICC_IAR), 40);
    gic.set_shared(40, true);
    assert_eq!(gic.outputs(0), (false, false));
    gic.cpu_write(0, GICC_EOIR, 40);
    assert_eq!(gic.cpu_read(0, GICC_IAR), 40);
    gic.cpu_write(0, GICC_EOIR, 40);
    assert_eq!(
        gic.outputs(0),
        (false, false),
        "a line that stays high makes no new edge"
    );
}

#[test]
fn priorities_mask_and_preempt() {
    let mut gic = gic(1);
    for (irq, priority) in [(40, 0xa0), (41, 0x80), (42, 0xa0), (43, 0xf8)] {
        enable(&mut gic, irq, priority, 1);
        gic.set_shared(irq, true);
    }
    gic.cpu_write(0, GICC_PMR, 0xa0);
    assert_eq!(
        gic.cpu_read(0, GICC_IAR),
        41,
        "the mask admits only higher priorities"
    );
    assert_eq!(gic.cpu_read(0, GICC_IAR), SPURIOUS);
    gic.cpu_write(0, GICC_PMR, 0xff);
    assert_eq!(
        gic.cpu_read(0, GICC_IAR),
        SPURIOUS,
        "a lower priority does not preempt"
    );
    enable(&mut gic, 44, 0x40, 1);
    gic.set_shared(44, true);
    assert_eq!(gic.cpu_read(0, GICC_IAR), 44);
    assert_eq!(gic.cpu_read(0, GICC_RPR), 0x40);
    gic.cpu_write(0, GICC_EOIR, 44);
    assert_eq!(gic.cpu_read(0, GICC_RPR), 0x80);
    gic.set_shared(44, false);
    gic.set_shared(41, false);
    gic.cpu_write(0, GICC_EOIR, 41);
    assert_eq!(
        gic.cpu_read(0, GICC_IAR),
        40,
        "the lowest identifier of equal priorities"
    );
}

#[test]
fn the_binary_point_groups_priorities() {
    let mut gic = gic(1);
    enable(&mut gic, 40, 0xa0, 1);
    enable(&mut gic, 41, 0x80, 1);
    assert!(gic.cpu_write(0, GICC_BPR, 6));
    gic.set_shared(40, true);
    assert_eq!(gic.cpu_read(0, GICC_IAR), 40);
    gic.set_shared(41, true);
    assert_eq!(gic.outputs(0), (false, false), "same group: no preemption");
    gic.cpu_write(0, GICC_BPR, 0);
    assert_eq!(
        gic.cpu_read(0, GICC_BPR),
        2,
        "no finer than the implemented bits"
    );
}

#[test]
fn split_end_of_interrupt() {
    let mut gic = gic(1);
    gic.cpu_write(0, GICC_CTLR, 1 | CTLR_EOIMODE);
    enable(&mut gic, 40, 0xa0, 1);
    gic.set_shared(40, true);
    assert_eq!(gic.cpu_read(0, GICC_IAR), 40);
    assert!(gic.cpu_write(0, GICC_EOIR, 40));
    assert_eq!(gic.cpu_read(0, GICC_RPR), 0xff);
    assert_eq!(gic.outputs(0), (false, false), "still active");
    assert!(gic.cpu_write(0, GICC_DIR, 40));
    assert_eq!(gic.outputs(0), (true, false));
}

#[test]
fn sgis_reach_whom_they_are_sent_to() {
    for (filter, reached) in [
        // A list of cores, all but the sender, and the sender alone.
        (0b0101 << 16, [1, 0, 1, 0]),
        (1 << 24, [1, 0, 1, 1]),
        (2 << 24, [0, 1, 0, 0]),
    ] {
        let mut gic = gic(4);
        gic.dist_write(1, GICD_SGIR, 4, filter | 7);
        for (cpu, reached) in reached.into_iter().enumerate() {
            let value = gic.cpu_read(cpu, GICC_IAR);
            assert_eq!(
                value,
                if reached == 1 { 7 | 1 << 10 } else { SPURIOUS },
                "core {cpu} of {filter:#x}"
            );
        }
    }
}

#[test]
fn an_sgi_from_two_senders_is_taken_twice() {
    let mut gic = gic(4);
    for sender in [3, 2] {
        gic.dist_write(sender, GICD_SGIR, 4, 1 << 16 | 5);
    }
    assert_eq!(gic.dist_read(0, GICD_SPENDSGIR + 4, 4), 0b1100 << 8);
    assert_eq!(gic.cpu_read(0, GICC_IAR), 5 | 2 << 10);
    assert_eq!(gic.outputs(0), (false, false));
    gic.cpu_write(0, GICC_EOIR, 5 | 2 << 10);
    assert_eq!(gic.cpu_read(0, GICC_IAR), 5 | 3 << 10);
    gic.cpu_write(0, GICC_EOIR, 5 | 3 << 10);
    gic.dist_write(0, GICD_SPENDSGIR + 5, 1, 0x82);
    assert_eq!(
        gic.dist_read(0, GICD_SPENDSGIR + 5, 1),
        2,
        "only cores that exist send"
    );
    // Reserved words follow.
    for offset in (0xf30..GICD_ID).step_by(4) {
        assert_eq!(gic.dist_read(0, offset, 4), 0, "{offset:#x}");
    }
    gic.dist_write(0, GICD_CPENDSGIR + 5, 1, 2);
    assert_eq!(gic.outputs(0), (false, false));
}

#[test]
fn private_interrupts_are_banked() {
    let mut gic = gic(2);
    gic.dist_write(1, GICD_ISENABLER, 4, 1 << 27);
    for cpu in 0..2 {
        gic.set_private(cpu, 27, true);
    }
    assert_eq!(gic.dist_read(0, GICD_ISENABLER, 4), 0xffff);
    assert_eq!(gic.dist_read(1, GICD_ISENABLER, 4), 0x0800_ffff);
    assert_eq!((gic.outputs(0).0, gic.outputs(1).0), (false, true));
    assert_eq!(
        (
            gic.dist_read(0, GICD_ITARGETSR, 4),
            gic.dist_read(1, GICD_ITARGETSR, 4)
        ),
        (0x0101_0101, 0x0202_0202)
    );
}

#[test]
fn shared_interrupts_go_to_their_targets() {
    let mut gic = gic(4);
    enable(&mut gic, 40, 0xa0, 0b1010);
    gic.set_shared(40, true);
    let seen: Vec<bool> = (0..4).map(|cpu| gic.outputs(cpu).0).collect();
    assert_eq!(seen, [false, true, false, true]);
    assert_eq!(gic.cpu_read(3, GICC_IAR), 40);
    assert_eq!(gic.cpu_read(1, GICC_IAR), SPURIOUS, "one core takes it");
}

#[test]
fn groups_choose_the_output_and_the_register() {
    let mut gic = gic(1);
    gic.dist_write(0, GICD_CTLR, 4, 3);
    gic.cpu_write(0, GICC_CTLR, CTLR_GROUP0 | CTLR_GROUP1 | CTLR_FIQ);
    enable(&mut gic, 40, 0xa0, 1);
    gic.set_shared(40, true);
    assert_eq!(gic.outputs(0), (false, true));
    gic.dist_write(0, GICD_IGROUPR + 4, 4, 1 << 8);
    assert_eq!(gic.outputs(0), (true, false));
    assert_eq!(gic.cpu_read(0, GICC_IAR), SPURIOUS_GROUP1);
    assert_eq!(gic.cpu_read(0, GICC_AIAR), 40);
    gic.cpu_write(0, GICC_AEOIR, 40);
    gic.cpu_write(0, GICC_CTLR, CTLR_GROUP1 | CTLR_ACK);
    assert_eq!(gic.cpu_read(0, GICC_IAR), 40);
}

#[test]
fn software_can_set_and_clear_pending_and_active() {
    let mut gic = gic(1);
    enable(&mut gic, 40, 0xa0, 1);
    gic.dist_write(0, GICD_ISPENDR + 4, 4, 1 << 8);
    assert!(gic.outputs(0).0);
    gic.dist_write(0, GICD_ICPENDR + 4, 4, 1 << 8);
    assert!(!gic.outputs(0).0);
    gic.set_shared(40, true);
    gic.dist_write(0, GICD_ISACTIVER + 4, 4, 1 << 8);
    assert!(!gic.outputs(0).0);
    assert_eq!(gic.dist_read(0, GICD_ICACTIVER + 4, 4), 1 << 8);
    gic.dist_write(0, GICD_ICACTIVER + 4, 4, 1 << 8);
    assert!(gic.outputs(0).0);
    gic.dist_write(0, GICD_ICENABLER + 4, 4, 1 << 8);
    assert!(!gic.outputs(0).0);
}

#[test]
fn identification_and_bad_accesses() {
    let mut gic = gic(4);
    assert_eq!(gic.dist_read(0, GICD_TYPER, 4), 3 | 3 << 5);
    assert_eq!(gic.dist_read(0, 0xfe8, 4), 0x2b);
    assert_eq!(gic.cpu_read(0, GICC_IIDR) >> 16 & 0xf, 2);
    assert!(!gic.dist_write(0, GICD_CTLR, 1, 0), "only words there");
    assert!(!gic.cpu_write(0, GICC_EOIR, 40), "nothing is active");
    assert!(gic.cpu_write(0, GICC_EOIR, 1023));
    assert_eq!(gic.dist_read(0, GICD_CTLR, 4), 1);
}

#[test]
fn there_is_what_the_type_register_announces_and_no_more() {
    let mut gic = gic(4);
    let typer = gic.dist_read(0, GICD_TYPER, 4);
    let irqs = u64::from(32 * ((typer & 0x1f) + 1));
    let cpus = (typer >> 5 & 7) + 1;
    assert_eq!((irqs, cpus, typer >> 10 & 1), (128, 4, 0), "one world");
    for irq in 32..FIRST_SPECIAL.into() {
        let (word, bit) = (irq / 32 * 4, 1 << (irq % 32));
        gic.dist_write(0, GICD_ISENABLER + word, 4, bit);
        gic.dist_write(0, GICD_IPRIORITYR + irq, 1, 0xff);
        gic.dist_write(0, GICD_ITARGETSR + irq, 1, 0xff);
        gic.dist_write(0, GICD_IGROUPR + word, 4, bit);
        let found = [
            gic.dist_read(0, GICD_ISENABLER + word, 4) & bit,
            gic.dist_read(0, GICD_IPRIORITYR + irq, 1),
            gic.dist_read(0, GICD_ITARGETSR + irq, 1),
            gic.dist_read(0, GICD_IGROUPR + word, 4) & bit,
        ];
        // 32 priorities, and a target for each core.
        let there = [bit, 0xf8, 0x0f, bit];
        assert_eq!(found, if irq < irqs { there } else { [0; 4] }, "{irq}");
    }
}

/// An interrupt controller by its definition, for shared level interrupts of one core with split
/// priorities only.
#[derive(Default)]
struct Model {
    line: [bool; 8],
    enabled: [bool; 8],
    priority: [u8; 8],
    running: Vec<usize>,
}

impl Model {
    fn best(&self) -> Option<usize> {
        let running = self.running.last().map_or(0xff, |i| self.priority[*i]);
        (0..8)
            .filter(|i| self.line[*i] && self.enabled[*i] && !self.running.contains(i))
            .min_by_key(|i| (self.priority[*i], *i))
            .filter(|i| self.priority[*i] < running)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Line(usize, bool),
    Enable(usize, bool),
    Acknowledge,
    End,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..8_usize, any::<bool>()).prop_map(|(i, level)| Step::Line(i, level)),
        (0..8_usize, any::<bool>()).prop_map(|(i, on)| Step::Enable(i, on)),
        Just(Step::Acknowledge),
        Just(Step::End),
    ]
}

proptest! {
    #[test]
    fn it_agrees_with_the_definition(
        priorities in proptest::array::uniform8(0_u8..31),
        steps in proptest::collection::vec(step(), 0..200),
    ) {
        let mut gic = gic(1);
        let mut model = Model { priority: priorities.map(|p| p << 3), ..Model::default() };
        for (i, priority) in model.priority.iter().enumerate() {
            gic.dist_write(0, GICD_IPRIORITYR + 32 + i as u64, 1, u32::from(*priority));
        }
        for step in steps {
            match step {
                Step::Line(i, level) => {
                    model.line[i] = level;
                    gic.set_shared(32 + i as u32, level);
                }
                Step::Enable(i, on) => {
                    model.enabled[i] = on;
                    let register = if on { GICD_ISENABLER } else { GICD_ICENABLER };
                    gic.dist_write(0, register + 4, 4, 1 << i);
                }
                Step::Acknowledge => {
                    let expected = model.best();
                    model.running.extend(expected);
                    prop_assert_eq!(gic.cpu_read(0, GICC_IAR), expected.map_or(SPURIOUS, |i| 32 + i as u32));
                }
                Step::End => {
                    if let Some(i) = model.running.pop() {
                        prop_assert!(gic.cpu_write(0, GICC_EOIR, 32 + i as u32));
                    }
                }
            }
            prop_assert_eq!(gic.outputs(0), (model.best().is_some(), false));
        }
    }

    #[test]
    fn nothing_a_guest_writes_breaks_it(
        writes in proptest::collection::vec((any::<bool>(), 0_u64..0x1010, 0_usize..4, any::<u32>()), 0..300),
    ) {
        let mut gic = gic(4);
        for (dist, offset, cpu, value) in writes {
            let size = [1, 2, 4, 4][value as usize & 3];
            if dist {
                gic.dist_write(cpu, offset, size, value);
                gic.dist_read(cpu, offset, size);
            } else {
                gic.cpu_write(cpu, offset, value);
                gic.cpu_read(cpu, offset);
            }
            for cpu in 0..4 {
                gic.outputs(cpu);
            }
        }
    }
}
