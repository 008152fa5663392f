//! Endpoints and memory that come and go while the machine runs.

use std::sync::Arc;

use super::config::{ConfigError, EndpointConfig};
use super::device::{VirtioIommu, check_reserved_against_ram};
use crate::fault::EndpointId;
use crate::grace::GracePeriod;
use crate::host::StableHostMemory;
use crate::unit::MemoryChange;

/// Why an endpoint is not added or removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The device cannot have it.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// All places are taken, some of them by what is left of endpoints that were removed.
    #[error(
        "there is no place for endpoint {id}: the virtio-iommu has `max_endpoints` {max_endpoints}, \
        and there are still handles on endpoints that were removed"
    )]
    Handles {
        /// The endpoint.
        id: u32,
        /// The limit of the configuration.
        max_endpoints: usize,
    },
    /// There is no such endpoint.
    #[error("there is no endpoint {0}")]
    Unknown(u32),
}

impl<M: StableHostMemory> VirtioIommu<M> {
    /// Adds an endpoint, attached to nothing, as one of a device that is plugged in.
    ///
    /// # Errors
    /// If there cannot be such an endpoint; then nothing changes.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "`check` bounds the number of endpoints"
    )]
    pub fn add_endpoint(&mut self, endpoint: EndpointConfig) -> Result<(), EndpointError> {
        self.config.check_reserved(&endpoint)?;
        let one = std::slice::from_ref(&endpoint);
        check_reserved_against_ram(&self.config, one, &*self.unit.memory())?;
        let max_endpoints = self.config.max_endpoints;
        let domains = self.shared.domains();
        if domains.endpoint(endpoint.id).is_some() {
            return Err(ConfigError::Twice(endpoint.id).into());
        }
        let count = domains.endpoints.len() + 1;
        if count > max_endpoints {
            return Err(ConfigError::Endpoints {
                count,
                max_endpoints,
            }
            .into());
        }
        // With a handle on the endpoint that was there before, a bus master would be the new one.
        let free = |position: &usize| {
            let users = &self.unit.users;
            domains.endpoints.get(*position).is_none() && !users.has(EndpointId(*position as u32))
        };
        let position = (0..max_endpoints).find(free);
        drop(domains);
        let position = position.ok_or(EndpointError::Handles {
            id: endpoint.id,
            max_endpoints,
        })?;
        self.shared.domains_mut().add_endpoint(position, &endpoint);
        self.config.endpoints.push(endpoint);
        self.attach_all();
        Ok(())
    }

    /// Removes an endpoint, as one of a device that is unplugged: it is detached, and whatever
    /// handles there are on it are blocked for ever.
    ///
    /// When the grace period is over, no access that it made is under way any more.
    ///
    /// # Errors
    /// If there is none of this number.
    pub fn remove_endpoint(&mut self, id: u32) -> Result<GracePeriod, EndpointError> {
        let position = self.shared.domains().endpoint(id);
        let position = position.ok_or(EndpointError::Unknown(id))?;
        self.drop_listeners(position);
        let effects = self.shared.domains_mut().remove_endpoint(position);
        self.note(effects);
        self.config.endpoints.retain(|endpoint| endpoint.id != id);
        // The domain's slot is free when the next batch of requests has waited for this too.
        self.batch.changed = true;
        self.batch.seal(&self.unit, self.shared.injected.as_ref());
        Ok(self.unit.begin_grace_period())
    }

    /// Has the guest's memory be `memory` from now on: see
    /// [`TranslationUnit::set_memory`](crate::TranslationUnit::set_memory).
    ///
    /// # Errors
    /// If a reserved region would be RAM for an endpoint that is not translated; then nothing
    /// changes.
    pub fn set_memory(&mut self, memory: Arc<M>) -> Result<MemoryChange<M>, ConfigError> {
        check_reserved_against_ram(&self.config, &self.config.endpoints, &*memory)?;
        Ok(self.unit.set_memory(memory))
    }
}
