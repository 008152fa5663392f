//! Probes in a 64-bit kernel, whose image and cores are made here.

#![expect(
    clippy::cast_sign_loss,
    reason = "a register holds the two's complement"
)]

mod vmlinux;

use std::sync::{Arc, Mutex};

use vm_memory::{Bytes, GuestAddress};
use vmm_machine::vcpu::{Aarch64Cores, Core, Cores, Pstate, Resume};

use super::ast::Site;
use super::kernel::Kernel;
use super::outcome::{Hit, ProbeError};
use super::scope::{Root, Scope};
use super::{Engine, parse};
use crate::symbols::testing::{AARCH64, Written, as_aarch64, kernel_like, tables};
use crate::types::testing::aarch64_device_like;
use vmm_machine::GuestRam;

const RAM: u64 = 0x4000_0000;
const SIZE: usize = 64 << 20;
/// Where the kernel's first byte is mapped.
const TEXT: u64 = 0xffff_a5e2_c8e0_0000;
/// From there: symbol tables, types, objects, a stack and page tables.
const TABLES: u64 = 1 << 20;
const TYPES: u64 = 2 << 20;
const OBJECTS: u64 = 3 << 20;
const STACK: u64 = 4 << 20;
const PAGES: u64 = 5 << 20;

/// Functions and variables, from the kernel's first byte on.
const NAMED: [(&str, u64, u8); 10] = [
    ("_text", 0, b'T'),
    ("__primary_switched", 0x10_0a00, b't'),
    ("caller", 0x10_0b00, b't'),
    ("many", 0x10_0c00, b'T'),
    ("really_probe", 0x10_0d00, b't'),
    ("x1_is_no_register", 0x10_0e00, b't'),
    ("objects", OBJECTS, b'd'),
    ("count", OBJECTS + 0x800, b'd'),
    ("flags", OBJECTS + 0x804, b'd'),
    ("jiffies", OBJECTS + 0x808, b'D'),
];

/// A machine whose RAM has a kernel that was not relocated yet, and what it points to once it runs.
struct Guest {
    ram: Arc<GuestRam>,
    cluster: Aarch64Cores,
    hits: Arc<Mutex<Vec<Hit>>>,
}

impl Guest {
    fn new(named: &[(&str, u64, u8)]) -> Self {
        let ram = GuestRam::from_ranges(&[(GuestAddress(RAM), SIZE)]).unwrap();
        let ram = Arc::new(ram);
        let text = 0xffff_8000_0000_0000;
        let mut written: Vec<Written> = as_aarch64(&kernel_like(700, 60));
        written.extend(
            named
                .iter()
                .map(|(name, at, kind)| ((*name).into(), text + at, *kind)),
        );
        written.sort_by_key(|symbol| symbol.1);
        let guest = Self {
            cluster: Aarch64Cores::new(2, Arc::clone(&ram)),
            ram,
            hits: Arc::default(),
        };
        guest.put(TABLES, &tables(&written, &AARCH64[6]));
        guest.put(TYPES, &aarch64_device_like().blob());
        // A device called "disk" with the driver "blk".
        guest.long(OBJECTS, TEXT + OBJECTS + 0x100);
        guest.long(OBJECTS + 24, TEXT + OBJECTS + 0x200);
        guest.put(OBJECTS + 0x100, b"disk\0blk\0");
        guest.long(OBJECTS + 0x200, TEXT + OBJECTS + 0x105);
        guest.put(OBJECTS + 0x800, &7u32.to_le_bytes());
        guest.put(OBJECTS + 0x804, &9u32.to_le_bytes());
        guest.long(OBJECTS + 0x808, 0xffff_ffff_8000_0000);
        guest.map();
        guest
    }

    fn put(&self, at: u64, bytes: &[u8]) {
        self.ram.write_slice(bytes, GuestAddress(RAM + at)).unwrap();
    }

    fn long(&self, at: u64, value: u64) {
        self.put(at, &value.to_le_bytes());
    }

    /// Maps RAM from [`TEXT`] on in blocks of 2 MiB, by tables of three levels.
    fn map(&self) {
        // Descriptors: 3 is a table, 0x401 a block with its access flag set.
        let index = |shift: u32| 8 * (TEXT >> shift & 511);
        self.long(PAGES + index(39), RAM + PAGES + 0x1000 + 3);
        self.long(PAGES + 0x1000 + index(30), RAM + PAGES + 0x2000 + 3);
        for block in 0..(SIZE as u64) >> 21 {
            self.long(
                PAGES + 0x2000 + index(21) + 8 * block,
                RAM + (block << 21) + 0x401,
            );
        }
    }

    fn engine(&self, probes: &[&str]) -> Engine {
        let probes = probes.iter().map(|text| parse(text).unwrap()).collect();
        let hits = Arc::clone(&self.hits);
        let sink = move |_: &_, hit: &Hit| hits.lock().unwrap().push(hit.clone());
        let ram = (RAM, SIZE as u64);
        Engine::new(probes, Arc::clone(&self.ram), ram, Box::new(sink))
    }

    /// Has a core come to the breakpoint that was set at `pc`.
    fn reach(&mut self, engine: &mut Engine, pc: u64) -> Resume {
        engine.reached(0, pc, &mut Cores::Aarch64(&mut self.cluster), 5)
    }

    /// Has the first core come to the function `offset` bytes from the kernel's first one. Returns
    /// what has been hit until now.
    fn come_to(&mut self, engine: &mut Engine, offset: u64) -> Vec<Hit> {
        self.cluster.state_mut(0).pc = TEXT + offset;
        if self.cluster.breakpoints().any(|va| va == TEXT + offset) {
            self.reach(engine, TEXT + offset);
        }
        std::mem::take(&mut self.hits.lock().unwrap())
    }

    /// Has the kernel begin, and be mapped.
    fn start(&mut self, engine: &mut Engine) {
        engine.prepare(&mut Cores::Aarch64(&mut self.cluster));
        assert_eq!(self.breakpoints(), [RAM, RAM + 0x8_0000]);
        self.cluster.state_mut(0).pc = RAM;
        self.reach(engine, RAM);
        assert_eq!(self.breakpoints(), [RAM + 0x10_0a00]);
        assert_eq!(engine.image.take(), Some((RAM, RAM)));
        let state = self.cluster.state_mut(0);
        // 48 bits of addresses and pages of 4 KiB; the kernel's level and stack.
        (state.tcr, state.ttbr1, state.sctlr) = (2 << 30 | 16 << 16 | 16, RAM + PAGES, 1);
        state.pstate = Pstate::new().with_mode(0b0101);
        state.pc = TEXT + 0x10_0a00;
        state.set_sp(TEXT + STACK);
        self.reach(engine, RAM + 0x10_0a00);
        assert_eq!(engine.image.take(), Some((TEXT, RAM)));
    }

    fn breakpoints(&self) -> Vec<u64> {
        self.cluster.breakpoints().collect()
    }

    /// Has `caller` call `really_probe`.
    fn call(&mut self) {
        let state = self.cluster.state_mut(0);
        state.x[0] = TEXT + OBJECTS;
        state.x[1] = TEXT + OBJECTS + 0x200;
        state.x[30] = TEXT + 0x10_0b08;
    }
}

/// Returns what was printed.
fn printed(hit: &Hit) -> Vec<String> {
    let values = hit.values.iter();
    values
        .map(|(name, value)| match value {
            Ok(value) => format!("{name}={value}"),
            Err(error) => format!("{name}: {error}"),
        })
        .collect()
}

#[test]
fn a_kernel_is_waited_for_until_it_is_mapped_and_its_functions_are_probed() {
    let mut guest = Guest::new(&NAMED);
    let mut engine = guest.engine(&[
        "really_probe if drv.name == \"blk\" { print(dev.name, dev.mask, x1, drv, sp, pc, lr, arg9, caller) }",
        "really_probe@return { print(retval, dev.name, x0) }",
    ]);
    guest.start(&mut engine);
    assert!(engine.outcome().lock().unwrap().armed);
    assert_eq!(guest.breakpoints(), [TEXT + 0x10_0d00]);
    guest.call();
    guest.long(STACK + 8, 77);
    guest.long(OBJECTS + 32, u64::MAX);
    let hits = guest.come_to(&mut engine, 0x10_0d00);
    assert_eq!((hits.len(), hits[0].at), (1, 5));
    assert_eq!(hits[0].caller, "caller+0x8");
    let expected = [
        "dev.name=\"disk\"",
        "dev.mask=18446744073709551615",
        "x1=objects+0x200",
        "drv=objects+0x200",
        &format!("sp={}", TEXT + STACK),
        "pc=really_probe",
        "lr=caller+0x8",
        "arg9=77",
        "caller=caller+0x8",
    ];
    assert_eq!(printed(&hits[0]), expected);
    assert_eq!(guest.breakpoints(), [TEXT + 0x10_0b08, TEXT + 0x10_0d00]);
    // Another call of the same function returns to the same place first.
    guest.cluster.state_mut(0).set_sp(TEXT + STACK - 0x40);
    assert!(guest.come_to(&mut engine, 0x10_0b08).is_empty());
    let state = guest.cluster.state_mut(0);
    state.set_sp(TEXT + STACK);
    state.x[0] = 0xffff_fdfb;
    let hits = guest.come_to(&mut engine, 0x10_0b08);
    let expected = ["retval=-517", "dev.name=\"disk\"", "x0=4294966779"];
    assert_eq!(printed(&hits[0]), expected);
    assert_eq!(guest.breakpoints(), [TEXT + 0x10_0d00]);
}

#[test]
fn registers_and_memory_are_changed() {
    let mut guest = Guest::new(&NAMED);
    let mut engine = guest.engine(&[
        "really_probe { set(x19, 0xffff800080000001); set(dev.mask, -1); set(dev.late, 3); set(count, 1); \
         set(jiffies, 2); set(sp, 0x1000); return -ENODEV }",
        "many { goto caller+8 }",
    ]);
    guest.start(&mut engine);
    guest.call();
    let hits = guest.come_to(&mut engine, 0x10_0d00);
    let names: Vec<String> = hits[0]
        .changes
        .iter()
        .map(|c| format!("{:?}", c.place))
        .collect();
    let at = |offset: u64, bytes: u32| format!("Memory({}, {bytes})", TEXT + OBJECTS + offset);
    let expected = [
        "Register(\"x19\")".into(),
        at(32, 8),
        at(80, 5),
        at(0x800, 4),
        at(0x808, 8),
        "Register(\"sp\")".into(),
    ];
    assert_eq!(names, expected);
    let state = guest.cluster.state(0);
    assert_eq!(
        (state.x[0], state.x[19]),
        (-19_i64 as u64, 0xffff_8000_8000_0001)
    );
    assert_eq!((state.pc, state.sp()), (TEXT + 0x10_0b08, 0x1000));
    let read = |at: u64| {
        let at = GuestAddress(RAM + OBJECTS + at);
        guest.ram.read_obj::<u64>(at).unwrap()
    };
    assert_eq!(read(32), u64::MAX);
    assert_eq!(read(0x800), 9 << 32 | 1, "the variable after it stays");
    assert_eq!((read(0x808), read(80)), (2, 6));
    guest.come_to(&mut engine, 0x10_0c00);
    assert_eq!(guest.cluster.state(0).pc, TEXT + 0x10_0b08);
}

#[test]
fn variables_and_numbers_have_their_width() {
    let mut guest = Guest::new(&NAMED);
    let mut engine = guest.engine(&[
        "really_probe if dev == 0xffffa5e2c9100000 { print(count, flags, jiffies, dev + 0x10, -1 - 1) }",
    ]);
    guest.start(&mut engine);
    guest.call();
    let hits = guest.come_to(&mut engine, 0x10_0d00);
    let expected = [
        "count=7".into(),
        "flags=9".into(),
        format!("jiffies={}", 0xffff_ffff_8000_0000_u64),
        format!("(dev + 16)={}", TEXT + OBJECTS + 16),
        "(-1 - 1)=-2".into(),
    ];
    assert_eq!(printed(&hits[0]), expected);
}

#[test]
fn mistakes_are_told() {
    for (probe, sentence) in [
        (
            "really_probe { print(r0) }",
            "`r0` is a register of 32-bit kernels; this one has `x0` to `x30`, `sp`, `lr` and `pc`",
        ),
        ("really_probe { print(x31) }", "`x31` is no register"),
        ("gone", "this kernel has no symbol `gone`"),
        ("really_probe { set(arg8, 1) }", "`arg8` cannot be set"),
    ] {
        let mut guest = Guest::new(&NAMED);
        let mut engine = guest.engine(&[probe]);
        guest.start(&mut engine);
        let error = engine.outcome().lock().unwrap().error.clone().unwrap();
        assert!(error.to_string().contains(sentence), "{error}");
    }
}

#[test]
fn a_kernel_that_does_not_say_where_it_begins_is_not_probed() {
    let mut guest = Guest::new(&NAMED[1..]);
    let mut engine = guest.engine(&["really_probe"]);
    engine.prepare(&mut Cores::Aarch64(&mut guest.cluster));
    assert_eq!(guest.reach(&mut engine, RAM), Resume::End);
    let error = engine.outcome().lock().unwrap().error.clone().unwrap();
    assert!(
        error.to_string().contains("where in memory it begins"),
        "{error}"
    );
}

/// As compilers pass them: AAPCS64 6.8.2.
#[test]
fn arguments_are_where_the_procedure_call_standard_puts_them() {
    let guest = Guest::new(&NAMED);
    let kernel = Kernel::find(&*guest.ram, RAM, SIZE as u64).unwrap();
    let site = Site {
        module: None,
        symbol: "many".into(),
        offset: 0,
        at_return: false,
    };
    let scope = Scope {
        kernel: &kernel,
        site: &site,
    };
    let slot = |name: &str| match scope.root(name).unwrap() {
        Root::Argument(slot, Some(_)) => slot,
        other => panic!("{name}: {other:?}"),
    };
    let names = ["a", "number", "large", "small", "b", "split", "c"];
    assert_eq!(names.map(slot), [0, 2, 4, 5, 7, 8, 10]);
}

#[test]
fn the_program_counter_is_set_as_a_register() {
    let mut guest = Guest::new(&NAMED);
    let mut core = guest.cluster.core(0).map(Core::Aarch64).unwrap();
    let abi = super::abi::Abi::of(core.width());
    super::abi::set_register(&mut core, abi.register("pc").unwrap(), 8);
    super::abi::set_register(&mut core, abi.register("lr").unwrap(), 4);
    let get = |name| super::abi::register(&core, abi.register(name).unwrap());
    assert_eq!((get("pc"), get("x30"), get("sp")), (8, 4, 0));
    assert_eq!(
        [0, 30, 31, 32].map(|n| abi.name(n)),
        ["x0", "x30", "sp", "pc"]
    );
}

/// As after a snapshot: tables of kernels that relocated themselves say where they are.
#[test]
fn a_kernel_that_runs_already_is_probed_where_its_tables_say() {
    let mut guest = Guest::new(&NAMED);
    let mut engine = guest.engine(&["really_probe"]);
    let mut found = Kernel::find(&*guest.ram, RAM, SIZE as u64).unwrap();
    let mut cores = Cores::Aarch64(&mut guest.cluster);
    engine.prepare_in(Arc::new(found.clone()), &mut cores);
    let error = engine.outcome().lock().unwrap().error.clone();
    assert_eq!(error, Some(ProbeError::NoBeginning));
    assert!(found.symbols.place(TEXT));
    engine.prepare_in(Arc::new(found), &mut cores);
    assert_eq!(guest.breakpoints(), [TEXT + 0x10_0d00]);
}
