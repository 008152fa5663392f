//! A machine in its own history, asked about its guest: places in a run, questions, and answers.
//!
//! An [`Inspector`] answers a [`Question`] about a machine that stands still between two runs. It
//! goes back and on in the machine's history where a question needs that. What the guest shows on
//! the way is noted by a [`Seen`], which is connected when the machine is made.

#![deny(missing_docs)]

mod expect;
mod inspector;
mod place;
mod question;
mod seen;

pub use expect::Expect;
pub use inspector::{Inspector, NoAnswer};
pub use place::Place;
pub use question::{MAX_LINE, Question, QuestionError};
pub use seen::{Line, Seen};
