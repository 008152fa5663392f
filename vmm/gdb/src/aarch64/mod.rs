//! AArch64 in the protocol's terms: its registers, by their numbers.

#![expect(
    clippy::cast_possible_truncation,
    reason = "a row's value has as many bits as its register"
)]

mod system;

use std::fmt::Write;
use std::sync::LazyLock;

use vmm_machine::vcpu::{Aarch64State, Core, Pstate};

use super::isa::declare_isa;
use super::registers::{Row, Table};

declare_isa! {
    /// ARMv8-A in AArch64, little-endian.
    Aarch64, u64, TABLE
}

/// Returns a row that reads and writes what it is about of a 64-bit core.
fn wide(
    description: (impl Into<String>, usize, &'static str),
    read: impl Fn(&Aarch64State) -> u128 + Send + Sync + 'static,
    write: impl Fn(&mut Aarch64State, u128) + Send + Sync + 'static,
) -> Row {
    Row::new(
        description,
        move |core| match core {
            Core::Aarch64(core) => Some(read(core.state())),
            Core::Aarch32(_) => None,
        },
        move |core, value| match core {
            Core::Aarch64(core) => {
                write(core.state_mut(), value);
                Some(())
            }
            Core::Aarch32(_) => None,
        },
    )
}

/// Returns a row of a register of at most 64 bits.
fn row(
    description: (impl Into<String>, usize, &'static str),
    read: impl Fn(&Aarch64State) -> u64 + Send + Sync + 'static,
    write: impl Fn(&mut Aarch64State, u64) + Send + Sync + 'static,
) -> Row {
    // A row's value has as many bits as its register.
    let write = move |s: &mut Aarch64State, value| write(s, value as u64);
    wide(description, move |s| read(s).into(), write)
}

/// The registers, in the features that GDB knows and one of ours.
static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let features = vec![
        ("org.gnu.gdb.aarch64.core", String::new(), general()),
        ("org.gnu.gdb.aarch64.fpu", vector_types(), floats()),
        ("org.viommu.aarch64.system", String::new(), system()),
    ];
    // PSTATE decides which stack pointer is meant.
    Table::new("aarch64", features, ("pc", "cpsr"))
});

fn general() -> Vec<Row> {
    let general = (0..31).map(|n| {
        row(
            (format!("x{n}"), 64, ""),
            move |s| s.reg(n),
            move |s, value| s.set_reg(n, value),
        )
    });
    let others = [
        row(
            ("sp", 64, "type=\"data_ptr\""),
            Aarch64State::sp,
            Aarch64State::set_sp,
        ),
        row(
            ("pc", 64, "type=\"code_ptr\""),
            |s| s.pc,
            |s, value| s.pc = value,
        ),
        // PSTATE, which debuggers call by its old name; all of it is in its low half.
        row(
            ("cpsr", 32, ""),
            |s| u64::from(s.pstate) & u64::from(u32::MAX),
            |s, value| s.pstate = Pstate::from(value),
        ),
    ];
    general.chain(others).collect()
}

/// The views of a vector register, by element.
const VIEWS: [(&str, &str, usize); 6] = [
    ("d", "ieee_double", 2),
    ("s", "ieee_single", 4),
    ("u", "uint64", 2),
    ("w", "uint32", 4),
    ("h", "uint16", 8),
    ("b", "uint8", 16),
];

fn vector_types() -> String {
    // Registers refer to these types by name, and so come after them in the feature.
    let mut xml = String::new();
    for (id, kind, count) in VIEWS {
        // Writing to a string does not fail.
        let _ = write!(
            xml,
            "\n<vector id=\"v{id}\" type=\"{kind}\" count=\"{count}\"/>"
        );
    }
    xml += "\n<union id=\"vector\">";
    for (id, ..) in VIEWS {
        let _ = write!(xml, "\n<field name=\"{id}\" type=\"v{id}\"/>");
    }
    xml + "\n</union>"
}

fn floats() -> Vec<Row> {
    let vectors = (0..32).map(|n| {
        wide(
            (format!("v{n}"), 128, "type=\"vector\""),
            move |s| s.v[n],
            move |s, value| s.v[n] = value,
        )
    });
    let kind = "type=\"int\" group=\"float\"";
    let others = [
        row(
            ("fpsr", 32, kind),
            |s| s.fpsr.into(),
            |s, value| s.fpsr = value as u32,
        ),
        row(
            ("fpcr", 32, kind),
            |s| s.fpcr.into(),
            |s, value| s.fpcr = value as u32,
        ),
    ];
    vectors.chain(others).collect()
}

fn system() -> Vec<Row> {
    let kind = "type=\"uint64\" group=\"system\"";
    let registers = system::REGISTERS.iter();
    let rows =
        registers.map(|register| row((register.name, 64, kind), register.read, register.write));
    rows.collect()
}
