//! Kernels whose types are not in their images.

use std::sync::Arc;

use super::{Guest, NAMED, TYPES};
use crate::probe::ProbeError;
use crate::probe::scope::ScopeError;
use crate::types::TypesError;
use crate::types::vmlinux::testing::{Elf, Packing, device_like, note};
use crate::types::vmlinux::{MismatchError, TypesFrom, Vmlinux};

const ID: &[u8] = b"the build that runs!";
const BANNER: &str = "Linux version 6.0.0 (a@b) #1";

fn vmlinux(id: &[u8]) -> Arc<Vmlinux> {
    let elf = Elf::new()
        .with_types(device_like(4), Packing::None)
        .with_id(id)
        .with_banner(BANNER);
    Arc::new(Vmlinux::parse(&elf.bytes()).unwrap())
}

/// Returns a guest whose kernel has a build ID and a banner, and no types.
fn guest() -> Guest {
    let guest = Guest::new(&NAMED);
    guest.put(TYPES, &[0; 8]);
    guest.put(TYPES + 0x100, &note(ID));
    guest.put(TYPES + 0x200, format!("{BANNER}\n").as_bytes());
    guest
}

#[test]
fn a_kernel_without_types_has_them_from_its_vmlinux() {
    let mut guest = guest();
    let mut engine = guest.engine(&["?really_probe { print((struct device)x0.archdata.depth) }"]);
    engine.use_types(TypesFrom::File(vmlinux(ID)));
    guest.start(&mut engine);
    let outcome = engine.outcome();
    let outcome = outcome.lock().unwrap();
    assert_eq!((&outcome.error, &outcome.no_types), (&None, &None));
    assert!(outcome.armed && outcome.left_out.is_empty());
}

#[test]
fn a_kernel_without_types_says_so() {
    let mut guest = guest();
    let mut engine = guest.engine(&[
        "?really_probe { print((struct device)x0.archdata.depth) }",
        "really_probe { print(x0) }",
    ]);
    guest.start(&mut engine);
    let outcome = engine.outcome();
    let outcome = outcome.lock().unwrap();
    assert_eq!(outcome.error, None);
    assert_eq!(outcome.no_types, Some(TypesError::NoWideTable));
    assert_eq!(outcome.left_out.len(), 1);
    assert_eq!(
        outcome.left_out[&0],
        ScopeError::Types(TypesError::NoWideTable)
    );
    let sentence = TypesError::NoWideTable.to_string();
    assert!(sentence.contains("give its vmlinux"), "{sentence}");
}

#[test]
fn the_vmlinux_of_another_build_is_refused() {
    let mut guest = guest();
    let mut engine = guest.engine(&["really_probe { print(x0) }"]);
    engine.use_types(TypesFrom::File(vmlinux(b"the one before that.")));
    guest.start(&mut engine);
    assert!(guest.breakpoints().is_empty(), "no probe was set");
    let error = engine.outcome().lock().unwrap().error.clone();
    let build = MismatchError::Build(BANNER.into());
    assert_eq!(error, Some(ProbeError::Vmlinux(build)));
}

#[test]
fn a_probe_is_set_instead_of_one_that_does_not_fit() {
    let mut guest = guest();
    let mut engine = guest.engine(&[
        "?really_probe { print((struct device)x0.archdata.no_such_field) }",
        "??really_probe { print((struct device)x0.archdata.depth) }",
        "??really_probe { print((struct device)x0.archdata.mapping) }",
        "?really_probe { print((struct device)x0.archdata.dma_coherent) }",
        "??really_probe { print((struct device)x0.archdata.depth) }",
    ]);
    engine.use_types(TypesFrom::File(vmlinux(ID)));
    guest.start(&mut engine);
    let outcome = engine.outcome();
    let left_out = outcome.lock().unwrap().left_out.clone();
    assert_eq!(left_out.keys().collect::<Vec<_>>(), [&0]);
    guest.call();
    let hits = guest.come_to(&mut engine, 0x10_0d00);
    let names: Vec<&str> = hits.iter().map(|hit| &*hit.values[0].0).collect();
    let fields = ["depth", "dma_coherent"];
    assert_eq!(
        names,
        fields.map(|field| format!("(struct device)x0.archdata.{field}"))
    );
}
