//! A device that knows of no IOMMU, behind one: `cargo run -p viommu-vhost-user --example relay --
//! SOCKET DEVICE` listens on SOCKET for front ends, one after the other, and relays each to the
//! daemon that listens on DEVICE, such as one of vhost-device.

use std::error::Error;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use viommu_vhost_user::relay::relay;

/// How long the daemon may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [socket, device] = &arguments[..] else {
        println!("relay SOCKET DEVICE");
        return Ok(());
    };
    let listener = UnixListener::bind(socket)?;
    for stream in listener.incoming() {
        let daemon = UnixStream::connect(device)?;
        if let Err(error) = relay(stream?, daemon, TIMEOUT) {
            eprintln!("{error}");
        }
    }
    Ok(())
}
