use crate::modules::{Module, ModuleSymbol};
use proptest::prelude::*;

use super::testing::{
    AARCH64, BEFORE, Form, LAYOUTS, Layout, TABLES, Written, as_aarch64, kernel_like, tables,
};
use super::*;

/// Bytes that are no tables, but not all zero either.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low byte is what is wanted"
)]
fn noise(size: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    })
    .take(size)
    .collect()
}

/// Returns the tables in the midst of an image.
fn image(symbols: &[Written], layout: &Layout) -> Vec<u8> {
    let before = [before(layout), noise(4096, 7)].concat();
    [before, tables(symbols, layout), noise(4096, 11)].concat()
}

/// Returns what an image must have before its tables at least.
fn before(layout: &Layout) -> Vec<u8> {
    match layout.form {
        Form::Own => vec![0; BEFORE],
        _ => Vec::new(),
    }
}

/// Returns the longest name that a layout can hold.
fn longest(layout: &Layout) -> usize {
    match layout.lengths {
        spec::Lengths::Byte => 120,
        spec::Lengths::Uleb => 480,
    }
}

fn check(found: &Symbols, written: &[Written], what: &str) {
    assert_eq!(found.len(), written.len(), "{what}");
    for (symbol, (name, address, kind)) in found.iter().zip(written) {
        assert_eq!(symbol.name, name, "{what}");
        assert_eq!(symbol.address, *address, "{what}: {name}");
        assert_eq!(symbol.kind, char::from(*kind), "{what}: {name}");
    }
}

#[test]
fn every_layout_is_found() {
    for layout in &LAYOUTS {
        for count in [512, 513, 700, 767, 768, 769, 1500] {
            let written = kernel_like(count, longest(layout));
            let found = Symbols::find(&image(&written, layout))
                .unwrap_or_else(|e| panic!("{}, {count}: {e}", layout.name));
            check(&found, &written, layout.name);
        }
    }
}

/// Up to 5.x the exception vectors were linked at 0 and, with CONFIG_KALLSYMS_ALL, made the
/// relative base 0 or 0x1000.
#[test]
fn symbols_of_the_vectors_make_a_low_base() {
    for layout in LAYOUTS.iter().filter(|l| !l.addresses_last) {
        for low in [0, 0x1000] {
            let mut written = kernel_like(600, 60);
            written.insert(0, ("vector_rst".to_owned(), low, b't'));
            let found = Symbols::find(&image(&written, layout)).unwrap();
            check(&found, &written, layout.name);
        }
    }
}

/// Returns the header of an arm64 image, whose second instruction leads `entry` bytes on from its
/// beginning.
fn header(entry: u32) -> Vec<u8> {
    let mut page = vec![0; spec::PAGE];
    page[4..8].copy_from_slice(&(header::BRANCH | ((entry - 4) / 4)).to_le_bytes());
    page[header::MAGIC_AT..][..4].copy_from_slice(b"ARM\x64");
    page
}

/// Returns what a 64-bit kernel's tables say: virtual addresses, if it has relocated itself.
fn is_placed(layout: &Layout) -> bool {
    layout.form == Form::Relative
}

#[test]
fn every_layout_of_64_bits_is_found() {
    for layout in &AARCH64 {
        for count in [512, 513, 700, 767, 768, 769, 1500] {
            let mut written = as_aarch64(&kernel_like(count, longest(layout)));
            written[0].0 = "_text".into();
            let text = written[0].1;
            let mut found = Symbols::find(&image(&written, layout))
                .unwrap_or_else(|e| panic!("{}, {count}: {e}", layout.name));
            assert_eq!(found.width(), Width::Bits64);
            assert_eq!(found.offset(&written[9].0), Some(written[9].1 - text));
            assert_eq!(found.is_placed(), is_placed(layout));
            let at = if is_placed(layout) { text } else { 0 };
            assert_eq!(found.text(), Some(at), "{}", layout.name);
            // Where the kernel of this boot is.
            for text in [0xffff_a5e2_c8e0_0000, text] {
                assert!(found.place(text));
                assert_eq!(found.address("_text"), Some(text));
                assert!(found.is_placed());
            }
            check(&found, &written, layout.name);
            assert!(!found.place(u64::MAX - 4), "not all of it would fit");
            check(&found, &written, layout.name);
        }
    }
}

#[test]
fn the_header_tells_where_an_unrelocated_kernel_begins() {
    for (layout, entry) in AARCH64
        .iter()
        .zip(["primary_entry", "stext"].iter().cycle())
    {
        let mut written = as_aarch64(&kernel_like(700, 60));
        written[300].0 = (*entry).into();
        // The kernel begins before its first symbol.
        let text = written[0].1 - 0x1_0000;
        let offset = u32::try_from(written[300].1 - text).unwrap();
        // What only begins like a header is none.
        let mut other = header(4);
        other[4..8].copy_from_slice(&(header::BRANCH | (1 << 25)).to_le_bytes());
        let before = [before(layout), header(4), header(offset), other].concat();
        let image = [before, tables(&written, layout), noise(4096, 11)].concat();
        let mut found = Symbols::find(&image).unwrap();
        assert_eq!(found.address("_text"), None);
        assert_eq!(found.offset(entry), Some(offset.into()), "{}", layout.name);
        assert!(found.place(text), "{}", layout.name);
        check(&found, &written, layout.name);
    }
}

#[test]
fn symbols_that_cannot_be_placed_stay() {
    let written = as_aarch64(&kernel_like(700, 60));
    for layout in &AARCH64 {
        let mut found = Symbols::find(&image(&written, layout)).unwrap();
        let before = found.address("_stext");
        assert_eq!((found.text(), found.offset("_stext")), (None, None));
        assert!(!found.place(TABLES));
        assert_eq!(found.address("_stext"), before);
        assert_eq!(found.is_placed(), is_placed(layout));
    }
    let aarch32 = kernel_like(700, 60);
    let mut found = Symbols::find(&image(&aarch32, &LAYOUTS[9])).unwrap();
    assert_eq!(found.width(), Width::Bits32);
    assert!(!found.place(0x8000_0000), "it runs where it was linked");
}

#[test]
fn no_tables_no_symbols() {
    assert_eq!(Symbols::find(&[]).err(), Some(SymbolsError::None));
    assert_eq!(Symbols::find(&[0; 8192]).err(), Some(SymbolsError::None));
    assert_eq!(
        Symbols::find(&noise(1 << 18, 3)).err(),
        Some(SymbolsError::None)
    );
}

#[test]
fn damaged_tables_are_said_to_be_damaged() {
    for layout in LAYOUTS.iter().chain(&AARCH64) {
        let written = kernel_like(700, 60);
        let good = match layout.width {
            Width::Bits32 => tables(&written, layout),
            Width::Bits64 => [before(layout), tables(&as_aarch64(&written), layout)].concat(),
        };
        // The number of symbols, wherever it stands, no longer fits.
        let number = 700u32.to_le_bytes();
        let mut bad = good.clone();
        for at in (0..bad.len() - 4).step_by(4) {
            if bad[at..at + 4] == number {
                bad[at] ^= 0x80;
                bad[at + 2] ^= 0x80;
            }
        }
        assert_eq!(
            Symbols::find(&bad).err(),
            Some(SymbolsError::Inconsistent),
            "{}",
            layout.name
        );
    }
}

#[test]
fn lookups() {
    let written = kernel_like(1000, 60);
    let mut symbols = Symbols::find(&image(&written, &LAYOUTS[7])).unwrap();
    assert_eq!(symbols.address("_stext"), Some(0xc010_0000));
    assert_eq!(symbols.address("no_such_function"), None);
    let duplicates: Vec<u64> = symbols
        .named("duplicate_static")
        .map(|s| s.address)
        .collect();
    let expected: Vec<u64> = written
        .iter()
        .filter(|w| w.0 == "duplicate_static")
        .map(|w| w.1)
        .collect();
    assert_eq!(duplicates, expected);
    assert!(duplicates.len() > 5);
    assert_eq!(symbols.at(0xc010_0004).unwrap().to_string(), "_stext+0x4");
    assert_eq!(symbols.at(0xc010_0000).unwrap().to_string(), "_stext");
    assert_eq!(symbols.at(0xc00f_ffff), None);
    let last = written.last().unwrap().1;
    assert_eq!(symbols.at(last).unwrap().offset, 0);
    assert_eq!(
        symbols.at(last + 4),
        None,
        "nothing is known beyond the last symbol"
    );

    let loaded = |name: &str, list: [(&str, u64); 2]| {
        let symbols = list.map(|(name, address)| ModuleSymbol {
            name: name.into(),
            address,
            end: address + 0x80,
            kind: 't',
        });
        Module::new(name, symbols.to_vec())
    };
    let other = loaded("other", [("probe", 0xbf80_0000), ("gone", 0xbf80_0100)]);
    symbols.set_modules([&other]);
    let ipmmu = loaded("ipmmu", [("probe", 0xbf00_0000), ("_stext", 0xbf00_0100)]);
    symbols.set_modules([&ipmmu]);
    assert_eq!(symbols.address("gone"), None);
    assert_eq!(symbols.at(0xbf00_0080), None, "past the function's end");
    assert_eq!(symbols.at(0xbfff_0000), None, "past the module's end");
    assert_eq!(symbols.len(), 1002);
    assert_eq!(
        symbols.at(0xbf00_0008).unwrap().to_string(),
        "probe+0x8 [ipmmu]"
    );
    assert_eq!(symbols.named("_stext").count(), 2);
}

#[test]
fn aliases_and_ends() {
    let list = [
        ("alias_a", 0xc000_8000, b'T'),
        ("alias_b", 0xc000_8000, b'T'),
        ("_etext", 0xc000_9000, b'T'),
        ("_sinittext", 0xc080_0000, b'T'),
        ("_einittext", 0xc080_1000, b'T'),
        ("__start_thing", 0xc080_1000, b'D'),
        ("last", 0xc090_0000, b'D'),
    ];
    let few = list.map(|(n, a, k)| (n.to_owned(), a, k));
    let many = (0..600).map(|i| (format!("f{i}"), 0xc000_0000 + i, b'T'));
    let written: Vec<Written> = many.chain(few).collect();
    let symbols = Symbols::find(&tables(&written, &LAYOUTS[9])).unwrap();
    let at = |address| symbols.at(address).map(|l| l.to_string());
    assert_eq!(at(0xc000_8004).as_deref(), Some("alias_a+0x4"));
    assert_eq!(at(0xc000_9000).as_deref(), Some("_etext"));
    assert_eq!(
        at(0xc000_9004),
        None,
        "data between the texts belongs to nothing"
    );
    assert_eq!(at(0xc080_1004).as_deref(), Some("__start_thing+0x4"));
}

/// Images full of things that begin like tables must not take time out of proportion.
#[test]
fn hostile_images_end_in_time() {
    let index: Vec<u8> = (0..256u16).flat_map(|i| (2 * i).to_le_bytes()).collect();
    let tokens: Vec<u8> = (0..256).flat_map(|_| [b'a', 0]).collect();
    // Many token tables, each after zero words that can all be markers and numbers.
    let block = [vec![0; 4096], tokens, index].concat();
    let started = std::time::Instant::now();
    assert!(Symbols::find(&block.repeat(512)).is_err());
    let numbers: Vec<u8> = (0..1u32 << 18).flat_map(|_| 200u32.to_le_bytes()).collect();
    let block = [numbers, vec![0; 4], block].concat();
    assert!(Symbols::find(&block.repeat(4)).is_err());
    assert!(
        started.elapsed().as_secs() < 60,
        "took {:?}",
        started.elapsed()
    );
}

fn written() -> impl Strategy<Value = Vec<Written>> {
    let name = "[A-Za-z_$.][A-Za-z0-9_$.]{0,60}";
    proptest::collection::vec((name, 0u32..5000, "[TtDdRrBbWw]"), 512..1000).prop_map(|list| {
        let mut address = 0xc000_8000;
        list.into_iter()
            .map(|(name, step, kind)| {
                address += u64::from(step);
                (name, address, kind.as_bytes()[0])
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_written_is_found(
        written in written(),
        layout in proptest::sample::select(&LAYOUTS[..]),
        before in 0usize..64,
    ) {
        let image = [noise(before * 16, 5), tables(&written, &layout), noise(512, 9)].concat();
        let found = Symbols::find(&image).unwrap();
        prop_assert_eq!(found.len(), written.len());
        for (symbol, (name, address, _)) in found.iter().zip(&written) {
            prop_assert_eq!((symbol.name, symbol.address), (name.as_str(), *address));
            prop_assert!(found.named(name).any(|s| s.address == *address));
        }
    }

    #[test]
    fn whatever_is_written_of_64_bits_is_found(
        written in written(),
        layout in proptest::sample::select(&AARCH64[..]),
        before in 0usize..64,
        text in 0xffff_8000_0000_0000u64..0xffff_ffff_0000_0000,
    ) {
        let mut written = as_aarch64(&written);
        written[0].0 = "_text".into();
        let before = [self::before(&layout), noise(before * 16, 5)].concat();
        let image = [before, tables(&written, &layout), noise(512, 9)].concat();
        let mut found = Symbols::find(&image).unwrap();
        prop_assert!(found.place(text));
        prop_assert_eq!(found.len(), written.len());
        for (symbol, (name, address, _)) in found.iter().zip(&written) {
            prop_assert_eq!((symbol.name, symbol.address), (name.as_str(), address - written[0].1 + text));
        }
    }

    /// Any damage gives other symbols or an error, never a panic.
    #[test]
    fn damage_is_survived(
        layout in proptest::sample::select([&LAYOUTS[..], &AARCH64[..]].concat()),
        damage in proptest::collection::vec((0usize..1 << 16, any::<u8>()), 1..20),
        cut in 0usize..1 << 14,
    ) {
        let aarch32 = kernel_like(600, 60);
        let mut image = match layout.width {
            Width::Bits32 => tables(&aarch32, &layout),
            Width::Bits64 => [header(0x100), tables(&as_aarch64(&aarch32), &layout)].concat(),
        };
        for (at, value) in damage {
            let at = at % image.len();
            image[at] = value;
        }
        image.truncate(image.len().saturating_sub(cut));
        if let Ok(mut found) = Symbols::find(&image) {
            found.place(0xffff_8000_8000_0000);
            for symbol in found.iter() {
                prop_assert!(found.at(symbol.address).is_some());
            }
        }
    }
}
