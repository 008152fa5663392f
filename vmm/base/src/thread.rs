//! Threads, of which a host may have no more to give.

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
        Self::new(error.source.kind(), Sentence(error))
    }
}

/// The error as the whole of another.
#[derive(Debug)]
struct Sentence(ThreadError);

impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Sentence {}

/// Starts a thread that is called `name`, at most 15 bytes of which hosts show.
///
/// # Errors
/// When the host does not allow it.
pub fn spawn<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, ThreadError> {
    let thread = Builder::new().name(name.into()).spawn(work);
    thread.map_err(|source| ThreadError { name, source })
}

/// The same with one that ends before `scope` does.
///
/// # Errors
/// When the host does not allow it.
pub fn spawn_scoped<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, ThreadError> {
    let thread = Builder::new().name(name.into()).spawn_scoped(scope, work);
    thread.map_err(|source| ThreadError { name, source })
}

/// Starts `count` threads that end before `scope` does and share one piece of work. Those that
/// cannot be had leave their part to the others, which is logged.
///
/// # Errors
/// When there is not even one.
pub fn spawn_several<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &'static str,
    count: usize,
    work: impl Fn() + Copy + Send + 'scope,
) -> Result<(), ThreadError> {
    for started in 0..count {
        match spawn_scoped(scope, name, work) {
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
