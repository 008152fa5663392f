//! Writes a [`Report`](super::Report) for people and for other tools.
//!
//! - [`text`]: columns for a terminal or a mail
//! - [`chrome`]: the trace event format of Chrome, which the Perfetto UI opens
//! - [`html`]: a page that needs no network
//! - [`files`]: all of these, and the report itself as JSON, in a directory

pub mod chrome;
mod describe;
pub mod files;
pub mod html;
pub mod text;

pub use files::{ExportError, Written, write_all};
