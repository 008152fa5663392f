//! How many handles there are on each endpoint: the place of one that was removed is given out
//! again only when nobody can take it for the old one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::fault::EndpointId;

/// The handles of a unit, by endpoint.
#[derive(Debug, Default)]
pub(crate) struct Users(Mutex<BTreeMap<u32, usize>>);

impl Users {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, usize>> {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a handle on `endpoint`, until the result is dropped.
    pub fn enter(self: &Arc<Self>, endpoint: EndpointId) -> User {
        *self.lock().entry(endpoint.0).or_default() += 1;
        User {
            users: Arc::clone(self),
            endpoint,
        }
    }

    /// Returns whether there is a handle on `endpoint`.
    #[cfg(feature = "virtio")]
    pub fn has(&self, endpoint: EndpointId) -> bool {
        self.lock().contains_key(&endpoint.0)
    }
}

/// A handle that is counted.
#[derive(Debug)]
pub(crate) struct User {
    users: Arc<Users>,
    endpoint: EndpointId,
}

impl Clone for User {
    fn clone(&self) -> Self {
        self.users.enter(self.endpoint)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let mut users = self.users.lock();
        if let Some(count) = users.get_mut(&self.endpoint.0) {
            *count -= 1;
            if *count == 0 {
                users.remove(&self.endpoint.0);
            }
        }
    }
}
