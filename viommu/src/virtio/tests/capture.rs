//! Replays what a driver says, byte for byte.
//!
//! A capture is text, a line each:
//! - `features N`: the device-specific features that the driver accepted, in hexadecimal;
//! - `> BYTES N`: a request is made available, with these device-readable bytes and N
//!   device-writable ones;
//! - `kick`: the driver notifies;
//! - `< BYTES`: the next used buffer: the first bytes of what is writable, as many as the used
//!   length says; `<` alone for a used length of 0. Bytes are hexadecimal; `XX*N` is N times that
//!   byte.
//! - everything from `#` on is a comment.

use super::harness::*;
use crate::virtio::{EndpointConfig, ReservedKind, ReservedRegion, VirtioIommuConfig};
use anyhow::{Context, bail};

#[derive(Debug, PartialEq)]
enum Line {
    Features(u64),
    Request(Vec<u8>, u32),
    Kick,
    Answer(Vec<u8>),
}

fn bytes<'a>(words: impl Iterator<Item = &'a str>) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for word in words {
        let (digits, times) = word.split_once('*').unwrap_or((word, "1"));
        let times: usize = times
            .parse()
            .with_context(|| format!("no number: {times}"))?;
        for _ in 0..times {
            for at in (0..digits.len()).step_by(2) {
                let digits = digits.get(at..at + 2);
                let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
                bytes.push(byte.with_context(|| format!("no hexadecimal bytes: {word}"))?);
            }
        }
    }
    Ok(bytes)
}

fn parse_line(line: &str) -> anyhow::Result<Option<Line>> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let mut words = line.split_whitespace();
    Ok(Some(match words.next() {
        None => return Ok(None),
        Some("features") => {
            let number = words.next().unwrap_or_default();
            let number = u64::from_str_radix(number.trim_start_matches("0x"), 16);
            Line::Features(number.with_context(|| format!("no number: {line}"))?)
        }
        Some("kick") => Line::Kick,
        Some("<") => Line::Answer(bytes(words)?),
        Some(">") => {
            let mut words: Vec<_> = words.collect();
            let last = words.pop().and_then(|last| last.parse().ok());
            let writable = last.with_context(|| format!("no writable bytes: {line}"))?;
            Line::Request(bytes(words.into_iter())?, writable)
        }
        Some(other) => bail!("unknown line: {other}"),
    }))
}

fn parse(text: &str) -> anyhow::Result<Vec<Line>> {
    let lines = text.lines().map(parse_line);
    lines.filter_map(Result::transpose).collect()
}

/// Replays a capture; panics where the device answers otherwise. The number of requests.
fn replay(machine: &mut Machine, text: &str) -> usize {
    let mut sent = std::collections::VecDeque::new();
    let mut count = 0;
    for line in parse(text).unwrap() {
        match line {
            Line::Features(features) => machine.iommu.activate(features).unwrap(),
            Line::Request(request, writable) => {
                sent.push_back(
                    machine
                        .requests
                        .send(&[Part::In(request), Part::Out(writable)]),
                );
                count += 1;
            }
            Line::Kick => assert!(!machine.serve().pending),
            Line::Answer(expected) => {
                let (head, writable) = sent.pop_front().unwrap();
                let (id, length) = machine.requests.take_used().unwrap();
                assert_eq!(id, u32::from(head));
                let answer = machine.requests.bytes(&writable);
                assert_eq!(answer[..length as usize], expected, "request {count}");
            }
        }
    }
    assert!(sent.is_empty(), "each request was answered");
    count
}

/// What the driver of a booted guest said, with the answers that it got.
#[test]
fn the_linux_driver_is_answered_byte_for_byte() {
    let text = include_str!("linux.capture");
    let region = |first, last, kind| ReservedRegion { first, last, kind };
    let endpoint = |id| EndpointConfig {
        id,
        reserved: vec![
            region(0xfee0_0000, 0xfeef_ffff, ReservedKind::Msi),
            region(0xff00_0000, 0xff00_ffff, ReservedKind::Reserved),
        ],
    };
    let config = VirtioIommuConfig::new([endpoint(0), endpoint(1)]);
    let mut machine = Machine::new(config);
    let count = replay(&mut machine, text);
    let of_type = |kind: &str| text.lines().filter(|l| l.starts_with(kind)).count();
    assert_eq!(
        (count, of_type("> 05"), of_type("> 01")),
        (of_type("> "), 2, 2)
    );
    assert_eq!(machine.iommu.domain_of(0), Some(0));
    assert_eq!(machine.iommu.domain_of(1), Some(1));
    // Linux unmaps what it mapped: each UNMAP of the capture takes one mapping away.
    assert!(of_type("> 03") > 10 && of_type("> 04") > 10);
    assert_eq!(machine.iommu.mappings(), of_type("> 03") - of_type("> 04"));
}

/// What that guest never says, derived from the driver and the layout of its structures.
#[test]
fn what_the_linux_driver_would_say_is_answered_too() {
    let mut machine = Machine::new(super::requests::reserved_config());
    let count = replay(&mut machine, include_str!("derived.capture"));
    assert_eq!(count, 17);
    assert_eq!(machine.iommu.domain_of(EP), None);
    assert_eq!(machine.iommu.mappings(), 0);
}

#[test]
fn captures_that_make_no_sense_are_refused() {
    for bad in [">", "> 0 4", "< 0g", "features x", "frob", "< 00*x"] {
        assert!(parse(bad).is_err(), "{bad}");
    }
    let good = parse("features 0x77 # all\n\n> 01ff*2 00 4\nkick\n<").unwrap();
    let request = Line::Request(vec![1, 0xff, 1, 0xff, 0], 4);
    assert_eq!(
        good,
        [
            Line::Features(0x77),
            request,
            Line::Kick,
            Line::Answer(Vec::new())
        ]
    );
}
