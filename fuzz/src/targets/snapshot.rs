//! Any bytes as the file of a snapshot or of a recording, and good ones with values of their
//! contents changed and their checksums right: a sentence, or a machine that runs, twice alike.

#![expect(clippy::cast_possible_truncation, reason = "files are small")]

use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use serde_json::Value;
use tempfile::{NamedTempFile, TempPath};
use vmm::campaign::plan;
use vmm::machine::snapshot::file::describe;
use vmm::machine::{
    Fork, IommuConfig, IommuModel, KernelFormat, Moved, Recorder, Recording, RunFaults, Snapshot,
    Source,
};
use vmm::{ByteSize, Config, Discard, DiskConfig, Limits, Machine};

/// Counts, stores each count, puts it out, and yields at times: add, str, strb, tst, yieldeq, b
/// back.
const PROGRAM: [u32; 6] = [
    0xe280_0001,
    0xe58d_0000,
    0xe5c1_0000,
    0xe310_00ff,
    0x0320_f001,
    0xeaff_fff9,
];

/// Bytes before the sections: magic and version.
const HEAD: usize = 20;

/// A value to put in.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Change {
    Number(i8),
    Power(u8, i8),
    Any(u64),
    Float(f64),
    /// The value at another place.
    Copied([u8; 6]),
    Null,
    Bool(bool),
    Text([u8; 4]),
    /// An array or object with fewer or more of its parts.
    Fewer(u8),
    More(u8),
    Empty,
}

/// Changes of contents: a section, a path into its values, what comes there.
type Edits = Vec<(u8, [u8; 6], Change)>;

#[derive(Arbitrary, Debug)]
enum Case<'a> {
    Any(&'a [u8]),
    Snapshot(Edits, Vec<(u8, u32, u8)>),
    Recording(Edits),
    /// Sections left out, twice, exchanged, or of another kind.
    Sections(bool, Vec<(u8, u8, u8)>),
    /// Bytes of a good file changed, checksums left as they are.
    Damaged(bool, Vec<(u16, u8)>),
}

struct Files {
    snapshot: Vec<u8>,
    recording: Vec<u8>,
    _files: [TempPath; 2],
}

fn kept(bytes: &[u8]) -> TempPath {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("room for it");
    file.into_temp_path()
}

fn config(kernel: &Path, disk: &Path) -> Config {
    let mut overlay = DiskConfig::new(disk);
    overlay.overlay = true;
    Config {
        kernel: kernel.into(),
        kernel_format: KernelFormat::Image,
        memory: ByteSize(16 << 20),
        cpus: 2,
        disks: vec![overlay],
        iommus: vec![IommuConfig::new(IommuModel::Ipmmu)],
        ..Config::default()
    }
}

/// A plan of which each value may be changed: several kinds of rules, each with what it takes.
const FAULTS: &str = "title = 't'\n\
    [[fault]]\nwhere = 'queue'\nwhat = 'late'\ndelay = '5us'\nwhen = { every = 2, times = 3 }\n\
    [[fault]]\nwhere = 'register-read'\nwhat = 'flip'\nmask = 4\nregister = 'IMCTR'\nwhen = { nth = '1..9' }\n\
    [[fault]]\nwhere = 'disk'\nwhat = 'flip'\ndevice = 'disk0'\nwhen = { probability = 0.5, at = '1us' }\n";

fn faults() -> RunFaults {
    let plan = plan::parse("plan", FAULTS).expect("a plan");
    RunFaults { plan, seed: 7 }
}

fn files() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let program: Vec<u8> = PROGRAM.iter().flat_map(|word| word.to_le_bytes()).collect();
        let (kernel, disk) = (kept(&program), kept(&[7; 8192]));
        let config = config(&kernel, &disk);
        let mut machine = Machine::builder(&config, Box::new(Discard))
            .build()
            .expect("a machine");
        machine.run(limit(3000));
        let mut snapshot = Vec::new();
        let taken = machine.snapshot().expect("a snapshot");
        taken.write(&mut snapshot).expect("memory is not full");
        let (mut machine, recorder) =
            Recorder::start(&config, Box::new(Discard), None, Some(faults()), Vec::new())
                .expect("a recording");
        machine.run(limit(3000));
        Files {
            snapshot,
            recording: recorder.finish(&mut machine).expect("memory is not full"),
            _files: [kernel, disk],
        }
    })
}

/// Returns a good snapshot.
pub fn good() -> &'static Snapshot {
    static GOOD: OnceLock<Snapshot> = OnceLock::new();
    GOOD.get_or_init(|| Snapshot::read(&*files().snapshot).expect("a whole one"))
}

fn limit(instructions: u64) -> Limits {
    Limits {
        instructions: Some(instructions),
        ..Limits::default()
    }
}

/// Returns the sections of a file: what each is, and what it holds.
fn sections(file: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let mut found = Vec::new();
    let mut rest = &file[HEAD..];
    while let Some((head, behind)) = rest.split_first_chunk::<12>() {
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let (contents, next) = behind.split_at(word(4) as usize);
        found.push((word(0), contents.to_vec()));
        rest = next;
    }
    found
}

/// Returns the file of these sections, with checksums as they should be.
fn joined(head: &[u8], sections: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut out = head[..HEAD].to_vec();
    for (kind, contents) in sections {
        let begin = [kind.to_le_bytes(), (contents.len() as u32).to_le_bytes()].concat();
        let mut sum = crc32fast::Hasher::new();
        sum.update(&begin);
        sum.update(contents);
        out.extend(begin);
        out.extend(sum.finalize().to_le_bytes());
        out.extend_from_slice(contents);
    }
    out
}

/// Returns the value that a path leads to: each byte chooses among the parts of what is there, 255
/// stays.
fn descend<'a>(mut value: &'a mut Value, path: &[u8]) -> &'a mut Value {
    for step in path.iter().filter(|step| **step != 255) {
        let step = usize::from(*step);
        let parts = match value {
            Value::Array(parts) => parts.len(),
            Value::Object(parts) => parts.len(),
            _ => 0,
        };
        if parts == 0 {
            break;
        }
        value = match value {
            Value::Array(array) => &mut array[step % parts],
            Value::Object(object) => {
                let mut values = object.values_mut();
                values.nth(step % parts).expect("there are as many")
            }
            _ => unreachable!("it has parts"),
        };
    }
    value
}

fn change(value: &mut Value, path: &[u8], change: Change) {
    let new = match change {
        Change::Copied(from) => Some(descend(value, &from).clone()),
        _ => None,
    };
    let place = descend(value, path);
    match change {
        Change::Number(n) => *place = n.into(),
        Change::Power(bit, more) => {
            *place = (1u64 << (bit & 63)).wrapping_add_signed(more.into()).into()
        }
        Change::Any(n) => *place = n.into(),
        Change::Float(n) => *place = n.into(),
        Change::Copied(_) => *place = new.unwrap_or_default(),
        Change::Null => *place = Value::Null,
        Change::Bool(bit) => *place = bit.into(),
        Change::Text(bytes) => *place = String::from_utf8_lossy(&bytes).into(),
        Change::Fewer(at) | Change::More(at) => match place {
            Value::Array(parts) if !parts.is_empty() => {
                let at = usize::from(at) % parts.len();
                if matches!(change, Change::Fewer(_)) {
                    parts.remove(at);
                } else {
                    parts.push(parts[at].clone());
                }
            }
            Value::Object(parts) if !parts.is_empty() => {
                let key = parts.keys().nth(usize::from(at) % parts.len()).cloned();
                parts.remove(&key.unwrap_or_default());
            }
            _ => {}
        },
        Change::Empty => match place {
            Value::Array(parts) => parts.clear(),
            Value::Object(parts) => parts.clear(),
            _ => *place = "".into(),
        },
    }
}

/// Returns a good file with values changed.
fn edited(file: &[u8], edits: &Edits, bytes: &[(u8, u32, u8)]) -> Vec<u8> {
    let mut sections = sections(file);
    for (which, path, how) in edits.iter().take(8) {
        let texts = sections
            .iter_mut()
            .filter(|(_, contents)| contents.first().is_some_and(|b| b"{[".contains(b)));
        let mut texts: Vec<&mut Vec<u8>> = texts.map(|(_, contents)| contents).collect();
        let count = texts.len();
        if count == 0 {
            break;
        }
        // Most of them in the state, which is most of what there is.
        let contents = &mut texts[if which & 0x80 == 0 {
            1
        } else {
            usize::from(*which)
        } % count];
        let mut value: Value = serde_json::from_slice(contents).expect("it was written so");
        change(&mut value, path, *how);
        **contents = serde_json::to_vec(&value).expect("a value can be written");
    }
    for (which, at, byte) in bytes.iter().take(8) {
        let count = sections.len();
        let contents = &mut sections[usize::from(*which) % count].1;
        let length = contents.len().max(1);
        if let Some(place) = contents.get_mut(*at as usize % length) {
            *place = *byte;
        }
    }
    joined(file, &sections)
}

/// Returns the limits of a run that goes on from a snapshot.
fn onwards(snapshot: &Snapshot) -> Limits {
    Limits {
        guest_ns: Some(snapshot.guest_ns().saturating_add(1_000_000_000)),
        wall: Some(Duration::from_secs(10)),
        ..limit(snapshot.instructions().saturating_add(2000))
    }
}

/// Restores a snapshot and runs it.
fn restore(file: &[u8]) {
    let _ = describe(file);
    let Ok(snapshot) = Snapshot::read(file) else {
        return;
    };
    let run = || {
        let mut machine = snapshot.machine(Fork::new(Box::new(Discard))).ok()?;
        machine.run(onwards(&snapshot));
        machine.snapshot().ok()
    };
    let (first, second) = (run(), run());
    assert_eq!(
        first.as_ref().map(Snapshot::state),
        second.as_ref().map(Snapshot::state),
        "two runs of one snapshot are alike"
    );
    record_from(&snapshot);
    // What a machine saves can be restored.
    if let Some(first) = first {
        let mut file = Vec::new();
        first.write(&mut file).expect("memory is not full");
        let again = Snapshot::read(&*file).expect("it was just written");
        again
            .machine(Fork::new(Box::new(Discard)))
            .expect("it was just saved");
    }
}

/// Goes on from a snapshot with another seed, and records that.
fn record_from(snapshot: &Snapshot) {
    let file = Source {
        path: "snapshot".into(),
        sha256: String::new(),
        image: None,
    };
    let fork = Fork {
        seed: Some(5),
        ..Fork::new(Box::new(Discard))
    };
    let Ok((mut machine, recorder)) =
        Recorder::resume(snapshot, file, fork, Some(faults()), Vec::new())
    else {
        return;
    };
    machine.run(onwards(snapshot));
    let recording = recorder.finish(&mut machine).expect("memory is not full");
    Recording::read(&*recording).expect("it was just written");
}

/// Replays a recording.
fn replay(file: &[u8]) {
    let Ok(mut recording) = Recording::read(file) else {
        return;
    };
    if recording.find_files(&Moved::default()).is_err() {
        return;
    }
    if let Ok(mut machine) = recording.machine(Box::new(Discard), None) {
        machine.run(Limits {
            wall: Some(Duration::from_secs(10)),
            ..limit(6000)
        });
    }
}

fn either(recording: bool, file: &[u8]) {
    if recording {
        replay(file);
    } else {
        restore(file);
    }
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    let files = files();
    let good = |recording| {
        if recording {
            &files.recording
        } else {
            &files.snapshot
        }
    };
    match case {
        Case::Any(bytes) => {
            let _ = describe(bytes);
            let _ = Recording::read(bytes);
        }
        Case::Snapshot(edits, bytes) => restore(&edited(&files.snapshot, &edits, &bytes)),
        Case::Recording(edits) => replay(&edited(&files.recording, &edits, &[])),
        Case::Sections(recording, steps) => {
            let mut sections = sections(good(recording));
            for (how, at, other) in steps.iter().take(8) {
                let count = sections.len();
                if count == 0 {
                    break;
                }
                let (at, other) = (usize::from(*at) % count, usize::from(*other) % count);
                match how % 4 {
                    0 => drop(sections.remove(at)),
                    1 => sections.insert(other, sections[at].clone()),
                    2 => sections.swap(at, other),
                    _ => sections[at].0 = other as u32,
                }
            }
            either(recording, &joined(good(recording), &sections));
        }
        Case::Damaged(recording, bytes) => {
            let mut file = good(recording).clone();
            for (at, byte) in bytes.iter().take(8) {
                let length = file.len();
                file[usize::from(*at) * 61 % length] ^= *byte;
            }
            either(recording, &file);
        }
    }
}
