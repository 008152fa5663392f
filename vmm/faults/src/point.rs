//! Which faults belong to which kind of point.

use std::fmt::Display;

use super::spec::{
    ChainFault, DescriptorFault, DiskFault, Fault, FaultPoint, FlushFault, FunctionFault,
    InterruptFault, QueueFault, ReadFault, RegisterFault, ReportFault, RequestFault,
    TranslationFault, WriteFault,
};

/// The faults of one kind of point.
pub trait PointFault: Clone + Display {
    /// The kind of point.
    const POINT: FaultPoint;

    /// Returns `fault` as one of this kind of point, if it is one.
    fn of(fault: &Fault) -> Option<&Self>;
}

macro_rules! points {
    ($($point:ident: $fault:ty,)*) => {
        $(
            impl PointFault for $fault {
                const POINT: FaultPoint = FaultPoint::$point;

                fn of(fault: &Fault) -> Option<&Self> {
                    match fault {
                        Fault::$point(fault) => Some(fault),
                        _ => None,
                    }
                }
            }
        )*
    };
}

points! {
    Translation: TranslationFault,
    PageTable: DescriptorFault,
    Flush: FlushFault,
    RegisterRead: RegisterFault<ReadFault>,
    RegisterWrite: RegisterFault<WriteFault>,
    Interrupt: InterruptFault,
    Queue: QueueFault,
    Chain: ChainFault,
    Disk: DiskFault,
    Request: RequestFault,
    Report: ReportFault,
    Function: FunctionFault,
}
