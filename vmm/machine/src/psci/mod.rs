//! Firmware: PSCI 1.0 over HVC, or what the firmware of Calxeda's ECX-2000 has.
//!
//! Cores come without firmware of their own; the machine answers in its place. Standby is the only
//! idle state (CPU_SUSPEND with a power-down state is refused, as PSCI_FEATURES and the device tree
//! say no such state exists).

pub mod calxeda;
pub mod spec;

use arm32::wires::{Conduit, FirmwareAction};

use spec::*;

/// A firmware call: function identifier and arguments, R0 to R3.
pub type Call = [u32; 4];

/// The outcome of a call: a result for R0, and an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Result for R0; calls that do not return leave R0 alone.
    pub result: Option<u32>,
    /// What happens.
    pub action: FirmwareAction,
}

const fn result(value: u32) -> Answer {
    Answer {
        result: Some(value),
        action: FirmwareAction::Return,
    }
}

const fn action(action: FirmwareAction) -> Answer {
    Answer {
        result: None,
        action,
    }
}

/// Which firmware a board has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Firmware {
    /// That of this project's own boards.
    #[default]
    Psci1,
    /// That of Calxeda's ECX-2000.
    Calxeda,
}

impl Firmware {
    /// Answers `call` of a core; `powered[i]` tells whether core `i` is on. A pure function.
    pub fn answer(self, conduit: Conduit, call: Call, powered: &[bool]) -> Answer {
        match self {
            Self::Psci1 => answer(conduit, call, powered),
            Self::Calxeda => calxeda::answer(conduit, call, powered),
        }
    }
}

/// Answers `call` of a core; `powered[i]` tells whether core `i` is on. A pure function.
pub fn answer(conduit: Conduit, call: Call, powered: &[bool]) -> Answer {
    // The device tree names HVC, and calls have the immediate 0 only (SMC Calling Convention, Arm
    // DEN 0028).
    if conduit != Conduit::Hvc(0) {
        return action(FirmwareAction::Undefined);
    }
    let [function, arg1, arg2, arg3] = call;
    match function {
        SMCCC_VERSION => result(SMCCC_1_1),
        SMCCC_ARCH_FEATURES => result(architecture_features(arg1)),
        PSCI_VERSION => result(PSCI_1_0),
        PSCI_FEATURES => result(features(arg1)),
        MIGRATE_INFO_TYPE => result(MIGRATION_NOT_REQUIRED),
        AFFINITY_INFO => result(affinity_info(arg1, arg2, powered)),
        CPU_ON => cpu_on(arg1, arg2, arg3, powered),
        // Never DENIED: there is no trusted OS that could need the core.
        CPU_OFF => action(FirmwareAction::CpuOff),
        // Standby is all there is: a core that was powered down would have to start anew at the
        // given address.
        CPU_SUSPEND if arg1 & POWER_STATE_POWERDOWN != 0 => result(INVALID_PARAMETERS),
        CPU_SUSPEND => Answer {
            result: Some(SUCCESS),
            action: FirmwareAction::Suspend,
        },
        SYSTEM_OFF => action(FirmwareAction::SystemOff),
        SYSTEM_RESET => action(FirmwareAction::SystemReset),
        // Functions for 64-bit callers (from 0xc400_0000 on) among them: cores have 32 bits.
        _ => result(NOT_SUPPORTED),
    }
}

fn features(function: u32) -> u32 {
    match function {
        // Linux asks here whether there is SMCCC_VERSION (drivers/firmware/psci/psci.c,
        // `psci_init_smccc`). Of CPU_SUSPEND, 0 also says that power_state has the original format
        // and that there is no OS-initiated mode.
        SMCCC_VERSION | PSCI_VERSION | PSCI_FEATURES | MIGRATE_INFO_TYPE | AFFINITY_INFO
        | CPU_ON | CPU_OFF | CPU_SUSPEND | SYSTEM_OFF | SYSTEM_RESET => SUCCESS,
        _ => NOT_SUPPORTED,
    }
}

/// Answers which of the architecture's own calls there are: those that SMCCC 1.1 requires; a core
/// without speculation needs no workarounds.
fn architecture_features(function: u32) -> u32 {
    match function {
        SMCCC_VERSION | SMCCC_ARCH_FEATURES => SUCCESS,
        _ => NOT_SUPPORTED,
    }
}

/// Returns the core that an affinity value names: cores are numbered in Aff0 of one cluster (MPIDR,
/// ARM ARM B4.1.106).
fn core_index(affinity: u32, powered: &[bool]) -> Option<usize> {
    // Compared as a whole: a value with another bit set, such as one of Aff1, names no core.
    let index = affinity as usize;
    (index < powered.len()).then_some(index)
}

fn affinity_info(affinity: u32, lowest_level: u32, powered: &[bool]) -> u32 {
    match core_index(affinity, powered) {
        // Higher levels need not be supported from PSCI 1.0 on.
        Some(cpu) if lowest_level == 0 => {
            if powered[cpu] {
                AFFINITY_ON
            } else {
                AFFINITY_OFF
            }
        }
        _ => INVALID_PARAMETERS,
    }
}

fn cpu_on(affinity: u32, entry: u32, context: u32, powered: &[bool]) -> Answer {
    match core_index(affinity, powered) {
        None => result(INVALID_PARAMETERS),
        // ON_PENDING is never the answer: a core is on when the call returns.
        Some(cpu) if powered[cpu] => result(ALREADY_ON),
        // A32 code, as bit 0 says, is made of words.
        Some(_) if entry & 3 == 2 => result(INVALID_ADDRESS),
        Some(cpu) => Answer {
            result: Some(SUCCESS),
            action: FirmwareAction::CpuOn {
                cpu,
                entry,
                context,
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HVC: Conduit = Conduit::Hvc(0);

    fn ask(call: Call) -> Answer {
        answer(HVC, call, &[true, false])
    }

    #[test]
    fn versions_and_features() {
        assert_eq!(ask([PSCI_VERSION, 0, 0, 0]), result(0x10000));
        assert_eq!(ask([SMCCC_VERSION, 0, 0, 0]), result(0x10001));
        assert_eq!(ask([PSCI_FEATURES, CPU_ON, 0, 0]), result(SUCCESS));
        assert_eq!(
            ask([PSCI_FEATURES, 0x8400_000e, 0, 0]),
            result(NOT_SUPPORTED)
        );
        assert_eq!(ask([MIGRATE_INFO_TYPE, 0, 0, 0]), result(2));
        assert_eq!(ask([0x1234, 0, 0, 0]), result(NOT_SUPPORTED));
    }

    #[test]
    fn what_is_announced_is_answered_and_nothing_else() {
        let every = |base: u32| base..base + 0x20;
        let others = [SMCCC_VERSION, 0xc600_ff01, u32::MAX];
        for function in every(0x8400_0000).chain(every(0xc400_0000)).chain(others) {
            let announced = ask([PSCI_FEATURES, function, 0, 0]) == result(SUCCESS);
            let answered = ask([function, PSCI_VERSION, 0, 0]) != result(NOT_SUPPORTED);
            assert_eq!(announced, answered, "{function:#x}");
        }
        // What PSCI 1.0 makes mandatory (DEN 0022 5.2).
        for function in [
            PSCI_VERSION,
            PSCI_FEATURES,
            CPU_SUSPEND,
            CPU_OFF,
            CPU_ON,
            AFFINITY_INFO,
            SYSTEM_OFF,
            SYSTEM_RESET,
        ] {
            assert_eq!(ask([PSCI_FEATURES, function, 0, 0]), result(SUCCESS));
        }
    }

    /// DEN 0028 7.3: version 1.1 of the calling convention comes with SMCCC_ARCH_FEATURES.
    #[test]
    fn calls_of_the_architecture_are_announced_by_their_own_call() {
        for (function, want) in [
            (SMCCC_VERSION, SUCCESS),
            (SMCCC_ARCH_FEATURES, SUCCESS),
            (0x8000_8000, NOT_SUPPORTED), // SMCCC_ARCH_WORKAROUND_1
            (PSCI_VERSION, NOT_SUPPORTED),
        ] {
            assert_eq!(ask([SMCCC_ARCH_FEATURES, function, 0, 0]), result(want));
        }
    }

    #[test]
    fn cores_are_switched_on_once() {
        let on = FirmwareAction::CpuOn {
            cpu: 1,
            entry: 0x4000_0001,
            context: 7,
        };
        assert_eq!(
            ask([CPU_ON, 1, 0x4000_0001, 7]),
            Answer {
                result: Some(SUCCESS),
                action: on
            }
        );
        assert_eq!(ask([CPU_ON, 0, 0, 0]), result(ALREADY_ON));
        for (entry, want) in [
            (0, SUCCESS),
            (1, SUCCESS),
            (2, INVALID_ADDRESS),
            (3, SUCCESS),
        ] {
            let answer = ask([CPU_ON, 1, 0x4000_0000 + entry, 0]);
            assert_eq!(answer.result, Some(want), "{entry}");
        }
        for affinity in [2, 0x100, u32::MAX] {
            assert_eq!(ask([CPU_ON, affinity, 0, 0]), result(INVALID_PARAMETERS));
        }
        assert_eq!(ask([AFFINITY_INFO, 0, 0, 0]), result(AFFINITY_ON));
        assert_eq!(ask([AFFINITY_INFO, 1, 0, 0]), result(AFFINITY_OFF));
        assert_eq!(ask([AFFINITY_INFO, 1, 1, 0]), result(INVALID_PARAMETERS));
        assert_eq!(ask([CPU_OFF, 0, 0, 0]), action(FirmwareAction::CpuOff));
    }

    #[test]
    fn suspend_is_standby_only() {
        assert_eq!(ask([CPU_SUSPEND, 0, 0, 0]).action, FirmwareAction::Suspend);
        assert_eq!(
            ask([CPU_SUSPEND, POWER_STATE_POWERDOWN, 0, 0]),
            result(INVALID_PARAMETERS)
        );
    }

    #[test]
    fn other_conduits_are_undefined() {
        for conduit in [Conduit::Smc(0), Conduit::Hvc(1)] {
            assert_eq!(
                answer(conduit, [PSCI_VERSION, 0, 0, 0], &[true]),
                action(FirmwareAction::Undefined)
            );
        }
    }
}
