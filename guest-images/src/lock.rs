//! Locks between processes (and threads): whoever makes something holds its lock file.

use crate::error::{Error, IoContext};
use crate::progress::Progress;
use fs4::TryLockError;
use std::fs::{self, File};
use std::path::Path;

/// A held lock. It ends with the value, or with the process however that ends, so a killed run never blocks the next.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock; says so on `progress` when another run holds it. `what` is what that run is busy with.
    pub fn acquire(path: &Path, what: &str, progress: &mut dyn Progress) -> Result<Self, Error> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).at("created", parent)?;
        }
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .at("opened", path)?;
        match fs4::FileExt::try_lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                progress.note(&format!(
                    "Waiting for another run that is busy with {what}."
                ));
                fs4::FileExt::lock(&file).at("locked", path)?;
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("locked", path, error)),
        }
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn only_one_holds_it_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("locks/x.lock");
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _lock = Lock::acquire(&path, "x", &mut Silent).unwrap();
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), 1);
    }
}
