//! Every kernel comes up, finds its disk and its cores, and powers off.

use integration::{Guest, disk};
use vmm::ByteSize;

/// Boots an image to userspace, has it checksum and mount a disk, and checks all that from the
/// host.
fn boots(image: &str, cpus: u8) {
    let data = disk::random_bytes(100_000, 3);
    let disk = disk::ext4(&[("data", &data)]);
    let before = disk.sha256();
    let run = Guest::image(image)
        .cpus(cpus)
        .disk(&disk)
        .run("sha256sum /dev/vda")
        .run("mount -t ext4 /dev/vda /mnt && sha256sum /mnt/data && echo from the guest >/mnt/new && umount /mnt")
        .run("grep -c ^processor /proc/cpuinfo; uname -r")
        .boot();
    run.assert_good();
    assert_eq!(run.output(1), format!("{before}  /dev/vda"));
    assert_eq!(run.output(2), format!("{}  /mnt/data", disk::sha256(&data)));
    assert_eq!(
        run.output(3),
        format!("{cpus}\n{}", integration::obtain(image).version)
    );
    disk::assert_ext4_intact(&disk);
    assert_eq!(disk::ext4_file(&disk, "/new"), "from the guest\n");
}

/// A test for each number of cores.
macro_rules! boots {
    ($($name:ident: $image:literal on $cpus:literal;)*) => {$(
        #[test]
        fn $name() {
            boots($image, $cpus);
        }
    )*};
}

boots! {
    ipmmu_on_one_core: "ipmmu" on 1;
    ipmmu_on_four_cores: "ipmmu" on 4;
    debian_6_1_on_one_core: "debian-armmp-6.1" on 1;
    debian_6_1_on_four_cores: "debian-armmp-6.1" on 4;
    debian_6_1_lpae_on_one_core: "debian-armmp-lpae-6.1" on 1;
    debian_6_1_lpae_on_four_cores: "debian-armmp-lpae-6.1" on 4;
    debian_5_10_on_one_core: "debian-armmp-5.10" on 1;
    debian_5_10_on_four_cores: "debian-armmp-5.10" on 4;
    debian_5_10_lpae_on_four_cores: "debian-armmp-lpae-5.10" on 4;
    debian_6_12_on_one_core: "debian-armmp-6.12" on 1;
    debian_6_12_on_four_cores: "debian-armmp-6.12" on 4;
    debian_6_12_lpae_on_four_cores: "debian-armmp-lpae-6.12" on 4;
    debian_7_2_on_one_core: "debian-armmp-7.2" on 1;
    debian_7_2_on_four_cores: "debian-armmp-7.2" on 4;
    debian_7_2_lpae_on_four_cores: "debian-armmp-lpae-7.2" on 4;
}

#[test]
fn compressed_kernel_boots_too() {
    Guest::image("ipmmu")
        .zimage("ipmmu")
        .run("true")
        .boot()
        .assert_good();
}

#[test]
fn memory_size_and_base_reach_the_guest() {
    for (base, size) in [(0x4000_0000, 64 << 20), (0x8000_0000, 512 << 20)] {
        let guest = Guest::image("ipmmu")
            .memory(ByteSize(size))
            .memory_base(ByteSize(base));
        let run = guest.run("grep -i 'system ram' /proc/iomem").boot();
        run.assert_good();
        let (first, last) = (base, base + size - 1);
        assert!(
            run.output(1)
                .starts_with(&format!("{first:08x}-{last:08x} : System RAM")),
            "{}",
            run.output(1)
        );
    }
}

#[test]
fn a_guest_that_panics_resets() {
    let run = Guest::image("ipmmu")
        .run("echo c >/proc/sysrq-trigger")
        .boot();
    assert_eq!(run.reason, vmm::Reason::Reset, "{}", run.text());
    assert!(run.text().contains("Kernel panic"));
}

#[test]
fn host_time_boots_too() {
    let run = Guest::image("ipmmu")
        .host_time()
        .cpus(2)
        .run("sleep 1; cat /proc/uptime")
        .boot();
    run.assert_good();
    assert!(run.summary.wall_ns >= 1_000_000_000, "{:?}", run.summary);
}

#[test]
fn idle_time_costs_nothing_in_virtual_time() {
    let run = Guest::image("ipmmu").run("sleep 60").boot();
    run.assert_good();
    assert!(run.summary.guest_ns > 60_000_000_000, "{:?}", run.summary);
    assert!(run.summary.skipped_ns > 50_000_000_000, "{:?}", run.summary);
}
