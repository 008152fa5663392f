use super::*;
use clap::Parser;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    settings: Settings,
}

fn flags(line: &[&str]) -> Settings {
    Flags::parse_from([&["vmm"], line].concat()).settings
}

const EVERYTHING: &str = "
    image = 'ipmmu'
    initrd = 'rd'
    rootfs = 'debian:trixie'
    rootfs-disk = 'root'
    kernel-format = 'zimage'
    cmdline = 'a b'
    cmdline-base = 'c'
    run = ['x y', 'z']
    shell = true
    memory = '1G'
    memory-base = 0x80000000
    cpus = 4
    disk = ['d,ro', { path = 'e', queues = 2, iommu = 'b:3' }]
    rng = { iommu = 'ipmmu0' }
    iommu = ['ipmmu', { model = 'ipmmu', name = 'b' }]
    trace = 'iommu'
    probes = ['f { print(r0) }', 'g']
    vmlinux = 'v'
    sanitize = 'dma=leak,stale'
    timeline = 't.html'
    access-platform = true
    time = 'host'
    seed = 7
    epoch = 5
    idle = 'skip'
    timeout = 1.5
    wall-timeout = 60
    gdb = 1234
    expect = 'e+'
    console = 'log'
    json = 'out.json'
    quiet = true
";

#[test]
fn a_file_and_flags_say_the_same() {
    let from_flags = flags(&[
        "--image=ipmmu",
        "--initrd=rd",
        "--rootfs=debian:trixie",
        "--rootfs-disk=root",
        "--kernel-format=zimage",
        "--cmdline=a b",
        "--cmdline-base=c",
        "--run=x y",
        "--run=z",
        "--shell",
        "--memory=1G",
        "--memory-base=0x80000000",
        "--cpus=4",
        "--disk=d,ro",
        "--disk=e,queues=2,iommu=b:3",
        "--rng=iommu=ipmmu0",
        "--iommu=ipmmu",
        "--iommu=ipmmu,name=b",
        "--trace=iommu",
        "--probe=f { print(r0) }",
        "--probe=g",
        "--vmlinux=v",
        "--sanitize=dma=leak,stale",
        "--timeline=t.html",
        "--access-platform=true",
        "--time=host",
        "--seed=7",
        "--epoch=5",
        "--idle=skip",
        "--timeout=1.5",
        "--wall-timeout=60",
        "--gdb=:1234",
        "--expect=e+",
        "--console=log",
        "--json=out.json",
        "--quiet",
    ]);
    let from_file: Settings = toml::from_str(EVERYTHING).unwrap();
    assert_eq!(from_file, from_flags);
    assert_eq!(
        from_file.config().cmdline,
        "c a b viommu.root=/dev/vda viommu.shell viommu.run=x+y viommu.run=z"
    );
}

#[test]
fn flags_override_the_file() {
    let file: Settings = toml::from_str(EVERYTHING).unwrap();
    assert_eq!(Settings::default().or(file.clone()), file);
    let both = flags(&["--kernel=k", "--cpus=2", "--disk=other", "--shell=false"]).or(file.clone());
    assert_eq!(
        (both.image, both.kernel, both.cpus),
        (Some("ipmmu".into()), Some("k".into()), Some(Cpus(2)))
    );
    assert_eq!(
        (both.disk.len(), both.shell, both.seed),
        (1, Some(false), Some(7))
    );
    let other = flags(&["--image=other"]).or(flags(&["--kernel=k"]).or(file));
    assert_eq!((other.kernel, other.initrd), (None, None));
}

#[test]
fn nothing_said_is_the_default_machine() {
    let config = Settings::default().config();
    let default = Config {
        cmdline: default_cmdline(BoardModel::Virt),
        console: ConsoleConfig::None,
        ..Config::default()
    };
    assert_eq!(config, default);
}

#[test]
fn paths_start_at_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("machine.toml");
    std::fs::write(
        &path,
        "kernel = 'k'\ndisks = ['/abs,ro', 'rel']\nconsole = 'stdio'\n",
    )
    .unwrap();
    let settings = Settings::read(&path).unwrap();
    assert_eq!(settings.kernel, Some(directory.path().join("k")));
    assert_eq!(settings.disk[0].0.path, Path::new("/abs"));
    assert_eq!(settings.disk[1].0.path, directory.path().join("rel"));
    assert_eq!(settings.console, Some(Destination::Stdio));
}

#[test]
fn mistakes_name_file_and_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("machine.toml");
    for (text, line, word) in [
        ("cpus = 1\nmemroy = '1G'\n", 2, "unknown field `memroy`"),
        ("memory = '1T'\n", 1, "is not a size"),
        ("epoch = -5\n", 1, "-5 is not a date"),
        ("epoch = 'today'\n", 1, "today is not a date"),
        ("idle = 'never'\n", 1, "auto"),
        ("\n\ntime = 'fast'\n", 3, "virtual"),
        ("timeout = -1\n", 1, "is not a time limit"),
        ("disk = [3]\n", 1, "a disk is"),
        ("\niommu = 'smmu'\n", 2, "is not an IOMMU"),
        ("iommu = { model = 'smmu' }\n", 1, "`smmu`"),
        ("iommu = [{ model = 'ipmmu', nam = 'x' }]\n", 1, "`nam`"),
        ("disk = ['a', { path = 'b', queue = 2 }]\n", 1, "`queue`"),
        (
            "[[disk]]\npath = 'b'\niommu = 'x:y'\n",
            1,
            "\"y\" is not the number",
        ),
        ("rng = { iomu = 'x' }\n", 1, "`iomu`"),
        (
            "rng = { iommu = 'ipmmu0:y' }\n",
            1,
            "\"y\" is not the number",
        ),
        (
            "rng = 3\n",
            1,
            "rng is true, false or a table with iommu, not 3",
        ),
        ("memory-base = 'foo'\n", 1, "\"foo\" is not an address"),
        ("cpus = 99999999999\n", 1, "not 99999999999"),
        ("trace = 'x'\n", 1, "iommu"),
        ("cpus = [\n", 1, ""),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = Settings::read(&path).unwrap_err().to_string();
        assert!(
            error.contains(word) && error.contains("machine.toml"),
            "{error}"
        );
        assert!(error.contains(&format!("line {line}: ")), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    assert!(Settings::read(directory.path()).is_err());
    assert!(Settings::read(&directory.path().join("none")).is_err());
}
