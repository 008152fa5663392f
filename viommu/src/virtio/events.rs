//! Fault reports on their way to the driver.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::spec::fault;
use crate::fault::{Access, Fault, FaultReason};

/// Most reports that wait for buffers: as many as twice the buffers that drivers usually provide.
/// More are lost, and counted.
pub const MAX_WAITING_REPORTS: usize = 128;

/// A report: `struct virtio_iommu_fault`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultReport {
    /// Why: see [`spec::fault`](super::spec::fault).
    pub reason: u8,
    /// What is known of it: see [`spec::fault`](super::spec::fault).
    pub flags: u32,
    /// The endpoint, by the driver's number.
    pub endpoint: u32,
    /// The first IOVA that could not be accessed.
    pub address: u64,
}

impl FaultReport {
    /// Creates the report for the driver of `fault`, which was of `endpoint` by the driver's
    /// number.
    pub(super) fn new(fault: &Fault, endpoint: u32) -> Self {
        let reason = match fault.reason {
            FaultReason::Blocked => fault::REASON_DOMAIN,
            FaultReason::Translation | FaultReason::Permission => fault::REASON_MAPPING,
            // This model has no other reasons: only an injector gives them.
            _ => fault::REASON_UNKNOWN,
        };
        let access = match fault.access {
            Access::Read => fault::READ,
            Access::Write => fault::WRITE,
        };
        Self {
            reason,
            flags: access | fault::ADDRESS,
            endpoint,
            address: fault.iova,
        }
    }

    /// Returns the report as the driver sees it, little-endian.
    pub fn to_bytes(self) -> [u8; fault::SIZE] {
        // The reserved fields, at 1 and at 12, stay 0.
        let mut bytes = [0; fault::SIZE];
        bytes[0] = self.reason;
        bytes[4..8].copy_from_slice(&self.flags.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.endpoint.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.address.to_le_bytes());
        bytes
    }
}

/// What happened to fault reports since the device was made or restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportCounters {
    /// Written into the driver's buffers.
    pub delivered: u64,
    /// Lost because there were no buffers, and too many reports waiting already.
    pub lost: u64,
}

/// Reports that wait for buffers.
#[derive(Debug, Default)]
pub(super) struct Reports {
    pub waiting: VecDeque<FaultReport>,
    pub counters: ReportCounters,
}

impl Reports {
    /// Adds a report; returns false if it is lost.
    pub fn push(&mut self, report: FaultReport) -> bool {
        // Bounded: a driver may provoke faults and never provide a buffer.
        if self.waiting.len() >= MAX_WAITING_REPORTS {
            self.lose();
            return false;
        }
        self.waiting.push_back(report);
        true
    }

    /// Counts a report that is lost.
    pub fn lose(&mut self) {
        self.counters.lost = self.counters.lost.saturating_add(1);
    }

    /// Removes the oldest report, which was delivered, and counts it.
    pub fn delivered(&mut self) {
        self.waiting.pop_front();
        self.counters.delivered = self.counters.delivered.saturating_add(1);
    }
}
