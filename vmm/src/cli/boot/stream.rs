//! Where the guest's console goes.

use std::io::Write;

use crate::cli::deferred::Deferred;
use crate::cli::output::Output;
use crate::cli::{UserError, patience};

/// The place where the console goes, found writable.
pub enum Console {
    Stdio,
    None,
    File(Output),
}

/// Where the guest's console is written to.
pub type Stream = Option<Box<dyn Write + Send>>;

/// Returns where the console is written to. A file appears once the machine is made, so that a
/// machine that cannot be made leaves none.
pub fn stream(console: Console) -> (Option<Deferred>, Stream) {
    match console {
        Console::Stdio => (None, Some(Box::new(patience::Console::new()))),
        Console::None => (None, None),
        Console::File(output) => {
            let shared = Deferred::new(output);
            (Some(shared.clone()), Some(Box::new(shared)))
        }
    }
}

/// Has the console's file appear.
pub fn publish(file: Option<&Deferred>) -> Result<(), UserError> {
    let Some(file) = file else { return Ok(()) };
    file.publish();
    file.failure()
        .map_or(Ok(()), |why| Err(UserError::new(why)))
}
