//! Tests of the walk: one for every fault at every level, what leaves and regimes say, a model of
//! random mappings, and a slow reference over garbage.

mod builder;
mod faults;
mod garbage;
mod leaves;
mod mappings;
mod reference;
mod regimes;
mod subject;

use crate::walk::vmsa64::{AddressSize, RegimeError, TcrEl1, Vmsa64Regime, Vmsa64Walked};
