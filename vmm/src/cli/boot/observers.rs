//! Who looks on at a run: probes, the timeline, the sanitizer.

use std::sync::Arc;

use vmm::introspect::probe::Probe;
use vmm::introspect::types::vmlinux::TypesFrom;
use vmm::sanitizer::{DmaApi, Sanitizer};
use vmm::timeline::recording::Recording as Events;
use vmm::{Acceleration, Config, ConsoleSink, IommuSink, Machine};

use crate::cli::{UserError, probes, sanitize, text};

/// Says how the machine runs, where that was to be found out, and has its events recorded.
pub fn introduce(machine: &Machine, recording: Option<&Events>) {
    if let Acceleration::Emulated(Some(why)) = machine.acceleration() {
        text::complain(&format!("the processor is emulated: {why}"));
    }
    if let Some(recording) = recording {
        recording.connect(machine, |entry| entry.name.clone());
    }
}

/// Says what a loader has done to the device tree that the kernel is given, if it is not one that
/// is generated.
pub fn tell_of_tree(config: &Config, quiet: bool) {
    if let Some(dtb) = config.dtb.as_deref().filter(|_| !quiet) {
        text::tell(&format!(
            "the kernel is given the device tree {} with /chosen and /memory filled in{}",
            dtb.display(),
            config.tree_additions()
        ));
    }
}

/// A machine's console and sink.
type Sinks = (Box<dyn ConsoleSink>, Option<Arc<dyn IommuSink>>);

/// Returns what also has `recording`, if there is one, note what the machine shows.
pub fn note(
    recording: Option<&Events>,
    console: Box<dyn ConsoleSink>,
    sink: Option<Arc<dyn IommuSink>>,
) -> Sinks {
    match recording {
        Some(recording) => (
            recording.console(console),
            Some(recording.sink_before(sink)),
        ),
        None => (console, sink),
    }
}

/// Sets the probes in `machine`, and has the sanitizer follow the calls of its guest.
pub fn look_on(
    machine: &mut Machine,
    probes: Vec<Probe>,
    types: TypesFrom,
    events: Option<Arc<Events>>,
    sanitizer: Option<&Arc<Sanitizer>>,
) -> Result<(Option<probes::Set>, Option<DmaApi>), UserError> {
    let set = probes::Set::new(machine, probes, types.clone(), events)?;
    // After the probes: what they change in the guest is seen as the guest's own.
    let dma_api = sanitize::watch(sanitizer, machine, types);
    Ok((set, dma_api))
}
