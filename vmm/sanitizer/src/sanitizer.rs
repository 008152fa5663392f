//! The sanitizer of one machine: where its parts are connected.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use viommu::HitCheck;
use vm_memory::Permissions;
use vmm_machine::{IommuEvent, IommuInfo, IommuSink};

use crate::report::History;
use crate::reports::{Findings, Reports, Tell};
use crate::{Kind, Options};

/// A part of the sanitizer, which sees what happens at IOMMUs.
///
/// Called as an [`IommuSink`] is: with the registers of an IOMMU locked, so that it must not call
/// the machine.
pub(crate) trait Part: Send {
    /// Sees what happened at `iommu`, at this time of the guest's clock.
    fn event(
        &mut self,
        iommu: &IommuInfo,
        at_ns: u64,
        event: &IommuEvent<'_>,
        outside: &Outside<'_>,
    );

    /// Sees an access of a device that stands behind no IOMMU: the first guest physical address,
    /// and the number of bytes.
    fn direct(&mut self, device: &str, at_ns: u64, place: (u64, u64), access: Permissions) {
        let _ = (device, at_ns, place, access);
    }

    /// Returns the part of a machine that goes on from where this one's is; `None` if it is added
    /// anew to such a machine.
    fn fork(&self) -> Option<Box<dyn Part>> {
        None
    }

    /// Reports what can only be said when the run is over.
    fn end(&mut self, at_ns: u64, outside: &Outside<'_>) {
        let _ = (at_ns, outside);
    }
}

/// What a part has to do with.
pub(crate) struct Outside<'a> {
    /// Where its reports go.
    pub reports: &'a Reports,
    origins: Option<&'a dyn Origins>,
}

impl Outside<'_> {
    /// Returns what is known of the last mapping that `device` had at `iova`.
    pub fn last_mapping(&self, device: &str, iova: u64) -> LastMapping {
        self.origins
            .map(|origins| origins.last_mapping(device, iova))
            .unwrap_or_default()
    }
}

/// What is known of the last mapping that a device had at an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastMapping {
    /// Who mapped it, and who unmapped it.
    pub history: History,
    /// Whether it was unmapped, by a call that has returned, in a kernel that invalidates
    /// translations before such calls return.
    pub is_over: bool,
}

/// Who knows what a guest's kernel has mapped for its devices.
///
/// Called with the registers of an IOMMU locked: it must not call the machine.
pub trait Origins: Send + Sync {
    /// Returns what is known of the last mapping that `device`, by its name on the board, had at
    /// `iova`.
    fn last_mapping(&self, device: &str, iova: u64) -> LastMapping;
}

/// Looks for mistakes that the guest of one machine makes with DMA.
///
/// It is made before the machine, which gets its [`sink`](Self::sink).
pub struct Sanitizer {
    reports: Arc<Reports>,
    parts: Mutex<Vec<Box<dyn Part>>>,
    origins: OnceLock<Arc<dyn Origins>>,
}

impl Sanitizer {
    /// Creates the sanitizer of a machine that is yet to be made; `tell` is told of each report
    /// when it is made for the first time.
    pub fn new(options: Options, tell: Tell) -> Arc<Self> {
        Arc::new(Self {
            parts: Mutex::new(crate::iommu::parts(&options)),
            reports: Arc::new(Reports::new(options, tell)),
            origins: OnceLock::new(),
        })
    }

    /// Creates the sanitizer of a machine that goes on from a snapshot of this one's, as often as
    /// there are such machines. It knows of IOMMUs what this one knows, and has no report yet. What
    /// is known of the kernel's calls is taken over by [`DmaApi::go_on`](crate::DmaApi::go_on).
    pub fn fork(&self, tell: Tell) -> Arc<Self> {
        let options = self.reports.options().clone();
        let parts = self.parts().iter().filter_map(|part| part.fork()).collect();
        Arc::new(Self {
            parts: Mutex::new(parts),
            reports: Arc::new(Reports::new(options, tell)),
            origins: OnceLock::new(),
        })
    }

    /// Returns where reports are collected.
    pub const fn reports(&self) -> &Arc<Reports> {
        &self.reports
    }

    /// Has `origins` be asked who mapped and unmapped what is reported. To be called once, before
    /// the run.
    pub fn set_origins(&self, origins: Arc<dyn Origins>) {
        // There is one guest kernel, so the first stays.
        let _ = self.origins.set(origins);
    }

    /// Adds a part. To be called before the run.
    pub(crate) fn add(&self, part: Box<dyn Part>) {
        self.parts().push(part);
    }

    /// Returns the sink that the machine is to be given.
    pub fn sink(self: &Arc<Self>) -> Arc<dyn IommuSink> {
        Arc::new(Sink(Arc::clone(self)))
    }

    /// Returns what was found in a run that has ended at `at_ns` of the guest's clock.
    pub fn finish(&self, at_ns: u64) -> Findings {
        let outside = self.outside();
        self.parts()
            .iter_mut()
            .for_each(|part| part.end(at_ns, &outside));
        self.reports.findings()
    }

    fn parts(&self) -> MutexGuard<'_, Vec<Box<dyn Part>>> {
        // Poisoned only by a panic that its own thread has reported.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outside(&self) -> Outside<'_> {
        Outside {
            reports: &self.reports,
            origins: self.origins.get().map(|origins| &**origins),
        }
    }
}

/// The kinds for which single accesses of devices are looked at.
const OF_ACCESSES: [Kind; 5] = [
    Kind::StrayAddress,
    Kind::OutsideMapping,
    Kind::Direction,
    Kind::FreedPage,
    Kind::ActiveAfterRemove,
];

/// Listens to the machine.
struct Sink(Arc<Sanitizer>);

impl IommuSink for Sink {
    fn event(&self, iommu: &IommuInfo, at_ns: u64, event: &IommuEvent<'_>) {
        let Self(sanitizer) = self;
        let outside = sanitizer.outside();
        for part in &mut *sanitizer.parts() {
            part.event(iommu, at_ns, event, &outside);
        }
    }

    fn wants_dma(&self) -> bool {
        self.0.reports.options().wants_any(&OF_ACCESSES)
    }

    fn hit_check(&self) -> HitCheck {
        let options = self.0.reports.options();
        match options.wants(Kind::MissingInvalidation) {
            _ if options.stale => HitCheck::KeepAll,
            true => HitCheck::On,
            false => HitCheck::Off,
        }
    }

    fn direct(&self, device: &str, at_ns: u64, place: (u64, u64), access: Permissions) {
        for part in &mut *self.0.parts() {
            part.direct(device, at_ns, place, access);
        }
    }

    fn wants_direct(&self) -> bool {
        // The kernel's own view is the only one that says anything of such accesses.
        self.0.reports.options().wants_any(&crate::dma_api::KINDS)
    }
}
