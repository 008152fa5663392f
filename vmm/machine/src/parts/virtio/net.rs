//! Network interfaces: virtio-net.

use std::path::Path;
use std::sync::Arc;

use viommu::SourceId;
use vm_fdt::FdtWriter;
use vmm_devices::virtio::net::Net;
use vmm_net::user::{Forward, Listening};
use vmm_net::{Folder, Peer, Responder, User};

use super::Device;
use crate::config::{NetConfig, NetKind};
use crate::entry::Entry;
use crate::error::Error;
use crate::parts::Part;
use crate::seeds::{local_mac, net_mac_seed};
use crate::wiring::Wiring;

/// Returns network interface `index` of the configuration.
pub(super) fn device(index: usize) -> Device {
    Device {
        name: format!("net{index}"),
        role: None,
        part: Arc::new(Interface { index }),
    }
}

#[derive(Debug)]
struct Interface {
    index: usize,
}

impl Part for Interface {
    fn describe(&self, _entry: &Entry, node: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        super::describe(node, None)
    }

    fn make(&self, entry: &Entry, source: SourceId, wiring: &mut Wiring<'_>) -> Result<(), Error> {
        let config = wiring.config();
        // The board has them in the order of the configuration.
        let Some(net) = config.nets.get(self.index) else {
            return Ok(());
        };
        let own = || local_mac(net_mac_seed(config, self.index));
        let mac = net.mac.map_or_else(own, |mac| mac.octets());
        let peer: Box<dyn Peer> = match net.kind {
            NetKind::Peer => Box::new(Responder::new(Arc::new(served(net)?))),
            NetKind::User => Box::new(user(net)?),
        };
        let mut device = Net::new(mac, peer, wiring.clock());
        if let Some(faults) = wiring.faults(entry) {
            device.set_faults(faults);
        }
        wiring.transport(entry, source, Box::new(device)).map(drop)
    }
}

/// Returns the files that the peer of `net` serves.
fn served(net: &NetConfig) -> Result<Folder, Error> {
    let Some(path) = &net.folder else {
        return Ok(Folder::default());
    };
    let folder = read(path)?;
    match &net.folder_sha256 {
        Some(sha256) if folder.sha256() != *sha256 => Err(Error::FolderChanged(path.clone())),
        _ => Ok(folder),
    }
}

/// Returns the user-mode network of `net`.
fn user(net: &NetConfig) -> Result<User, Error> {
    User::start(listening(net)?).map_err(|source| Error::Host {
        what: "start the user-mode network",
        source: Box::new(source),
    })
}

/// Listens at the ports of the host that lead to the guest.
pub(crate) fn listening(net: &NetConfig) -> Result<Vec<Listening>, Error> {
    let listen = |forward: &Forward| {
        Listening::at(*forward).map_err(|source| Error::Listen {
            host: forward.host,
            source,
        })
    };
    net.hostfwd.iter().map(listen).collect()
}

/// Reads a folder that a peer serves.
pub(crate) fn read(path: &Path) -> Result<Folder, Error> {
    Folder::read(path).map_err(|source| Error::Folder {
        path: path.into(),
        source,
    })
}
