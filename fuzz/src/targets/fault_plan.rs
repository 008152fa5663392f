//! Any text as a fault plan: it is read or refused in a sentence, and what was read, written, is
//! read alike. Any bytes as the journal of a campaign: what is believed of it is whole lines from
//! its beginning on.

use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use sha2::{Digest, Sha256};
use vmm::campaign::{Summary, journal, plan};

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
    for data in [data, &sealed(data)] {
        if let Ok(contents) = journal::parse(data) {
            let again = journal::parse(&data[..contents.good]).expect("what was whole is whole");
            assert_eq!(contents, again);
            // Whatever its points and its code are said to be.
            if let Some(header) = &contents.header {
                let _ = Summary::new(header, contents.records.values()).table();
            }
        }
    }
}

/// Returns objects, a line each, with the hashes that bind a journal's lines, which no mutation
/// would find.
fn sealed(data: &[u8]) -> Vec<u8> {
    let hex = |hash: &[u8]| {
        hash.iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let mut hash = Sha256::digest("viommu-inject");
    let mut text = Vec::new();
    for line in data.split(|byte| *byte == b'\n') {
        let body = line.strip_suffix(b"}").unwrap_or(line);
        hash = Sha256::new()
            .chain_update(hash)
            .chain_update(body)
            .finalize();
        text.extend_from_slice(body);
        text.extend_from_slice(format!(",\"chain\":\"{}\"}}\n", hex(&hash)).as_bytes());
    }
    text
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    match Case::arbitrary_take_rest(Unstructured::new(data)) {
        Ok(Case::Plan(input)) => read(&input.text(&GOOD, WORDS, LINES)),
        Ok(Case::Journal(data)) => journal(data),
        Err(_) => {}
    }
}
