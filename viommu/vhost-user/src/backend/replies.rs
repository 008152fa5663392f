//! Replies: in the order of their requests, each when what it stands for has come to be.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use viommu::{GracePeriod, MemoryChange};

use crate::sync::lock;
use crate::wire::{Message, WireError};

/// The most replies that may be due.
const MAX_DUE: usize = 1 << 17;

/// A reply that another thread gives.
#[derive(Clone, Debug, Default)]
pub(super) struct Promise(Arc<Mutex<Option<Message>>>);

impl Promise {
    /// Gives the reply.
    pub fn keep(&self, reply: Message) {
        *lock(&self.0) = Some(reply);
    }

    fn take(&self) -> Option<Message> {
        lock(&self.0).take()
    }
}

/// What has to be over before a reply is sent.
#[derive(Debug, Default)]
pub(super) enum Until {
    /// Nothing.
    #[default]
    Now,
    /// Accesses that were under way.
    Grace(GracePeriod),
    /// Accesses to memory that is removed.
    Memory(MemoryChange),
}

impl Until {
    fn is_over(&mut self) -> bool {
        match self {
            Self::Now => true,
            Self::Grace(grace) => grace.is_over(),
            Self::Memory(change) => change.is_over(),
        }
    }
}

/// The replies that are due, first the one that is sent next.
#[derive(Debug, Default)]
pub(super) struct Replies {
    due: VecDeque<(Until, Promise)>,
}

impl Replies {
    /// Adds the reply to a request, which is sent when it is given and `until` is over.
    pub fn push(&mut self, until: Until) -> Result<Promise, WireError> {
        if self.due.len() >= MAX_DUE {
            return Err(WireError::Congested);
        }
        let promise = Promise::default();
        self.due.push_back((until, promise.clone()));
        Ok(promise)
    }

    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// Returns the next reply, if it can be sent.
    pub fn next(&mut self) -> Option<Message> {
        let (until, promise) = self.due.front_mut()?;
        let reply = until.is_over().then(|| promise.take()).flatten();
        if reply.is_some() {
            self.due.pop_front();
        }
        reply
    }
}
