//! Tests of listeners of a unit.

use std::sync::Arc;

use vm_memory::Permissions;

use super::*;
use crate::fault::{Fault, FaultReason, Requester};
use crate::model::{Miss, Model};
use crate::test_support::ram;
use crate::unit::{TranslationUnit, UnitConfig};

/// A model with nothing mapped: what it has is not told.
struct Empty;

impl Model for Empty {
    fn translate(
        &self,
        _requester: Requester,
        _domain: DomainId,
        _iova: u64,
        _wanted: Permissions,
    ) -> Result<Mapping, Miss> {
        Err(Miss::new(FaultReason::Translation))
    }

    fn fault(&self, _fault: &Fault) {}
}

/// Writes down what it is told.
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    refuses: Option<Attachment>,
}

impl DmaListener for Log {
    fn attach(&mut self, to: Attachment) -> Result<(), Refusal> {
        self.lines.lock().unwrap().push(format!("{to:?}"));
        if self.refuses == Some(to) {
            return Err(Refusal::Device);
        }
        Ok(())
    }

    fn map(&mut self, _mapping: &Mapping) -> Result<(), Refusal> {
        unreachable!("a unit has no mappings to tell of")
    }

    fn unmap(&mut self, _first: u64, _last: u64) {
        unreachable!("a unit has no mappings to tell of")
    }

    fn invalidate(&mut self, first: u64, last: u64) {
        let line = format!("{first:#x} to {last:#x}");
        self.lines.lock().unwrap().push(line);
    }

    fn commit(&mut self) {
        self.lines.lock().unwrap().push("commit".to_owned());
    }
}

#[test]
fn attachments_and_invalidations_of_a_unit_are_told_to_whom_they_concern() {
    let config = UnitConfig {
        endpoints: 2,
        domains: 4,
        initial: Attachment::Bypass,
    };
    let unit = TranslationUnit::new(ram(), Arc::new(Empty), &config, None);
    let lines = Arc::new(Mutex::new(Vec::new()));
    let told = || std::mem::take(&mut *lines.lock().unwrap());
    let listener = |refuses| {
        let lines = Arc::clone(&lines);
        Box::new(Log { lines, refuses })
    };
    unit.add_listener(EndpointId(1), listener(None));
    assert_eq!(told(), ["Bypass", "commit"]);
    unit.invalidate_all();
    unit.attach(EndpointId(0), Attachment::Blocked);
    assert!(
        told().is_empty(),
        "it is not translated, and another endpoint"
    );
    unit.attach(EndpointId(1), Attachment::Domain(DomainId(2)));
    assert_eq!(told(), ["Domain(DomainId(2))", "commit"]);
    unit.invalidate_domain(DomainId(1));
    unit.invalidate_range(DomainId(3), 0, 1);
    assert!(told().is_empty());
    unit.invalidate_range(DomainId(2), 0x1000, 0x1fff);
    assert_eq!(told(), ["0x1000 to 0x1fff", "commit"]);
    unit.invalidate_all();
    let all = "0x0 to 0xffffffffffffffff";
    assert_eq!(told(), [all, "commit"]);
    unit.invalidate_domain(DomainId(2));
    assert_eq!(told(), [all, "commit"]);
    assert_eq!(unit.remove_listeners(EndpointId(1)).len(), 1);
    unit.attach(EndpointId(1), Attachment::Bypass);
    assert!(told().is_empty());
    // Nobody can be told of a refusal: then it meets nothing.
    unit.add_listener(EndpointId(1), listener(Some(Attachment::Bypass)));
    assert_eq!(told(), ["Bypass", "Blocked", "commit"]);
}
