//! A console's file, which appears once the machine is made.

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard};

use super::output::{self, Output};
use super::patience::Patient;

/// A file that its writer has before it appears.
#[derive(Clone)]
pub struct Deferred(Arc<Mutex<Stage>>);

enum Stage {
    Hidden(Output),
    Shown(Patient<File>),
    /// Given up, and why; a reader who left is no reason.
    Lost(Option<String>),
}

impl Stage {
    fn lost(error: &std::io::Error) -> Self {
        let gone = error.kind() == std::io::ErrorKind::BrokenPipe;
        Self::Lost((!gone).then(|| output::reason(error)))
    }
}

impl Deferred {
    /// Creates a file that is to appear as `output`.
    pub fn new(output: Output) -> Self {
        Self(Arc::new(Mutex::new(Stage::Hidden(output))))
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Makes the file appear.
    pub fn publish(&self) {
        let mut stage = self.stage();
        // `publish` takes the output, so that another stage stands in while it runs.
        if let Stage::Hidden(output) = std::mem::replace(&mut *stage, Stage::Lost(None)) {
            *stage = match output.publish() {
                Ok(file) => Stage::Shown(file),
                Err(error) => Stage::lost(&error),
            };
        }
    }

    /// Returns why not all of the console is in the file, as a sentence.
    pub fn failure(&self) -> Option<String> {
        match &*self.stage() {
            Stage::Lost(Some(why)) => {
                Some(format!("cannot write all of the console's file: {why}"))
            }
            _ => None,
        }
    }
}

impl Write for Deferred {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut stage = self.stage();
        let written = match &mut *stage {
            Stage::Hidden(output) => output.write(bytes),
            Stage::Shown(file) => file.write(bytes),
            // Makes the writer give up; `failure` has the reason.
            Stage::Lost(_) => return Err(std::io::ErrorKind::BrokenPipe.into()),
        };
        // An interrupted write is tried again by its caller.
        if let Err(error) = &written
            && error.kind() != std::io::ErrorKind::Interrupted
        {
            *stage = Stage::lost(error);
        }
        written
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
