//! A disk as a process of its own, for machines with `--vhost-user`: on this project's daemon, so
//! that it may stand behind an IOMMU.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use vhost::vhost_user::VhostUserProtocolFeatures;
use vhost_user_backend::{VringRwLock, VringT};
use viommu::DmaSpace;
use viommu_vhost_user::backend::{DaemonConfig, VhostUserBackend, VhostUserDaemon};
use virtio_queue::QueueT;
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace};
use vmm_sys_util::epoll::EventSet;

/// Bytes of a sector (virtio 1.2, 5.2.4).
const SECTOR: u64 = 512;
/// Request types (5.2.6): reads, writes, and those that are to be on the medium.
const T_IN: u32 = 0;
const T_OUT: u32 = 1;
const T_FLUSH: u32 = 4;
/// Statuses (5.2.6).
const S_OK: u8 = 0;
const S_IOERR: u8 = 1;
const S_UNSUPP: u8 = 2;
/// The most bytes of one request.
const MAX_REQUEST: usize = 8 << 20;
/// VIRTIO_F_VERSION_1, VIRTIO_RING_F_EVENT_IDX and VIRTIO_BLK_F_FLUSH.
const FEATURES: u64 = 1 << 32 | 1 << 29 | 1 << 9;

/// What the disk is.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The Unix socket to listen at
    pub socket: PathBuf,
    /// The file with the contents
    pub file: PathBuf,
    /// Try to read memory at this address first, as the device sees it, and print what came of it
    #[arg(long)]
    pub probe: Option<u64>,
    /// Exit at the request with this number, unanswered
    #[arg(long)]
    pub die_at: Option<u64>,
}

/// Serves machines, one after the other, until the process is killed.
///
/// # Errors
/// The file or the socket cannot be had.
pub fn serve(options: &Options) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(&options.file)?;
    let disk = Arc::new(Disk {
        size: file.metadata()?.len(),
        file,
        memory: Mutex::default(),
        event_idx: AtomicBool::new(false),
        probe: Mutex::new(options.probe),
        die_at: options.die_at,
        requests: Mutex::default(),
    });
    let config = DaemonConfig::default().with_miss_timeout(Duration::from_millis(200));
    let daemon = VhostUserDaemon::new(disk, config);
    loop {
        daemon.serve(&options.socket).map_err(io::Error::other)?;
    }
}

struct Disk {
    file: File,
    size: u64,
    memory: Mutex<Option<DmaSpace>>,
    event_idx: AtomicBool,
    probe: Mutex<Option<u64>>,
    die_at: Option<u64>,
    requests: Mutex<u64>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    /// Answers the requests that there are.
    fn answer(&self, vring: &VringRwLock<DmaSpace>, space: &DmaSpace) -> io::Result<()> {
        loop {
            let memory = space.memory();
            let chain = {
                let mut state = vring.get_mut();
                state.get_queue_mut().pop_descriptor_chain(&*memory)
            };
            let Some(chain) = chain else { return Ok(()) };
            self.count();
            let head = chain.head_index();
            let reader = chain.clone().reader(&*memory).map_err(io::Error::other)?;
            let writer = chain.writer(&*memory).map_err(io::Error::other)?;
            let written = self.request(reader, writer)?;
            drop(memory);
            vring.add_used(head, written).map_err(io::Error::other)?;
            let wanted = !self.event_idx.load(Ordering::Relaxed)
                || vring.needs_notification().map_err(io::Error::other)?;
            if wanted {
                vring.signal_used_queue()?;
            }
        }
    }

    fn count(&self) {
        let mut requests = lock(&self.requests);
        *requests += 1;
        if self.die_at == Some(*requests) {
            std::process::exit(7);
        }
    }

    /// Carries out one request, and returns how many bytes of its buffers were written.
    fn request(&self, mut reader: impl Read, mut writer: impl Writable) -> io::Result<u32> {
        let mut header = [0; 16];
        reader.read_exact(&mut header)?;
        let [kind, _, low, high] = [0, 4, 8, 12].map(|at| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        });
        let sector = u64::from(high) << 32 | u64::from(low);
        let room = writer.room().saturating_sub(1).min(MAX_REQUEST);
        let mut data = vec![0; room];
        let at = sector.saturating_mul(SECTOR);
        let result = match kind {
            T_IN => self.file.read_exact_at(&mut data, at),
            T_OUT => {
                let mut from = Vec::new();
                reader.take(MAX_REQUEST as u64).read_to_end(&mut from)?;
                match at.checked_add(from.len() as u64) {
                    Some(end) if end <= self.size => self.file.write_all_at(&from, at),
                    _ => Err(io::ErrorKind::InvalidInput.into()),
                }
            }
            T_FLUSH => self.file.sync_data(),
            _ => Err(io::ErrorKind::Unsupported.into()),
        };
        let status = match result {
            Ok(()) => S_OK,
            Err(error) if error.kind() == io::ErrorKind::Unsupported => S_UNSUPP,
            Err(_) => S_IOERR,
        };
        writer.write_all(&data)?;
        writer.write_all(&[status])?;
        u32::try_from(room + 1).map_err(io::Error::other)
    }

    /// Reads where nothing may be mapped, if that was asked for.
    fn probe(&self, space: &DmaSpace) {
        if let Some(address) = lock(&self.probe).take() {
            match space.read_obj::<u32>(GuestAddress(address)) {
                Ok(_) => println!("{address:#x}: reached"),
                Err(_) => println!("{address:#x}: refused"),
            }
        }
    }
}

/// Buffers that a device writes.
trait Writable: Write {
    /// Returns how many bytes they have.
    fn room(&self) -> usize;
}

impl<B: vm_memory::bitmap::BitmapSlice> Writable for virtio_queue::Writer<'_, B> {
    fn room(&self) -> usize {
        self.available_bytes()
    }
}

impl VhostUserBackend for Disk {
    type Vring = VringRwLock<DmaSpace>;

    fn num_queues(&self) -> usize {
        1
    }

    fn max_queue_size(&self) -> usize {
        1024
    }

    fn features(&self) -> u64 {
        FEATURES
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::CONFIG
    }

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let mut config = (self.size / SECTOR).to_le_bytes().to_vec();
        config.resize(60, 0);
        let start = offset as usize;
        let found = config.get(start..start + size as usize);
        found.map_or_else(Vec::new, <[u8]>::to_vec)
    }

    fn set_event_idx(&self, enabled: bool) {
        self.event_idx.store(enabled, Ordering::Relaxed);
    }

    fn update_memory(&self, memory: DmaSpace) -> io::Result<()> {
        *lock(&self.memory) = Some(memory);
        Ok(())
    }

    fn handle_event(
        &self,
        _: u16,
        _: EventSet,
        vrings: &[Self::Vring],
        _: usize,
    ) -> io::Result<()> {
        let space = lock(&self.memory).clone();
        let (Some(vring), Some(space)) = (vrings.first(), space) else {
            return Ok(());
        };
        self.probe(&space);
        if !self.event_idx.load(Ordering::Relaxed) {
            return self.answer(vring, &space);
        }
        loop {
            vring.disable_notification().map_err(io::Error::other)?;
            self.answer(vring, &space)?;
            if !vring.enable_notification().map_err(io::Error::other)? {
                return Ok(());
            }
        }
    }
}
