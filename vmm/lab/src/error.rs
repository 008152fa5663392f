//! What can be wrong with the lab's files.

use vmm_base::TextError;
use vmm_files::toml_file::FileError;

/// The reason for which scenarios cannot be used, or not for what is asked of them.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A file cannot be read, or is not well-formed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file contradicts itself.
    #[error("cannot use {file}: {what}")]
    Meaning {
        /// The file.
        file: String,
        /// How.
        what: TextError,
    },
    /// There is no such scenario.
    #[error(
        "there is no scenario {0:?}: `vmm lab list` shows them, and a file is named with its path"
    )]
    Unknown(String),
}
