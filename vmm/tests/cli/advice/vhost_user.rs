//! Devices in other processes.

use std::os::unix::net::UnixListener;
use std::thread;

use super::TestDirectory;

#[test]
fn each_mistake_is_told_before_anything_is_fetched() {
    let place = TestDirectory::new();
    let _listener = UnixListener::bind(place.0.path().join("socket")).unwrap();
    // The image is not in the cache, which nothing is fetched into by then.
    let boot = "boot --image debian-armmp";
    for (line, words) in [
        (
            "--time host --vhost-user absent,type=blk",
            "there is no socket absent: start the process that is the vhost-user device first",
        ),
        (
            "--time host --vhost-user disk,type=blk",
            "it is no socket: name the one that the device's process listens at",
        ),
        (
            "--vhost-user socket,type=blk",
            "a vhost-user device is another process, for which virtual time has no meaning: say --time host",
        ),
        (
            "--time host --vhost-user socket,type=floppy",
            "use one of blk, net, rng",
        ),
        ("--time host --vhost-user socket", "add ,type= and one of"),
        (
            "--time host --vhost-user socket,type=blk,queues=9",
            "has 1 to 8 queues, not 9",
        ),
        (
            "--time host --vhost-user socket,type=blk,queue-size=100",
            "use a power of two from 2 to 1024",
        ),
        (
            "--time host --vhost-user socket,type=blk,iommu=ipmmu0:3",
            "add one with --iommu ipmmu",
        ),
        (
            "--time host --vhost-user socket,type=blk --record run.rec",
            "cannot be recorded, because their state is in other processes: leave out --vhost-user",
        ),
    ] {
        place.refuses(&format!("{boot} {line}"), &[words]);
    }
    let line = "snapshot save s --at 1 --kernel zImage --time host --vhost-user socket,type=blk";
    place.refuses(line, &["cannot be saved"]);
    assert!(!place.0.path().join("s").exists());
}

#[test]
fn a_socket_of_something_else_is_told_of() {
    let place = TestDirectory::new();
    let path = place.0.path().join("socket");
    let line = "boot --kernel zImage --time host --vhost-user socket,type=blk";
    let listener = UnixListener::bind(&path).unwrap();
    let other = thread::spawn(move || drop(listener.accept()));
    place.refuses(line, &["is it a vhost-user back end?"]);
    other.join().unwrap();
    // The socket is there still, and nobody listens.
    place.refuses(
        line,
        &["nothing listens at the socket: start its process first"],
    );
}
