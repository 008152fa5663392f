//! Clock generators that devices wait for.

use super::{Config, ConfigError};

/// The most clock generators a machine may have; nothing needs more than two or three to come one
/// after the other.
pub const MAX_CLOCKS: usize = 8;
/// The longest name of a clock generator.
pub const MAX_CLOCK_NAME: usize = 16;

impl Config {
    /// Returns the clock generators that the machine has: the names that its disks use, in the
    /// order of first use.
    pub fn clock_list(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for name in self.disks.iter().flat_map(|disk| &disk.clocks) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    pub(crate) fn validate_clocks(&self) -> Result<(), ConfigError> {
        let names = self.clock_list();
        if names.len() > MAX_CLOCKS {
            return Err(ConfigError::TooManyClocks(names.len()));
        }
        let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        for name in names {
            if name.is_empty() || name.len() > MAX_CLOCK_NAME || !name.chars().all(fine) {
                return Err(ConfigError::ClockName(name.to_owned()));
            }
        }
        for disk in &self.disks {
            for (index, name) in disk.clocks.iter().enumerate() {
                if disk.clocks[..index].contains(name) {
                    return Err(ConfigError::ClockTwice(disk.path.clone(), name.clone()));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(disks: &[&str]) -> Config {
        Config {
            kernel: "k".into(),
            disks: disks.iter().map(|text| text.parse().unwrap()).collect(),
            ..Config::default()
        }
    }

    #[test]
    fn each_name_is_one_generator() {
        let config = config(&["a,clock=c1", "b,clock=c0,clock=c1", "c"]);
        config.validate().unwrap();
        assert_eq!(config.clock_list(), ["c1", "c0"]);
    }

    #[test]
    fn names_are_checked() {
        let refused = |disks: &[&str]| config(disks).validate().unwrap_err().to_string();
        assert!(refused(&["a,clock="]).contains("cannot be the name"));
        assert!(refused(&["a,clock=a.b"]).contains("cannot be the name"));
        assert!(refused(&["a,clock=c,clock=c"]).contains("twice"));
        let many: Vec<String> = (0..9).map(|n| format!("a,clock=c{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(refused(&many).contains("at most 8 clock generators, not 9"));
    }
}
