//! Any bytes as a kernel's type information, any path into it, any memory behind it: values or errors.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vmm::observe::memory::Image;
use vmm::observe::types::offsets::{Tables, describe};
use vmm::observe::types::value::Reader;
use vmm::observe::types::{TypeId, Types};

/// What follows the header: three records of a structure, a pointer and an integer make a good start.
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
    let Ok(types) = Types::find(blob) else {
        return;
    };
    let memory = Image {
        base: 0xc000_0000,
        bytes: ram,
    };
    let reader = Reader {
        types: &types,
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
            let _ = describe(&types, &[(plain, &members)]);
        }
    }
    let _ = reader.device_name(0xc000_0000);
}

fuzz_target!(|data: &[u8]| {
    let Some((head, rest)) = data.split_first_chunk::<3>() else {
        return;
    };
    let (path, rest) = rest.split_at(rest.len().min(head[0].into()));
    let path = String::from_utf8_lossy(path);
    check(rest, &path, rest);
    let types = rest
        .len()
        .min(usize::from(u16::from_le_bytes([head[1], head[2]])));
    let (types, strings) = rest.split_at(types);
    check(&with_header(types, strings), &path, strings);
    if let Ok(text) = std::str::from_utf8(rest)
        && let Ok(tables) = Tables::parse(text)
    {
        let _ = tables.types("Linux version 6.1.0 (x)");
    }
});
