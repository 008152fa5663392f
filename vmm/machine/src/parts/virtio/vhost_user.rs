//! Devices in other processes: vhost-user.

use std::sync::Arc;

use viommu::SourceId;
use virtio_bindings::{virtio_blk, virtio_net};
use vm_fdt::FdtWriter;
use vmm_devices::virtio::vhost_user::{Description, Needs, Stop, VhostUser, Writes};

use super::Device;
use crate::config::{VhostUserConfig, VhostUserKind};
use crate::entry::Entry;
use crate::error::Error;
use crate::parts::Part;
use crate::seeds::{local_mac, mac_seed};
use crate::wiring::Wiring;

/// Returns vhost-user device `index` of the configuration.
pub(super) fn device(index: usize) -> Device {
    Device {
        name: format!("vhost{index}"),
        role: None,
        part: Arc::new(Other { index }),
    }
}

#[derive(Debug)]
struct Other {
    index: usize,
}

impl Part for Other {
    fn describe(&self, _entry: &Entry, node: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        super::describe(node, None)
    }

    fn make(&self, entry: &Entry, source: SourceId, wiring: &mut Wiring<'_>) -> Result<(), Error> {
        let config = wiring.config();
        // The board has them in the order of the configuration.
        let Some(device) = config.vhost_user.get(self.index) else {
            return Ok(());
        };
        let description = describe(device, mac_seed(config, self.index));
        let (space, translated) = wiring.space(entry, source);
        let memory = wiring.memory();
        let stop = Stop::new(wiring.control());
        let made = VhostUser::connect(description, memory, space, translated, stop);
        let made = made.map_err(|why| Error::VhostUser {
            path: device.socket.clone(),
            why: why.to_string(),
        })?;
        let listener = made.listener();
        wiring.watch_writes(Writes::new(&made.shared()));
        wiring.transport(entry, source, Box::new(made))?;
        if translated {
            wiring.listen(entry, Box::new(listener))?;
        }
        Ok(())
    }
}

/// Features of a disk up to VIRTIO_BLK_F_WRITE_ZEROES (5.2.3): those of later fields of its
/// configuration space are not passed on.
const BLK_FEATURES: u64 = (1 << 15) - 1;
/// Features of a network interface that need nobody but its queues for data (5.1.3): not those of
/// its configuration space, and not those that a control queue is for.
const NET_FEATURES: u64 = 1 << virtio_net::VIRTIO_NET_F_CSUM
    | 1 << virtio_net::VIRTIO_NET_F_GUEST_CSUM
    | 1 << virtio_net::VIRTIO_NET_F_GUEST_TSO4
    | 1 << virtio_net::VIRTIO_NET_F_GUEST_TSO6
    | 1 << virtio_net::VIRTIO_NET_F_GUEST_ECN
    | 1 << virtio_net::VIRTIO_NET_F_GUEST_UFO
    | 1 << virtio_net::VIRTIO_NET_F_HOST_TSO4
    | 1 << virtio_net::VIRTIO_NET_F_HOST_TSO6
    | 1 << virtio_net::VIRTIO_NET_F_HOST_ECN
    | 1 << virtio_net::VIRTIO_NET_F_HOST_UFO
    | 1 << virtio_net::VIRTIO_NET_F_MRG_RXBUF;
/// VIRTIO_CONSOLE_F_SIZE (5.3.3): not several ports.
const CONSOLE_FEATURES: u64 = 1;

/// Returns what is expected of the process of `device`. A network interface has an address that
/// follows from `mac`.
fn describe(device: &VhostUserConfig, mac: u64) -> Description {
    let (facts, queues) = (device.kind.facts(), device.queue_count());
    let mut expected = Description {
        socket: device.socket.clone(),
        id: facts.id,
        queues,
        queue_size: device.queue_size,
        features: (1 << 24) - 1,
        own_features: 0,
        config: vec![0; facts.config_bytes],
        asks: (facts.config_bytes > 0).then_some(Needs::Config),
        patch: None,
        in_order: false,
    };
    match device.kind {
        VhostUserKind::Blk => {
            expected.features = BLK_FEATURES;
            if queues == 1 {
                expected.features &= !(1 << virtio_blk::VIRTIO_BLK_F_MQ);
            }
            // `num_queues`, which is the front end's to decide.
            expected.patch = Some((34, queues.to_le_bytes()));
        }
        VhostUserKind::Net => {
            expected.features = NET_FEATURES;
            expected.own_features = 1 << virtio_net::VIRTIO_NET_F_MAC;
            expected.config = local_mac(mac).to_vec();
            expected.in_order = true;
        }
        VhostUserKind::Console => {
            expected.features = CONSOLE_FEATURES;
            expected.asks = Some(Needs::Nothing);
            expected.in_order = true;
        }
        VhostUserKind::Rng | VhostUserKind::Vsock => expected.in_order = true,
        // `num_queues` counts request queues, of which there are two fewer than queues.
        VhostUserKind::Scsi => {
            expected.patch = Some((0, queues.saturating_sub(2).to_le_bytes()));
        }
        VhostUserKind::I2c | VhostUserKind::Gpio => {}
    }
    expected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_offers_several_queues_if_it_has_them() {
        let multi = 1 << virtio_blk::VIRTIO_BLK_F_MQ;
        for (text, offered) in [("a,type=blk", 0), ("a,type=blk,queues=2", multi)] {
            let expected = describe(&text.parse().unwrap(), 0);
            assert_eq!(expected.features & multi, offered, "{text}");
            assert_eq!(expected.config.len(), 60);
        }
    }

    #[test]
    fn addresses_are_local_and_of_one_interface() {
        for seed in [0, u64::MAX, 0x0123_4567_89ab_cdef] {
            assert_eq!(local_mac(seed)[0] & 3, 2);
        }
        let device = "a,type=net".parse().unwrap();
        let [one, other] = [1, 2].map(|mac| describe(&device, mac));
        assert_ne!(one.config, other.config);
        assert_eq!(one.own_features, 1 << 5);
    }
}
