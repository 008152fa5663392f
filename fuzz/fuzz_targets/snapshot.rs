//! Any bytes as the file of a snapshot or of a recording, and any state in a whole one: a sentence, or a machine that runs.

#![no_main]

use std::io::Write;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tempfile::NamedTempFile;
use vmm::machine::sections::{Reader, Writer};
use vmm::machine::snapshot::file::{describe, spec};
use vmm::machine::{Fork, IommuConfig, IommuModel, KernelFormat, Recording, Snapshot};
use vmm::{ByteSize, Config, Discard, Limits, Machine};

/// Counts, and stores each count: add r0, r0, #1; str r0, [sp]; b back.
const PROGRAM: [u32; 3] = [0xe280_0001, 0xe58d_0000, 0xeaff_fffc];

/// The sections of a good snapshot.
fn good() -> &'static [(u32, Vec<u8>)] {
    static GOOD: OnceLock<Vec<(u32, Vec<u8>)>> = OnceLock::new();
    GOOD.get_or_init(|| {
        let mut kernel = NamedTempFile::new().expect("a temporary file");
        let bytes: Vec<u8> = PROGRAM.iter().flat_map(|word| word.to_le_bytes()).collect();
        kernel.write_all(&bytes).expect("room for it");
        let config = Config {
            kernel: kernel.path().into(),
            kernel_format: KernelFormat::Image,
            memory: ByteSize(16 << 20),
            cpus: 2,
            iommus: vec![IommuConfig::new(IommuModel::Ipmmu)],
            ..Config::default()
        };
        let mut machine = Machine::new(&config, Box::new(Discard)).expect("a machine");
        machine.run(limit(3000));
        let mut file = Vec::new();
        let snapshot = machine.snapshot().expect("a snapshot");
        snapshot.write(&mut file).expect("memory is not full");
        let mut reader = Reader::new(&spec::FORM, &*file).expect("a whole one");
        let mut sections = Vec::new();
        while let Some(section) = reader.section().expect("a whole one") {
            sections.push(section);
        }
        sections
    })
}

fn limit(instructions: u64) -> Limits {
    Limits {
        instructions: Some(instructions),
        ..Limits::default()
    }
}

/// The good one with bytes replaced: each edit names a section, a place in it and a byte.
fn edited(edits: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new(&spec::FORM, Vec::new()).expect("memory is not full");
    let mut sections = good().to_vec();
    for edit in edits.as_chunks::<5>().0 {
        let which = usize::from(edit[0]) % sections.len();
        let contents = &mut sections[which].1;
        let at = usize::from(u16::from_le_bytes([edit[1], edit[2]])) * 7 + usize::from(edit[3]);
        if let Some(byte) = contents.get_mut(at) {
            *byte = edit[4];
        }
    }
    for (kind, contents) in &sections {
        writer.add(*kind, &[contents]).expect("no longer than it was");
    }
    writer.finish().expect("memory is not full")
}

fuzz_target!(|data: &[u8]| {
    let Some((mode, data)) = data.split_first() else {
        return;
    };
    if mode & 1 == 0 {
        let _ = describe(data);
        let _ = Recording::read(data);
        return;
    }
    let Ok(snapshot) = Snapshot::read(&*edited(data)) else {
        return;
    };
    if let Ok(mut machine) = snapshot.machine(Fork::new(Box::new(Discard))) {
        machine.run(Limits {
            wall: Some(std::time::Duration::from_millis(100)),
            ..limit(snapshot.instructions().saturating_add(2000))
        });
    }
});
