//! Starts threads, with an error that tells the user what to do when the host allows no more.

use std::fmt;
use std::io;
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

/// A thread could not be started.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot start a thread ({name}): {source}; raise the limit of processes (ulimit -u, or pids.max of the control \
     group) or end other programs"
)]
pub struct ThreadError {
    name: &'static str,
    source: io::Error,
}

impl From<ThreadError> for io::Error {
    fn from(error: ThreadError) -> Self {
        // The kind stays the host's, and the sentence also says which thread it was and what to do.
        Self::new(error.source.kind(), Sentence(error))
    }
}

/// The error as the whole of an [`io::Error`], which shows its sentence and nothing else.
#[derive(Debug)]
struct Sentence(ThreadError);

impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Sentence {}

/// Starts a thread called `name`, of which hosts show at most 15 bytes.
///
/// # Errors
/// The host does not allow it.
pub fn spawn<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, ThreadError> {
    let thread = Builder::new().name(name.into()).spawn(work);
    thread.map_err(|source| ThreadError { name, source })
}

/// Starts a thread as [`spawn`] does, which ends before `scope` does.
///
/// # Errors
/// The host does not allow it.
pub fn spawn_scoped<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, ThreadError> {
    let thread = Builder::new().name(name.into()).spawn_scoped(scope, work);
    thread.map_err(|source| ThreadError { name, source })
}

/// Starts `count` threads that end before `scope` does and share one piece of work. Threads that
/// the host does not allow leave their part to the others, which is logged.
///
/// # Errors
/// The host does not even allow one.
pub fn spawn_several<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &'static str,
    count: usize,
    work: impl Fn() + Copy + Send + 'scope,
) -> Result<(), ThreadError> {
    for started in 0..count {
        match spawn_scoped(scope, name, work) {
            // Nobody joins it: the scope does.
            Ok(_) => {}
            Err(error) if started == 0 => return Err(error),
            Err(error) => {
                tracing::error!("going on with {started} of {count} threads: {error}");
                break;
            }
        }
    }
    Ok(())
}
