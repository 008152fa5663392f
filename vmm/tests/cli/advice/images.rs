//! Sentences about plans, scenarios, images and the environment that say what to do instead: each
//! is provoked, and what it says is done, until nothing is left but to obtain an image, which here
//! fails.

use std::fs;
use std::process::Command;

use crate::Ended;
use crate::fakes::Fakes;

/// What is heard once nothing is wrong any more: the package manager, which only pretends.
const OBTAINING: &str = "only pretends";

struct TestDirectory(Fakes);

impl TestDirectory {
    fn new() -> Self {
        let fakes = Fakes::bare_host(1000);
        fs::write(fakes.path("installed"), "").unwrap();
        let place = Self(fakes);
        let mut zimage = vec![0; 4096];
        zimage[0x24..0x28].copy_from_slice(&0x016f_2818_u32.to_le_bytes());
        zimage[0x2c..0x30].copy_from_slice(&4096_u32.to_le_bytes());
        fs::write(place.0.path("zImage"), zimage).unwrap();
        fs::write(place.0.path("late.ko"), b"\x7fELF and so on").unwrap();
        fs::write(place.0.path("none"), "").unwrap();
        place
    }

    fn command(&self, line: &str) -> Command {
        let words: Vec<&str> = line.split(' ').collect();
        let mut command = self.0.vmm(&words);
        command.current_dir(self.0.path(""));
        command
    }

    fn run(&self, line: &str) -> Ended {
        self.command(line).output().unwrap().into()
    }

    fn refuses(&self, line: &str, words: &str) -> String {
        told(&self.run(line), line, words)
    }

    fn obtains(&self, line: &str) {
        obtains(&self.run(line), line);
    }
}

fn told(ended: &Ended, line: &str, words: &str) -> String {
    assert_eq!(ended.code, Some(2), "{line}: {ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{line}: {ended:?}");
    assert!(ended.stderr.contains(words), "{line}: {words:?}: {ended:?}");
    ended.stderr.clone()
}

fn obtains(ended: &Ended, line: &str) {
    assert!(ended.stderr.contains(OBTAINING), "{line}: {ended:?}");
}

/// The keys of a fault, the advice that they get, and keys as it says.
const FAULTS: [(&str, &str, &[&str]); 13] = [
    (
        "where='disk'\nwhat='stuck'",
        "expected one of `io-error`, `unsupported`, `short`, `flip`, `late-data`, `again`",
        &[
            "where='disk'\nwhat='io-error'",
            "where='disk'\nwhat='unsupported'",
            "where='disk'\nwhat='short'",
            "where='disk'\nwhat='flip'",
            "where='disk'\nwhat='late-data'\ndelay='1ms'",
            "where='disk'\nwhat='again'\ndelay='1ms'",
        ],
    ),
    (
        "where='disk'\nwhat='flip'\ndevice='disk7'",
        "there is no device disk7: use one of ",
        &["where='disk'\nwhat='flip'\ndevice='disk0'"],
    ),
    (
        "where='disk'\nwhat='flip'\ndevice='a b'",
        "use up to 128 letters, digits, _, - and .",
        &["where='disk'\nwhat='flip'\ndevice='disk0'"],
    ),
    (
        "where='flush'\nwhat='late'",
        "missing field `count`",
        &["where='flush'\nwhat='late'\ncount=3"],
    ),
    (
        "where='flush'\nwhat='stuck'\nvalue=3",
        "unknown field `value`, there are no fields",
        &["where='flush'\nwhat='stuck'"],
    ),
    (
        "where='disk'\nwhat='again'\ndelay='soon'",
        "use a number with ns, us, ms or s, of an hour at most",
        &[
            "where='disk'\nwhat='again'\ndelay='5ns'",
            "where='disk'\nwhat='again'\ndelay='5us'",
            "where='disk'\nwhat='again'\ndelay='5ms'",
            "where='disk'\nwhat='again'\ndelay='3600s'",
        ],
    ),
    (
        "where='disk'\nwhat='flip'\nwhen={nth='first'}",
        "\"first\" is no number of a point: use N, or N..M for one of these",
        &[
            "where='disk'\nwhat='flip'\nwhen={nth=3}",
            "where='disk'\nwhat='flip'\nwhen={nth='3..5'}",
        ],
    ),
    (
        "where='disk'\nwhat='flip'\nwhen={nth=-1}",
        "\"-1\" is no number of a point: use N, or N..M for one of these",
        &["where='disk'\nwhat='flip'\nwhen={nth=1}"],
    ),
    (
        "where='disk'\nwhat='flip'\nwhen={every=0}",
        "use 1 for every point",
        &["where='disk'\nwhat='flip'\nwhen={every=1}"],
    ),
    (
        "where='disk'\nwhat='flip'\nwhen={probability=2}",
        "not between 0 and 1",
        &["where='disk'\nwhat='flip'\nwhen={probability=0.5}"],
    ),
    (
        "where='function'\nwhat='error'\nfunction='2nd'\nvalue=-5",
        "use letters, digits, _ and ., and begin with a letter or _",
        &["where='function'\nwhat='error'\nfunction='_second.part.0'\nvalue=-5"],
    ),
    (
        "where='disk'\nwhat='flip'\nwhen={nth=1,every=2}",
        "`when` has more than one of nth, every and probability",
        &[
            "where='disk'\nwhat='flip'\nwhen={nth=1}",
            "where='disk'\nwhat='flip'\nwhen={every=2}",
        ],
    ),
    (
        "where='disk'\nwhat='flip'\nmask=0",
        "a mask of 0 flips nothing",
        &["where='disk'\nwhat='flip'\nmask=1"],
    ),
];

#[test]
fn advice_about_plans_helps() {
    let place = TestDirectory::new();
    let plan = |keys: &str| {
        let text = format!("title = 't'\n[[fault]]\n{keys}\n");
        fs::write(place.0.path("plan.toml"), text).unwrap();
        "inject plan.toml"
    };
    for (mistake, words, advice) in FAULTS {
        place.refuses(plan(mistake), words);
        for keys in advice {
            let ended = place.run(plan(keys));
            obtains(&ended, keys);
        }
    }
    place.refuses(
        plan("where='disk'\nwhat='flip'\nwhen={times=0}"),
        "leave the fault out instead",
    );
    fs::write(place.0.path("plan.toml"), "title = 't'\n").unwrap();
    place.obtains("inject plan.toml");
}

/// Command lines, the advice that they get, and lines as it says.
const LINES: [(&str, &str, &[&str]); 19] = [
    (
        "inject none --runs 0",
        "use 1 or more",
        &["inject none --runs 1"],
    ),
    (
        "inject none --runs 1000001",
        "use 1000000 at most",
        &["inject none --runs 1000000"],
    ),
    (
        "inject none --run 1000000",
        "use a number from 0 to 999999",
        &["inject none --run 0", "inject none --run 999999"],
    ),
    (
        "inject none --systematic --run 0",
        "leave --systematic out",
        &["inject none --run 0"],
    ),
    (
        "inject none --resume",
        "name it by --journal or --report",
        &[
            "inject none --resume --journal j",
            "inject none --resume --report r",
        ],
    ),
    (
        "inject none --deny everything",
        "use unaffected, recovered, device-lost, silent-corruption, hang, crash or vmm-error",
        &[
            "inject none --deny unaffected,recovered,device-lost,silent-corruption,hang,crash,vmm-error",
        ],
    ),
    (
        "inject none --journal zImage",
        "go on with it by --resume, or name another",
        &["inject none --journal another"],
    ),
    (
        "lab matrix rebind --kernel ,",
        "write FILE or FILE,MODULE",
        &[
            "lab matrix rebind --kernel zImage",
            "lab matrix rebind --kernel zImage,late.ko",
        ],
    ),
    (
        "lab matrix rebind --kernel zImage,",
        "write FILE or FILE,MODULE",
        &["lab matrix rebind --kernel zImage,late.ko"],
    ),
    (
        "images build debian-armmp",
        "needs no build: vmm images fetch debian-armmp-6.1",
        &["images fetch debian-armmp-6.1"],
    ),
    (
        "boot",
        "say --image NAME (see vmm images list) or --kernel FILE",
        &["boot --image ipmmu"],
    ),
    (
        "boot --rootfs debian:sid",
        "the known ones are debian:bookworm, ",
        &["boot --rootfs debian:bookworm"],
    ),
    (
        "boot --rootfs debian:trixie --initrd zImage",
        "leave out --initrd",
        &["boot --rootfs debian:trixie"],
    ),
    (
        "boot --rootfs debian:trixie --image debian-arm64",
        "name another image, or none",
        &["boot --rootfs debian:trixie --image debian-armmp"],
    ),
    (
        "boot --rootfs debian:bookworm --image ipmmu",
        "leave out --image, or add --run COMMAND",
        &[
            "boot --rootfs debian:bookworm",
            "boot --rootfs debian:bookworm --image ipmmu --run true",
        ],
    ),
    (
        "boot --image ipmmu --rootfs-disk root.img",
        "add --rootfs",
        &["boot --rootfs debian:trixie+tools --rootfs-disk root.img"],
    ),
    (
        "images fetch nothing",
        "the known ones are ipmmu, virtio-iommu, ",
        &["images fetch ipmmu", "images fetch virtio-iommu"],
    ),
    (
        "lab run rebind --jobs 0",
        "the number must be 1 or more",
        &["lab run rebind --jobs 1"],
    ),
    (
        "lab run rebind --kernel none",
        "an empty file",
        &["lab run rebind --kernel zImage"],
    ),
];

#[test]
fn advice_about_campaigns_scenarios_and_images_helps() {
    let place = TestDirectory::new();
    for (mistake, words, advice) in LINES {
        place.refuses(mistake, words);
        advice.iter().for_each(|line| place.obtains(line));
    }
}

#[test]
fn lists_name_what_can_be_named() {
    let place = TestDirectory::new();
    for (mistake, list, command) in [
        ("inject nothing", "inject --list", "inject"),
        ("lab run nothing", "lab list", "lab run"),
        ("boot", "images list", "boot --image"),
    ] {
        place.refuses(mistake, &format!("vmm {list}"));
        let listed = place.run(list);
        assert_eq!(listed.code, Some(0), "{listed:?}");
        // Below the heading, where there is one.
        let mut words = listed.stdout.split_ascii_whitespace();
        let first = words
            .find(|word| word.chars().any(char::is_lowercase))
            .unwrap();
        place.obtains(&format!("{command} {first}"));
    }
    // As do files, by their path.
    fs::write(place.0.path("nothing"), "title = 't'\n").unwrap();
    place.refuses("inject nothing", "a file is named with its path");
    place.obtains("inject ./nothing");
}

#[test]
fn modules_are_what_the_kernel_takes() {
    let place = TestDirectory::new();
    let pack = |script: &str| {
        let mut shell = Command::new("sh");
        let done = shell
            .args(["-ec", script])
            .current_dir(place.0.path(""))
            .status();
        assert!(done.unwrap().success(), "{script}");
    };
    pack("xz -k late.ko");
    let line = "lab run rebind --kernel zImage --module late.ko";
    place.refuses(&format!("{line}.xz"), "is to be decompressed first");
    pack("rm late.ko; xz -d late.ko.xz");
    place.obtains(line);
}

#[test]
fn the_environment_can_be_set_as_the_sentences_say() {
    let place = TestDirectory::new();
    let line = "images fetch debian-armmp";
    let with = |set: &[(&str, &str)]| -> Ended {
        let mut command = place.command(line);
        for name in ["VIOMMU_CACHE", "HOME", "XDG_CACHE_HOME"] {
            command.env_remove(name);
        }
        command.envs(set.iter().copied()).output().unwrap().into()
    };
    let directory = place.0.path("own").display().to_string();
    let words =
        "set VIOMMU_CACHE to a directory, or set HOME or XDG_CACHE_HOME to an absolute path";
    told(&with(&[]), line, words);
    for name in ["VIOMMU_CACHE", "HOME", "XDG_CACHE_HOME"] {
        obtains(&with(&[(name, &directory)]), name);
    }
    let file = place.0.path("zImage").display().to_string();
    let ended = with(&[("VIOMMU_CACHE", &file)]);
    told(&ended, line, "set VIOMMU_CACHE to a directory of your own");
    let own = ("VIOMMU_CACHE", directory.as_str());
    let (name, words) = (
        "VIOMMU_DEBIAN_MIRROR",
        "write one such as http://deb.debian.org/debian",
    );
    told(&with(&[own, (name, "nowhere")]), line, words);
    obtains(&with(&[own, (name, "http://deb.debian.org/debian")]), name);
}

#[test]
fn packages_are_installed_as_the_sentences_say() {
    let line = "images build ipmmu";
    let with = |value: &str| -> Ended {
        let place = TestDirectory::new();
        fs::remove_file(place.0.path("installed")).unwrap();
        let mut command = place.command(line);
        command
            .env("VIOMMU_INSTALL", value)
            .output()
            .unwrap()
            .into()
    };
    let words = "says neither yes nor no: yes lets missing packages of this host be installed";
    told(&with("maybe"), line, words);
    let told = told(
        &with("no"),
        line,
        "let that be done with --install-packages or VIOMMU_INSTALL=yes",
    );
    assert!(
        told.contains("apt-get install --no-install-recommends "),
        "{told}"
    );
    obtains(&with("yes"), line);
    let place = TestDirectory::new();
    fs::remove_file(place.0.path("installed")).unwrap();
    place.obtains(&format!("{line} --install-packages"));
}
