//! What a TCP connection leads to.

use serde::{Deserialize, Serialize};

use super::http::{self, Answer};
use crate::folder::Folder;
use crate::spec::{ECHO_PORT, HTTP_PORT};

/// The most octets that the echo service keeps for a guest that does not take them.
const MAX_ECHO: usize = 16 << 10;
/// The most octets of an HTTP request.
pub(super) const MAX_REQUEST: usize = 4096;

/// A service, and how far it is with one connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Service {
    /// Sends back what comes.
    Echo {
        /// Octets that were sent and acknowledged.
        done: u64,
        /// Those behind them.
        kept: Vec<u8>,
        /// Whether no more will come.
        closed: bool,
    },
    /// Answers one HTTP request.
    Http {
        /// What has come of it.
        request: Vec<u8>,
        /// The answer, once the request was complete.
        answer: Option<Answer>,
    },
}

impl Service {
    /// Returns the service at `port`.
    pub(super) fn at(port: u16) -> Option<Self> {
        match port {
            ECHO_PORT => Some(Self::Echo {
                done: 0,
                kept: Vec::new(),
                closed: false,
            }),
            HTTP_PORT => Some(Self::Http {
                request: Vec::new(),
                answer: None,
            }),
            _ => None,
        }
    }

    /// Returns how many octets it takes now.
    pub(super) fn room(&self) -> usize {
        match self {
            // Saved ones are checked to have no more.
            Self::Echo { kept, .. } => MAX_ECHO.saturating_sub(kept.len()),
            Self::Http { answer: None, .. } => MAX_REQUEST,
            Self::Http { .. } => MAX_ECHO,
        }
    }

    /// Takes what the guest sent, as far as there is room; how much it took.
    pub(super) fn take(&mut self, data: &[u8], folder: &Folder) -> usize {
        let room = self.room();
        let data = &data[..data.len().min(room)];
        match self {
            Self::Echo { kept, .. } => kept.extend(data),
            // What follows a request is of no interest: there is one on each connection.
            Self::Http {
                answer: Some(_), ..
            } => {}
            Self::Http { request, answer } => {
                request.extend(data);
                *answer = http::answer(request, folder);
                if answer.is_some() {
                    *request = Vec::new();
                }
            }
        }
        data.len()
    }

    /// Is told that the guest will send no more.
    pub(super) fn close(&mut self) {
        match self {
            Self::Echo { closed, .. } => *closed = true,
            Self::Http { request, answer } => {
                if answer.is_none() {
                    *answer = Some(http::bad_request());
                    *request = Vec::new();
                }
            }
        }
    }

    /// Returns how many octets it has to send in all, as far as it knows.
    pub(super) fn total(&self) -> u64 {
        match self {
            Self::Echo { done, kept, .. } => done.saturating_add(kept.len() as u64),
            Self::Http { answer, .. } => answer.as_ref().map_or(0, Answer::total),
        }
    }

    /// Returns whether that is all.
    pub(super) fn is_complete(&self) -> bool {
        match self {
            Self::Echo { closed, .. } => *closed,
            Self::Http { answer, .. } => answer.is_some(),
        }
    }

    /// Returns what it sends from octet `at` on, `len` octets at most.
    pub(super) fn data<'a>(&'a self, at: u64, len: usize, folder: &'a Folder) -> &'a [u8] {
        let rest = match self {
            Self::Echo { done, kept, .. } => {
                let skip = at.checked_sub(*done).map(usize::try_from);
                skip.and_then(Result::ok).and_then(|skip| kept.get(skip..))
            }
            Self::Http { answer, .. } => answer.as_ref().and_then(|a| a.data(at, folder)),
        };
        let rest = rest.unwrap_or_default();
        &rest[..rest.len().min(len)]
    }

    /// Is told that the guest has all before octet `at`.
    pub(super) fn acknowledged(&mut self, at: u64) {
        if let Self::Echo { done, kept, .. } = self {
            let more = at.saturating_sub(*done).min(kept.len() as u64);
            #[expect(
                clippy::cast_possible_truncation,
                reason = "it is at most the length of a vector"
            )]
            kept.drain(..more as usize);
            *done += more;
        }
    }

    /// Returns whether a connection to `port` can have come to this, with `acknowledged` octets.
    pub(super) fn is_possible(&self, port: u16, acknowledged: u64, folder: &Folder) -> bool {
        match self {
            Self::Echo { done, kept, .. } => {
                port == ECHO_PORT && kept.len() <= MAX_ECHO && *done == acknowledged
            }
            Self::Http { request, answer } => {
                let answer = answer.as_ref().is_none_or(|a| a.is_possible(folder));
                port == HTTP_PORT && request.len() <= MAX_REQUEST && answer
            }
        }
    }
}
