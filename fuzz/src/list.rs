//! The list of targets, `targets.toml`.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use serde::Deserialize;

/// The facts of a target.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Target {
    /// Longest input in bytes.
    pub max_len: usize,
    /// Further options of libFuzzer.
    #[serde(default)]
    pub options: Vec<String>,
    /// Directories and files of the workspace: the functions in them are what the target is about.
    pub subject: Vec<String>,
    /// Directories and files below those that the target is not about.
    #[serde(default)]
    pub without: Vec<String>,
    /// Percentage of the subject's functions that the seeds have to enter.
    pub floor: u32,
}

/// Returns all targets, by name.
///
/// # Errors
/// The file cannot be read, or is not well-formed.
pub fn all() -> Result<BTreeMap<String, Target>, Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("targets.toml");
    Ok(toml::from_str(&fs::read_to_string(path)?)?)
}
