//! An observer that has events of registers say all that they can.

use viommu::ipmmu::{IpmmuEvent, IpmmuObserver};
use viommu::{RegisterEvent, RegisterObserver};

/// Asks each event for what counts, traces and timelines show of it.
pub struct Told;

fn tell(event: &dyn RegisterEvent) {
    assert!(!event.to_string().is_empty());
    assert!(!event.trace().name.is_empty());
    let change = event.register();
    assert!(change.is_none_or(|change| !change.register.is_empty()));
    let _ = event.effect();
}

impl IpmmuObserver for Told {
    fn event(&self, _instance: &str, event: &IpmmuEvent) {
        tell(event);
    }
}

impl RegisterObserver for Told {
    fn event(&self, event: &dyn RegisterEvent) {
        tell(event);
    }
}
