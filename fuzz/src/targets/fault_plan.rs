//! Any text as a fault plan: it is read or refused in a sentence, and what was read, written, is read alike. Any bytes as
//! the journal of a campaign: what is believed of it is whole lines from its beginning on.

use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use vmm::inject::{journal, plan};

use super::text::Input;

const WORDS: &[&str] = &[
    "translation",
    "permission",
    "access-flag",
    "format",
    "secure",
    "abort",
    "multi-hit",
    "status",
    "page-table",
    "flip",
    "flush",
    "late",
    "stuck",
    "ignored",
    "register-read",
    "register-write",
    "value",
    "lost",
    "interrupt",
    "repeated",
    "spurious",
    "queue",
    "needs-reset",
    "reset",
    "chain",
    "flip-address",
    "flip-length",
    "disk",
    "io-error",
    "unsupported",
    "short",
    "late-data",
    "again",
    "request",
    "report",
    "device",
    "register",
    "function",
    "mask",
    "count",
    "delay",
    "when",
    "nth",
    "every",
    "probability",
    "at",
    "probe",
    "times",
    "1ms",
    "5s",
    "1..3",
    "0",
    "ipmmu0",
    "vda",
    "true",
    "[]",
    "nan",
];
const LINES: &[&str] = &[
    "[[fault]]",
    "where = \"disk\"",
    "what = \"io-error\"",
    "when = { nth = 3 }",
    "when = { every = 7, times = 2 }",
    "when = { probability = 0.5 }",
    "when = { at = \"5ms\" }",
    "when = { probe = \"f\" }",
    "delay = \"1ms\"",
    "device = \"vda\"",
    "scenario = \"virtio\"",
];

static GOOD: LazyLock<Vec<&str>> =
    LazyLock::new(|| plan::SHIPPED.iter().map(|(_, text)| *text).collect());

/// An input.
#[derive(Arbitrary, Debug)]
enum Case<'a> {
    Plan(Input<'a>),
    Journal(&'a [u8]),
}

fn read(text: &str) {
    match plan::parse("p", text) {
        Ok(read) => {
            // A number that TOML cannot write is one that it cannot read either.
            let written = toml::to_string(&read).expect("what was read can be written");
            let again = plan::parse("p", &written).expect("what was written can be read");
            assert_eq!(again, read);
        }
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
    }
}

fn journal(data: &[u8]) {
    let (header, records, good) = journal::parse(data);
    let (again, same, still) = journal::parse(&data[..good]);
    assert_eq!((&header, &records, good), (&again, &same, still));
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    match Case::arbitrary_take_rest(Unstructured::new(data)) {
        Ok(Case::Plan(input)) => read(&input.text(&GOOD, WORDS, LINES)),
        Ok(Case::Journal(data)) => journal(data),
        Err(_) => {}
    }
}
