//! The interrupt output of models that have a line.

/// The interrupt output of an IOMMU.
///
/// Called with the registers locked, on the thread of a vCPU or of a device, which may be pinned:
/// it must not access the IOMMU, nor wait for anybody who does.
pub trait InterruptLine: Send + Sync {
    /// Sets the line high (true) or low. Called only when that changes; the line is low at first.
    fn set_level(&self, level: bool);
}

impl<F: Fn(bool) + Send + Sync> InterruptLine for F {
    fn set_level(&self, level: bool) {
        self(level);
    }
}

/// An interrupt output that is connected to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoInterrupt;

impl InterruptLine for NoInterrupt {
    fn set_level(&self, _level: bool) {}
}
