//! Any bytes as a kernel's type information, any path into it, any memory behind it: values or
//! errors.

#![expect(
    clippy::cast_possible_truncation,
    reason = "tables are small, and a byte is the low one"
)]

use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use vmm::introspect::memory::Image;
use vmm::introspect::types::offsets::{Tables, describe};
use vmm::introspect::types::value::Reader;
use vmm::introspect::types::{TypeId, Types};

// The writer of types that unit tests use.
#[path = "../../../vmm/introspect/src/types/spec.rs"]
#[expect(dead_code, reason = "the writer needs a part")]
mod spec;
#[path = "../../../vmm/introspect/src/types/testing.rs"]
mod testing;

/// Good blobs, of a 32-bit and of a 64-bit kernel.
static GOOD: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    [
        testing::device_like().blob(),
        testing::aarch64_device_like().blob(),
    ]
});

/// Pieces of paths.
const PIECES: &[&str] = &[
    "kobj",
    "name",
    "parent",
    "driver",
    "archdata",
    "dma_ops_setup",
    "depth",
    "whole",
    "low",
    "label",
    "numbers",
    "state",
    "offline",
    "ops",
    "big",
    "release",
    ".",
    "->",
    "[",
    "]",
    "0",
    "1",
    "7",
    "-1",
    "99999999999",
    "init_name",
    "device",
    "refs",
    "x",
    " ",
    "(",
    ")",
    "*",
    "struct device",
    "4294967295",
    "dev",
];

/// An input.
#[derive(Arbitrary, Debug)]
enum Case<'a> {
    Any(&'a str, &'a [u8]),
    /// Types and strings behind a good header.
    Header(&'a str, &'a [u8], &'a [u8]),
    /// A good blob with bytes or words changed, a path of pieces, and memory.
    Changed(bool, Vec<(u16, bool, u32)>, Vec<u8>, &'a [u8]),
    Table(&'a str),
}

fn changed(wide: bool, changes: &[(u16, bool, u32)]) -> Vec<u8> {
    let mut blob = GOOD[usize::from(wide)].clone();
    for (at, byte, value) in changes.iter().take(16) {
        let at = usize::from(*at) % blob.len();
        if *byte {
            blob[at] = *value as u8;
        } else if let Some(word) = blob.get_mut(at & !3..(at & !3) + 4) {
            word.copy_from_slice(&value.to_le_bytes());
        }
    }
    blob
}

/// Returns what follows the header: three records of a structure, a pointer and an integer make a
/// good start.
fn with_header(types: &[u8], strings: &[u8]) -> Vec<u8> {
    let mut out = vec![0x9f, 0xeb, 1, 0];
    let lengths = [24, 0, types.len(), types.len(), strings.len() + 2];
    for word in lengths {
        out.extend_from_slice(&(word as u32).to_le_bytes());
    }
    out.extend_from_slice(types);
    out.push(0);
    out.extend_from_slice(strings);
    out.push(0);
    out
}

fn check(blob: &[u8], path: &str, ram: &[u8]) {
    if let Ok(types) = Types::find(blob) {
        ask(&types, path, ram);
    }
}

/// Asks all that can be asked of every type, and evaluates `path` from each in `ram`.
pub(super) fn ask(types: &Types, path: &str, ram: &[u8]) {
    let memory = Image {
        base: 0xc000_0000,
        bytes: ram,
    };
    let reader = Reader {
        types,
        symbols: None,
        memory: &memory,
    };
    for id in 0..types.len() as u32 {
        let ty = TypeId(id);
        let name = types.type_name(ty);
        let _ = (
            types.size(ty),
            types.pointee(ty),
            types.function(types.plain_name(ty)),
        );
        let _ = types.member_names(ty).count();
        let _ = reader.register(ty, 0xc000_0000 | u64::from(id)).to_string();
        if let Ok(path) = types.resolve_from(ty, path)
            && let Ok(value) = reader.read(0xc000_0000, &path)
        {
            let _ = (value.to_string(), value.number());
        }
        let plain = types.plain_name(ty);
        if id < 16 && name.starts_with("struct ") {
            let members: Vec<&str> = types.member_names(ty).take(16).collect();
            let _ = describe(types, &[(plain, &members)]);
        }
    }
    let _ = reader.device_name(0xc000_0000);
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    match Case::arbitrary_take_rest(Unstructured::new(data)) {
        Ok(Case::Any(path, bytes)) => check(bytes, path, bytes),
        Ok(Case::Header(path, types, strings)) => {
            check(&with_header(types, strings), path, strings)
        }
        Ok(Case::Changed(wide, changes, pieces, ram)) => {
            let pieces = pieces.iter().take(12);
            let path: String = pieces
                .map(|piece| PIECES[usize::from(*piece) % PIECES.len()])
                .collect();
            // Memory with pointers into itself, where the input gives none.
            let ram: Vec<u8> = (0..64u32)
                .flat_map(|i| (0xc000_0000 + i * 4).to_le_bytes())
                .zip(ram.iter().copied().map(Some).chain(std::iter::repeat(None)))
                .map(|(own, given)| given.unwrap_or(own))
                .collect();
            check(&changed(wide, &changes), &path, &ram);
        }
        Ok(Case::Table(text)) => {
            if let Ok(tables) = Tables::parse(text) {
                let _ = tables.types("Linux version 6.1.0 (x)");
            }
        }
        Err(_) => {}
    }
}
