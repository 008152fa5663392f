//! A machine's description, as a file and as words of the command line: it is read or refused in a
//! sentence, what was read, written, is read alike, and what is valid has a board and a device
//! tree.

use arbitrary::{Arbitrary, Unstructured};
use vmm::machine::board::Board;
use vmm::{
    ByteSize, Config, DiskConfig, DmaTesterConfig, IommuConfig, NetConfig, PortConfig,
    VhostUserConfig,
};
use vmm_files::toml_file;

use super::text::Input;

/// Descriptions that are good.
const GOOD: &[&str] = &[
    include_str!("machine/plain.toml"),
    include_str!("machine/full.toml"),
    include_str!("machine/virtio.toml"),
    include_str!("machine/host.toml"),
];
const WORDS: &[&str] = &[
    "true",
    "false",
    "\"\"",
    "ipmmu",
    "ipmmu-gen3",
    "virtio",
    "host",
    "virtual",
    "auto",
    "zimage",
    "image",
    "kvm",
    "emulated",
    "-1",
    "1e9",
    "3G",
    "768M",
    "0x40000000",
    "none",
    "all",
    "[]",
    "{}",
    "\"a b\"",
    "ipmmu0:3",
    "ipmmu0:31",
    "read-only",
    "ro",
    "overlay",
    "\\u0000",
    "blk",
    "net",
    "console",
    "pages",
    "1K",
    "16E",
    "inf",
    "nan",
];
const LINES: &[&str] = &[
    "memory = \"2G\"",
    "memory = \"16M\"",
    "memory-base = \"0x80000000\"",
    "cpus = 4",
    "rng = false",
    "[[disks]]\npath = \"b.img\"\nread-only = true",
    "[[iommus]]\nmodel = \"ipmmu\"",
    "[[iommus]]\nmodel = \"virtio\"",
    "accel = \"kvm\"",
    "time = \"host\"",
    "vhost-user = \"a.sock,type=rng\"",
    "[[nets]]\ntype = \"peer\"\nfolder = \"d\"\nmac = \"52:54:00:12:34:56\"",
    "[[nets]]\ntype = \"user\"\nhostfwd = [\"tcp:127.0.0.1:8080-:80\"]",
    "dma-tester = \"iommu=ipmmu0:0,iommu=none\"",
    "board = \"ecx2000\"\ndtb = \"ecx-2000.dtb\"",
    "board = \"koelsch\"\ndtb = \"koelsch.dtb\"",
];

/// An input.
#[derive(Arbitrary, Debug)]
enum Case<'a> {
    File(Input<'a>),
    Word(u8, &'a str),
    Words(u8, Vec<(u8, u8)>),
}

/// Pieces of the command line's values.
const PIECES: &[&str] = &[
    "ipmmu",
    "virtio",
    "ipmmu-gen3",
    ",",
    ":",
    "=",
    "ports",
    "name",
    "a",
    "0",
    "1",
    "31",
    "32",
    "-",
    "+",
    "K",
    "M",
    "G",
    "T",
    "ro",
    "overlay",
    "queues",
    "queue-size",
    "type",
    "blk",
    "iommu",
    "id",
    ".img",
    "/",
    "0x",
    " ",
    "ff",
    "peer",
    "user",
    "folder",
    "hostfwd",
    "tcp:",
    ":-:",
    "mac",
    "52:54:00:12:34:56",
    "none",
    "true",
    "stage",
    "bypass",
    "on",
    "off",
    "reserved",
    "..",
];

fn word(which: u8, text: &str) {
    // Each is a sentence.
    let sentence = |error: String| assert!(!error.is_empty() && !error.contains('\n'), "{error:?}");
    match which % 7 {
        0 => drop(
            text.parse::<ByteSize>()
                .map_err(|e| sentence(e.to_string())),
        ),
        1 => drop(text.parse::<DiskConfig>().map_err(|e| drop(e.to_string()))),
        2 => drop(text.parse::<IommuConfig>().map_err(|e| drop(e.to_string()))),
        3 => drop(text.parse::<PortConfig>().map_err(|e| drop(e.to_string()))),
        4 => drop(text.parse::<NetConfig>().map_err(|e| drop(e.to_string()))),
        5 => drop(
            text.parse::<DmaTesterConfig>()
                .map_err(|e| drop(e.to_string())),
        ),
        _ => drop(
            text.parse::<VhostUserConfig>()
                .map_err(|e| sentence(e.to_string())),
        ),
    }
}

fn file(text: &str) {
    let config: Config = match toml_file::parse(text) {
        Ok(config) => config,
        Err(mistake) => {
            assert!(!mistake.to_string().is_empty());
            return;
        }
    };
    if let Ok(written) = toml::to_string(&config) {
        let again: Config = toml_file::parse(&written).expect("what was written can be read");
        // NaN is not equal to itself, and no key takes it.
        assert_eq!(again, config);
    }
    match config.validate() {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(()) => {
            let board = Board::new(&config);
            assert!(!board.table().is_empty());
            let chosen = vmm::machine::fdt::Chosen {
                cmdline: &config.cmdline,
                initrd: None,
                rng_seed: &[7; vmm::machine::fdt::SEED_BYTES],
            };
            let _ = board.device_tree(&chosen, None);
        }
    }
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    match Case::arbitrary_take_rest(Unstructured::new(data)) {
        Ok(Case::File(input)) => file(&input.text(GOOD, WORDS, LINES)),
        Ok(Case::Word(which, text)) => word(which, text),
        Ok(Case::Words(which, pieces)) => {
            let pieces = pieces
                .iter()
                .take(16)
                .map(|(piece, _)| PIECES[usize::from(*piece) % PIECES.len()]);
            word(which, &pieces.collect::<String>());
        }
        Err(_) => {}
    }
}
