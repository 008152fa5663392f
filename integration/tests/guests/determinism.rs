//! In virtual time a run follows from its images, its configuration and its seed, and from nothing
//! else.

use integration::{Guest, disk};

/// Runs a guest twice, and returns the first run.
fn repeats(guest: &Guest) -> integration::Run {
    let (first, second) = (guest.clone().boot(), guest.clone().boot());
    first.assert_good();
    first.assert_same(&second);
    first
}

#[test]
fn ipmmu_repeats_on_one_core() {
    repeats(&Guest::image("ipmmu").run("cat /proc/interrupts; dmesg | tail -n 5; date"));
}

#[test]
fn ipmmu_repeats_on_four_cores() {
    let disk = disk::noise(4 << 20, 9);
    let guest = Guest::image("ipmmu").cpus(4).read_only_disk(&disk);
    // The cores race for the disk and the console.
    let race = "for i in 1 2 3 4; do dd if=/dev/vda bs=4k skip=$((i*100)) count=100 2>/dev/null | sha256sum \
        & done; wait";
    repeats(&guest.run(race).run("cat /proc/interrupts"));
}

#[test]
fn debian_repeats_on_one_core() {
    repeats(&Guest::image("debian-armmp-6.1").run("cat /proc/interrupts"));
}

#[test]
fn debian_repeats_on_four_cores() {
    repeats(
        &Guest::image("debian-armmp-lpae-6.1")
            .cpus(4)
            .run("cat /proc/interrupts"),
    );
}

#[test]
fn the_seed_decides_what_looks_random() {
    let with = |seed| {
        Guest::image("ipmmu")
            .seed(seed)
            .run("head -c 16 /dev/hwrng | hexdump")
            .boot()
    };
    let (one, same, other) = (with(1), with(1), with(2));
    one.assert_good();
    one.assert_same(&same);
    other.assert_good();
    assert_ne!(one.output(1), other.output(1));
}
