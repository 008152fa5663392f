use super::*;

fn valid() -> Config {
    Config {
        kernel: "zImage".into(),
        ..Config::default()
    }
}

#[test]
fn toml_round_trip_and_unknown_keys() {
    let text = "kernel = 'k'\nmemory = '1G'\nmemory-base = 0x80000000\ntime = 'host'\n\
                console = { file = 'log' }\n[[disks]]\npath = 'd'\nread-only = true\n";
    let config: Config = toml::from_str(text).unwrap();
    assert_eq!(config.memory, ByteSize(1 << 30));
    assert_eq!(config.memory_base, Some(ByteSize(0x8000_0000)));
    assert_eq!(
        config.disks,
        [DiskConfig {
            path: "d".into(),
            read_only: true,
            ..DiskConfig::new("d")
        }]
    );
    assert_eq!(config.console, ConsoleConfig::File("log".into()));
    config.validate().unwrap();
    let again: Config = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
    assert_eq!(again, config);
    assert!(toml::from_str::<Config>("kernel = 'k'\nmemroy = '1G'").is_err());
}

#[test]
fn ram_stays_clear_of_the_shared_mapping_where_it_can() {
    let base = |size: u64, iommu: bool| {
        let iommus = if iommu {
            vec![IommuConfig::new(IommuModel::Ipmmu)]
        } else {
            Vec::new()
        };
        let config = Config {
            memory: ByteSize(size),
            iommus,
            ..valid()
        };
        config.validate().map(|()| config.ram().base)
    };
    let board = BoardModel::Virt.facts();
    assert_eq!(base(256 << 20, false), Ok(0x4000_0000));
    assert_eq!(base(256 << 20, true), Ok(0xc000_0000));
    assert_eq!(base(768 << 20, true), Ok(0xc000_0000));
    // Rounded down to 128 MiB from where it would just fit.
    assert_eq!(base(770 << 20, true), Ok(0xb800_0000));
    assert_eq!(base(1 << 30, true), Ok(0xb000_0000));
    assert_eq!(base(board.ram_max - board.ram_min, true), Ok(0x4000_0000));
    assert!(base(board.ram_max, true).is_err());
}

#[test]
fn each_mistake_has_its_sentence() {
    valid().validate().unwrap();
    type Mistake = (fn(&mut Config), &'static str);
    let mistakes: [Mistake; 14] = [
        (|c| c.kernel = PathBuf::new(), "no kernel"),
        (
            |c| c.initrd = Some(PathBuf::new()),
            "the initial file system needs a file name",
        ),
        (
            |c| c.console = ConsoleConfig::File(PathBuf::new()),
            "the console's log needs a file name",
        ),
        (
            |c| c.disks = vec![DiskConfig::new("")],
            "a disk needs a file name",
        ),
        (|c| c.cpus = 0, "not 0"),
        (|c| c.cpus = 5, "not 5"),
        (|c| c.memory = ByteSize(8 << 20), "too little"),
        (|c| c.memory = ByteSize((64 << 20) + 4096), "multiple"),
        (|c| c.memory_base = Some(ByteSize(0x4000_1000)), "multiple"),
        (|c| c.memory_base = Some(ByteSize(0)), "too low"),
        (|c| c.memory = ByteSize(!(RAM_ALIGN - 1)), "ends above"),
        (|c| c.cmdline = "x".repeat(MAX_CMDLINE), "at most 1023"),
        (|c| c.cmdline = "a\nb".into(), "printable"),
        (
            |c| {
                c.disks = vec![DiskConfig {
                    queues: 0,
                    ..DiskConfig::new("d")
                }]
            },
            "queues",
        ),
    ];
    for (spoil, word) in mistakes {
        let mut config = valid();
        spoil(&mut config);
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains(word), "{error:?} lacks {word:?}");
    }
}
