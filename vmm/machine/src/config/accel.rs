//! Who executes the guest.

use serde::{Deserialize, Serialize};

use super::{Config, ConfigError, TimeMode};

/// Who executes the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accel {
    /// The host's processor where that can be, else the emulated one.
    Auto,
    /// The emulated processor.
    #[default]
    Emulated,
    /// The host's processor, through KVM of a 64-bit ARM host.
    Kvm,
}

impl Config {
    pub(crate) fn validate_accel(&self) -> Result<(), ConfigError> {
        match (self.accel, self.time) {
            (Accel::Kvm, TimeMode::Virtual) => Err(ConfigError::KvmVirtualTime),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_time_is_not_for_kvm() {
        let mut config: Config = toml::from_str("kernel = 'k'\naccel = 'kvm'").unwrap();
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains("--time host"), "{error}");
        config.time = TimeMode::Host;
        config.validate().unwrap();
        config.accel = Accel::Auto;
        config.time = TimeMode::Virtual;
        config.validate().unwrap();
    }
}
