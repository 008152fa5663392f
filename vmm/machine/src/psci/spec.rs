//! Function identifiers and results of PSCI 1.0 (Arm DEN 0022) and the SMC Calling Convention 1.1
//! (Arm DEN 0028).

/// SMCCC_VERSION.
pub const SMCCC_VERSION: u32 = 0x8000_0000;
/// SMCCC_ARCH_FEATURES.
pub const SMCCC_ARCH_FEATURES: u32 = 0x8000_0001;
/// PSCI_VERSION.
pub const PSCI_VERSION: u32 = 0x8400_0000;
/// CPU_SUSPEND.
pub const CPU_SUSPEND: u32 = 0x8400_0001;
/// CPU_OFF.
pub const CPU_OFF: u32 = 0x8400_0002;
/// CPU_ON.
pub const CPU_ON: u32 = 0x8400_0003;
/// AFFINITY_INFO.
pub const AFFINITY_INFO: u32 = 0x8400_0004;
/// MIGRATE_INFO_TYPE.
pub const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
/// SYSTEM_OFF.
pub const SYSTEM_OFF: u32 = 0x8400_0008;
/// SYSTEM_RESET.
pub const SYSTEM_RESET: u32 = 0x8400_0009;
/// PSCI_FEATURES.
pub const PSCI_FEATURES: u32 = 0x8400_000a;

/// Version 1.0 of PSCI.
pub const PSCI_1_0: u32 = 0x1_0000;
/// Version 1.1 of the calling convention.
pub const SMCCC_1_1: u32 = 0x1_0001;

/// SUCCESS.
pub const SUCCESS: u32 = 0;
/// NOT_SUPPORTED.
pub const NOT_SUPPORTED: u32 = (-1_i32).cast_unsigned();
/// INVALID_PARAMETERS.
pub const INVALID_PARAMETERS: u32 = (-2_i32).cast_unsigned();
/// ALREADY_ON.
pub const ALREADY_ON: u32 = (-4_i32).cast_unsigned();
/// INVALID_ADDRESS (since PSCI 1.0).
pub const INVALID_ADDRESS: u32 = (-9_i32).cast_unsigned();

/// AFFINITY_INFO: the core is on.
pub const AFFINITY_ON: u32 = 0;
/// AFFINITY_INFO: the core is off.
pub const AFFINITY_OFF: u32 = 1;
/// MIGRATE_INFO_TYPE: there is no trusted OS that would need to migrate.
pub const MIGRATION_NOT_REQUIRED: u32 = 2;
/// CPU_SUSPEND: the state asks for power-down rather than standby (original format of power_state).
pub const POWER_STATE_POWERDOWN: u32 = 1 << 16;
