use crate::observe::modules::{Module, ModuleSymbol};
use proptest::prelude::*;

use super::testing::{LAYOUTS, Layout, Written, kernel_like, tables};
use super::*;

/// Bytes that are no tables, but not all zero either.
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

/// The tables in the midst of an image.
fn image(symbols: &[Written], layout: &Layout) -> Vec<u8> {
    [noise(4096, 7), tables(symbols, layout), noise(4096, 11)].concat()
}

/// The longest name that a layout can hold.
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

/// Up to 5.x the exception vectors were linked at 0 and, with CONFIG_KALLSYMS_ALL, made the relative base 0 or 0x1000.
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
    for layout in &LAYOUTS {
        let written = kernel_like(700, 60);
        let good = tables(&written, layout);
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
    let duplicates: Vec<u32> = symbols
        .named("duplicate_static")
        .map(|s| s.address)
        .collect();
    let expected: Vec<u32> = written
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

    let loaded = |name: &str, list: [(&str, u32); 2]| {
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
                address += step;
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

    /// Any damage gives other symbols or an error, never a panic.
    #[test]
    fn damage_is_survived(
        layout in proptest::sample::select(&LAYOUTS[..]),
        damage in proptest::collection::vec((0usize..1 << 16, any::<u8>()), 1..20),
        cut in 0usize..1 << 14,
    ) {
        let mut image = tables(&kernel_like(600, 60), &layout);
        for (at, value) in damage {
            let at = at % image.len();
            image[at] = value;
        }
        image.truncate(image.len().saturating_sub(cut));
        if let Ok(found) = Symbols::find(&image) {
            for symbol in found.iter() {
                prop_assert!(found.at(symbol.address).is_some());
            }
        }
    }
}
