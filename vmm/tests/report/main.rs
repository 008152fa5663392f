//! The formats of a report, made from a fixed sample: the text, the trace, and the page in a real
//! browser.

mod browser;
mod page;
mod sample;
mod text;
mod trace;
