//! Prints what the virtio-iommu driver of a booted guest says: see `integration::capture`.

/// Requests to record: those of both devices' probes, and enough that mappings of each kind come
/// and go.
const REQUESTS: usize = 64;

fn main() {
    print!("{}", integration::capture::record(REQUESTS));
}
