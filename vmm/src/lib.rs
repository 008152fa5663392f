//! A rust-vmm based machine that boots unmodified ARM32 Linux kernels behind virtual IOMMUs.
//!
//! A [`Config`] describes a machine, [`Machine::builder`] assembles it, [`Machine::run`] runs it
//! until something ends it, [`Machine::summary`] tells what happened.
//!
//! ```no_run
//! use vmm::{Config, Discard, Limits, Machine};
//!
//! let config = Config { kernel: "zImage".into(), cmdline: "console=ttyS0".into(), ..Config::default() };
//! let mut machine = Machine::builder(&config, Box::new(Discard)).build()?;
//! let exit = machine.run(Limits { guest_ns: Some(10_000_000_000), ..Limits::default() });
//! println!("the guest {}", exit.reason.sentence());
//! # Ok::<(), vmm::Error>(())
//! ```

#![deny(missing_docs)]

pub mod root_disk;

pub use vmm_campaign as campaign;
pub use vmm_devices as devices;
pub use vmm_devices::irq;
pub use vmm_faults as faults;
pub use vmm_gdb as gdb;
pub use vmm_inspect as inspect;
pub use vmm_introspect as introspect;
pub use vmm_lab as lab;
pub use vmm_machine as machine;
pub use vmm_machine::vcpu;
pub use vmm_machine::{
    Accel, BoardModel, ByteSize, Config, ConfigError, ConsoleConfig, DiskConfig, DmaTesterConfig,
    Error, Exit, GuestKernel, IommuConfig, IommuEvent, IommuInfo, IommuModel, IommuSink,
    IommuSummary, KernelChoice, KernelError, KernelFormat, Limits, Machine, MachineBuilder,
    NetConfig, NetKind, PortConfig, Reason, ReservedMemory, StopHandle, Summary, TextError,
    TimeMode, UtlbSummary, VhostUserConfig, VhostUserKind, VirtioEvent, VirtioIommuOptions,
    VirtioIommuSummary, noise_seed,
};
pub use vmm_machine::{
    Acceleration, ConsoleInput, ConsoleSink, Discard, Flow, Halted, InputRecord, Resume,
    StopHandler,
};
pub use vmm_sanitizer as sanitizer;
pub use vmm_timeline as timeline;
