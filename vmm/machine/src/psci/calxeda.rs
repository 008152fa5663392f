//! The firmware of Calxeda's ECX-2000: PSCI 0.1 over SMC, with function identifiers of its own.
//!
//! The identifiers are those of the board's device tree in Linux (arch/arm/boot/dts,
//! ecx-common.dtsi, node `psci`), where they come from, as PSCI 0.1 fixes none. There are no
//! others.

use arm32::wires::{Conduit, FirmwareAction};

use super::spec::{NOT_SUPPORTED, SUCCESS};
use super::{Answer, Call, action, cpu_on, result};

/// CPU_SUSPEND.
pub const CPU_SUSPEND: u32 = 0x8400_0002;
/// CPU_OFF.
pub const CPU_OFF: u32 = 0x8400_0004;
/// CPU_ON.
pub const CPU_ON: u32 = 0x8400_0006;

/// Answers `call` of a core; `powered[i]` tells whether core `i` is on. A pure function.
pub fn answer(conduit: Conduit, call: Call, powered: &[bool]) -> Answer {
    if conduit != Conduit::Smc(0) {
        return action(FirmwareAction::Undefined);
    }
    let [function, arg1, arg2, arg3] = call;
    match function {
        // PSCI 0.1 has no context argument: what arrives in R3 is passed on all the same.
        CPU_ON => cpu_on(arg1, arg2, arg3, powered),
        CPU_OFF => action(FirmwareAction::CpuOff),
        // Also where power-down is asked for, as Linux does (drivers/cpuidle/cpuidle-calxeda.c): a
        // firmware may enter a shallower state, of which it returns (DEN 0022, CPU_SUSPEND).
        CPU_SUSPEND => Answer {
            result: Some(SUCCESS),
            action: FirmwareAction::Suspend,
        },
        _ => result(NOT_SUPPORTED),
    }
}

#[cfg(test)]
mod tests {
    use super::super::spec::{ALREADY_ON, INVALID_PARAMETERS};
    use super::*;

    fn ask(call: Call) -> Answer {
        answer(Conduit::Smc(0), call, &[true, false])
    }

    #[test]
    fn the_three_functions_of_the_device_tree_are_answered_and_no_others() {
        let on = FirmwareAction::CpuOn {
            cpu: 1,
            entry: 0x8000,
            context: 0,
        };
        assert_eq!(ask([CPU_ON, 1, 0x8000, 0]).action, on);
        assert_eq!(ask([CPU_ON, 0, 0x8000, 0]), result(ALREADY_ON));
        // Cores that the device tree names and the machine has not.
        assert_eq!(ask([CPU_ON, 2, 0x8000, 0]), result(INVALID_PARAMETERS));
        assert_eq!(ask([CPU_OFF, 0, 0, 0]), action(FirmwareAction::CpuOff));
        let suspended = ask([CPU_SUSPEND, 1 << 16, 0x8000, 0]);
        assert_eq!(suspended.action, FirmwareAction::Suspend);
        assert_eq!(suspended.result, Some(SUCCESS));
        for function in (0x8400_0000..0x8400_0020).chain([0, 0x8000_0000, u32::MAX]) {
            let known = [CPU_SUSPEND, CPU_OFF, CPU_ON].contains(&function);
            let answered = ask([function, 1, 0, 0]) != result(NOT_SUPPORTED);
            assert_eq!(answered, known, "{function:#x}");
        }
        for conduit in [Conduit::Hvc(0), Conduit::Smc(1)] {
            let answered = answer(conduit, [CPU_OFF, 0, 0, 0], &[true]);
            assert_eq!(answered.action, FirmwareAction::Undefined);
        }
    }
}
