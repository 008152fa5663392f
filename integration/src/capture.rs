//! What a guest's driver says to its virtio-iommu, byte for byte.
//!
//! The notation is that of `viommu/src/virtio/tests/capture.rs`, which replays it. It is made by
//! `cargo run --release -p integration --example capture > viommu/src/virtio/tests/linux.capture`.

use std::fmt::Write as _;
use std::mem::take;
use std::sync::{Arc, Mutex, PoisonError};

use viommu::virtio::Exchange;
use vmm::devices::virtio::iommu::DriverEvent;
use vmm::{ByteSize, IommuConfig, IommuEvent, IommuInfo, IommuModel, IommuSink, VirtioEvent};
use vmm::{ReservedMemory, VirtioIommuOptions};

use crate::{Guest, disk};

/// The image whose kernel has the driver.
const IMAGE: &str = "virtio-iommu";
/// Equal bytes that are written as one, with their number.
const RUN: usize = 8;

/// Writes down requests and answers, up to a number of requests.
pub struct Capture {
    most: usize,
    text: Mutex<Text>,
}

#[derive(Default)]
struct Text {
    lines: String,
    requests: usize,
    /// Of the notification at hand.
    sent: Vec<String>,
    answers: Vec<String>,
}

impl Capture {
    /// Creates a capture of nothing yet; after `most` requests the rest of a batch is still taken.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            text: Mutex::default(),
        }
    }

    /// Returns what was said so far.
    pub fn text(&self) -> String {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        // No notification has come after the last batch.
        text.end_batch();
        text.lines.clone()
    }
}

impl Text {
    fn end_batch(&mut self) {
        if self.sent.is_empty() {
            return;
        }
        for request in take(&mut self.sent) {
            let _ = writeln!(self.lines, "> {request}");
        }
        self.lines.push_str("kick\n");
        for answer in take(&mut self.answers) {
            let _ = writeln!(self.lines, "< {answer}");
        }
    }

    fn exchange(&mut self, exchange: &Exchange<'_>) {
        self.requests += 1;
        let request = format!("{} {}", hex(exchange.readable), exchange.writable);
        self.sent.push(request);
        let mut answer = exchange.properties.to_vec();
        if let Some(status) = exchange.status {
            answer.extend([status as u8, 0, 0, 0]);
        }
        self.answers.push(hex(&answer));
    }
}

impl IommuSink for Capture {
    fn event(&self, _iommu: &IommuInfo, _at_ns: u64, event: &IommuEvent<'_>) {
        let IommuEvent::Virtio(event) = event else {
            return;
        };
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            VirtioEvent::Driver(DriverEvent::Features(bits)) => {
                let _ = writeln!(text.lines, "features {bits:#x}");
            }
            // What was served between two notifications was sent together.
            VirtioEvent::Driver(DriverEvent::Notified) => text.end_batch(),
            // A batch that has begun is taken whole, as the replay serves it as one.
            VirtioEvent::Request(exchange)
                if text.requests < self.most || !text.sent.is_empty() =>
            {
                text.exchange(exchange);
            }
            _ => {}
        }
    }
}

/// Returns words of four bytes, and long runs as one byte and their length.
fn hex(mut bytes: &[u8]) -> String {
    let mut words = Vec::new();
    while let Some(first) = bytes.first() {
        let equal = bytes.iter().take_while(|byte| *byte == first).count();
        let (word, rest) = if equal >= RUN {
            (format!("{first:02x}*{equal}"), &bytes[equal..])
        } else {
            let (now, rest) = bytes.split_at(bytes.len().min(4));
            (now.iter().map(|byte| format!("{byte:02x}")).collect(), rest)
        };
        words.push(word);
        bytes = rest;
    }
    words.join(" ")
}

/// Returns the virtio-iommu that [`record`] uses: with regions that its guest must not map, of
/// which it hears in an answer.
pub fn iommu() -> IommuConfig {
    let region = |first, last, msi| ReservedMemory {
        endpoint: None,
        first: ByteSize(first),
        last: ByteSize(last),
        msi,
    };
    IommuConfig {
        virtio: Some(VirtioIommuOptions {
            reserved: vec![
                // Where x86 has its window for message-signalled interrupts.
                region(0xfee0_0000, 0xfeef_ffff, true),
                region(0xff00_0000, 0xff00_ffff, false),
            ],
            ..VirtioIommuOptions::default()
        }),
        ..IommuConfig::new(IommuModel::Virtio)
    }
}

/// Boots a guest with a disk and an entropy device behind a virtio-iommu; what its driver says
/// first, in as many requests.
///
/// # Panics
/// If the guest does not come up.
pub fn record(requests: usize) -> String {
    let disk = disk::noise(1 << 20, 1);
    let guest = Guest::image(IMAGE).iommu_config(iommu()).disk(&disk);
    let capture = Arc::new(Capture::new(requests));
    let live = guest
        .run("dd if=/dev/vda of=/dev/null bs=64k iflag=direct; uname -r")
        .start_watched(Some(capture.clone()));
    let run = live.finish();
    run.assert_good();
    let version = run.output(1);
    format!(
        "# What drivers/iommu/virtio-iommu.c of Linux {} says from its probe on, recorded from a booted guest by\n\
         #   cargo run --release -p integration --example capture\n\
         # Endpoint 0 is a disk, endpoint 1 an entropy device. The notation is that of capture.rs.\n{}",
        version.lines().last().unwrap_or_default(),
        capture.text()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_short_and_the_rest_is_words() {
        assert_eq!(hex(&[1, 2, 3, 4, 5]), "01020304 05");
        assert_eq!(hex(&[0; 9]), "00*9");
        assert_eq!(hex(&[7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), "07000000 00*8");
        assert_eq!(hex(&[]), "");
    }
}
