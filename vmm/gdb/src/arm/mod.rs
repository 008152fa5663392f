//! ARMv7-A in the protocol's terms: its registers, by their numbers.

#![expect(
    clippy::cast_possible_truncation,
    reason = "a row's value has as many bits as its register"
)]

mod cp15;

use std::sync::LazyLock;

use arm32::CoreView;
use vmm_machine::vcpu::Core;

use super::isa::declare_isa;
use super::registers::{Row, Table};

declare_isa! {
    /// ARMv7-A, little-endian.
    Arm, u32, TABLE
}

/// Returns a row that reads and writes what it is about of a 32-bit core.
fn row(
    description: (impl Into<String>, usize, &'static str),
    read: impl Fn(&CoreView<'_>) -> u64 + Send + Sync + 'static,
    write: impl Fn(&mut CoreView<'_>, u64) -> Option<()> + Send + Sync + 'static,
) -> Row {
    Row::new(
        description,
        move |core| match core {
            Core::Aarch32(core) => Some(read(core).into()),
            Core::Aarch64(_) => None,
        },
        // A row's value has as many bits as its register, 64 at most.
        move |core, value| match core {
            Core::Aarch32(core) => write(core, value as u64),
            Core::Aarch64(_) => None,
        },
    )
}

/// The registers, in the features that GDB knows and one of ours.
static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let features = vec![
        ("org.gnu.gdb.arm.core", String::new(), core()),
        ("org.gnu.gdb.arm.vfp", String::new(), floats()),
        // An empty feature for NEON has GDB make the quad registers of the double ones.
        ("org.gnu.gdb.arm.neon", String::new(), Vec::new()),
        ("org.viommu.arm.system", String::new(), system()),
    ];
    // The mode decides which R13 is meant.
    Table::new("arm", features, ("pc", "cpsr"))
});

fn core() -> Vec<Row> {
    let names = (0..13).map(|n| (format!("r{n}"), "type=\"uint32\""));
    let names = names.chain([
        ("sp".into(), "type=\"data_ptr\""),
        ("lr".into(), ""),
        ("pc".into(), "type=\"code_ptr\""),
    ]);
    let rows = (0..).zip(names).map(|(n, (name, kind))| {
        row(
            (name, 32, kind),
            move |core| core.reg(n).into(),
            move |core, value| {
                core.set_reg(n, value as u32);
                Some(())
            },
        )
    });
    // Number 16, after the general registers: 25 is its number only where there is no description.
    let cpsr = row(
        ("cpsr", 32, ""),
        |core| core.cpsr().into(),
        |core, value| {
            core.set_cpsr(value as u32);
            Some(())
        },
    );
    rows.chain([cpsr]).collect()
}

fn floats() -> Vec<Row> {
    let doubles = (0..32).map(|n| {
        row(
            (format!("d{n}"), 64, "type=\"ieee_double\""),
            move |core| core.state().fp.d(n),
            move |core, value| {
                core.state_mut().fp.set_d(n, value);
                Some(())
            },
        )
    });
    let fpscr = row(
        ("fpscr", 32, "type=\"int\" group=\"float\""),
        |core| core.state().fp.fpscr.into(),
        |core, value| {
            core.state_mut().fp.write_fpscr(value as u32);
            Some(())
        },
    );
    doubles.chain([fpscr]).collect()
}

fn system() -> Vec<Row> {
    let rows = cp15::REGISTERS.iter().map(|register| {
        let kind = match register.bits {
            64 => "type=\"uint64\" group=\"system\"",
            _ => "type=\"uint32\" group=\"system\"",
        };
        row(
            (register.name, register.bits.into(), kind),
            |core| (register.read)(core.state()),
            |core, value| {
                register.write?(core.state_mut(), value);
                Some(())
            },
        )
    });
    rows.collect()
}
