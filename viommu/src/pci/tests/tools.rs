//! What `iasl` and `dtc` read in tables and trees. Without them (Debian: acpica-tools,
//! device-tree-compiler) there is nothing to ask; CI has them installed, and there they must be.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use vm_fdt::FdtWriter;

use super::{OEM, address, component, map, smmus};
use crate::fault::EndpointId;
use crate::pci::acpi::{MmioEndpoint, ViotIommu, iort, viot};
use crate::pci::fdt;

/// A directory of one test.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Self {
        let name = format!("viommu-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a tool in `dir`, and returns what it says if it succeeds; `None` if there is no such tool.
fn run(dir: &Path, tool: &str, arguments: &[&str]) -> Option<String> {
    let output = match Command::new(tool).args(arguments).current_dir(dir).output() {
        Ok(output) => output,
        Err(error) => {
            let may_lack = std::env::var("VIOMMU_INSTALL").as_deref() != Ok("yes");
            assert!(may_lack, "{tool}: {error}");
            eprintln!("{tool}: {error}; its part of this test is left out");
            return None;
        }
    };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{tool}: {said}");
    Some(said)
}

/// Disassembles a table: what iasl says of it, and the lines of its fields as `Name : value`.
fn disassemble(name: &str, table: &[u8]) -> Option<(String, Vec<String>)> {
    let place = Place::new(name);
    fs::write(place.0.join("table.dat"), table).unwrap();
    let said = run(&place.0, "iasl", &["-d", "table.dat"])?;
    let text = fs::read_to_string(place.0.join("table.dsl")).unwrap();
    // [024h 0036   4]                   Node Count : 00000005
    let field = |line: &str| {
        // Bits have no place of their own.
        let (_, field) = line.split_once(']').unwrap_or(("", line));
        let (name, value) = field.split_once(" : ")?;
        Some(format!("{} : {}", name.trim(), value.trim()))
    };
    let fields = text.lines().filter_map(field);
    Some((said, fields.collect()))
}

/// Asserts that `fields` has `expected` in their order, with others between them.
fn assert_in_order(fields: &[String], expected: &[&str]) {
    let mut left = fields.iter();
    for line in expected {
        assert!(
            left.any(|field| field == line),
            "{line}, in its place: {fields:#?}"
        );
    }
}

#[test]
fn iasl_reads_the_iort() {
    let table = iort(&OEM, &smmus(), &map(), &[component()]).unwrap();
    let Some((said, fields)) = disassemble("iort", &table) else {
        return;
    };
    assert!(
        !said.contains("ncorrect checksum") && !said.contains("nvalid"),
        "{said}"
    );
    assert_in_order(
        &fields,
        &[
            "Signature : \"IORT\"    [IO Remapping Table]",
            "Oem ID : \"VIOMMU\"",
            "Node Count : 00000005",
            "Type : 03",
            "Base Address : 0000000009050000",
            "Span : 0000000000020000",
            "Model : 00000001",
            "Flags (decoded below) : 00000002",
            "Coherent Walk : 1",
            "Context Interrupt Count : 00000002",
            "NSgIrpt : 0000006A",
            "Context Interrupt : 000000000000006B",
            "Context Interrupt : 000000000000006C",
            "Type : 04",
            "Base Address : 0000000009060000",
            "COHACC Override : 1",
            "Event GSIV : 0000006E",
            "PRI GSIV : 0000006F",
            "GERR GSIV : 00000070",
            "Sync GSIV : 00000071",
            "Type : 02",
            "Mapping Count : 00000002",
            "PCI Segment Number : 00000000",
            "Memory Size Limit : 40",
            "Input base : 00000000",
            "ID Count : 000000FF",
            "Output Base : 00000000",
            "Input base : 00000100",
            "ID Count : 000001FF",
            "Output Base : 00000400",
            "Type : 02",
            "PCI Segment Number : 00000001",
            "ID Count : 00000007",
            "Output Base : 00010000",
            "Input base : 00000009",
            "ID Count : 0000FFF6",
            "Output Base : 00010009",
            "Type : 01",
            "Mapping Count : 00000002",
            "Device Name : \"\\_SB.DMA0\"",
            "Output Base : 00008000",
            "Single Mapping : 1",
            "Output Base : 00008001",
        ],
    );
}

#[test]
fn iasl_reads_the_viot() {
    let iommus = [
        ViotIommu::Pci(address("00:01.0")),
        ViotIommu::Mmio(0xa00_0000),
    ];
    let device = MmioEndpoint {
        base: 0xa00_0200,
        iommu: 1,
        endpoint: EndpointId(0x42),
    };
    let table = viot(&OEM, &iommus, &map(), &[device]).unwrap();
    let Some((said, fields)) = disassemble("viot", &table) else {
        return;
    };
    assert!(!said.contains("ncorrect checksum"), "{said}");
    assert_in_order(&fields, &["Table Length : 000000C8", "Oem ID : \"VIOMMU\""]);
    // Up to 20200925, which Debian 12 has, iasl knows of a VIOT only that it is a table.
    if fields
        .iter()
        .any(|field| field.contains("Virtual I/O Translation Table"))
    {
        assert_in_order(
            &fields,
            &[
                "Node count : 0007",
                "Type : 03 [VirtIO PCI IOMMU]",
                "PCI BDF number : 0008",
                "Type : 04 [VirtIO MMIO IOMMU]",
                "Base Address : 000000000A000000",
                "Type : 01 [PCI Range]",
                "Endpoint start : 00000000",
                "PCI BDF end : 00FF",
                "Output Node : 0030",
            ],
        );
    }
}

#[test]
fn dtc_reads_the_properties() {
    let map = map();
    let mut tree = FdtWriter::new().unwrap();
    let root = tree.begin_node("").unwrap();
    tree.property_u32("#address-cells", 2).unwrap();
    tree.property_u32("#size-cells", 2).unwrap();
    let mut nodes = Vec::new();
    for (nth, base) in [(0, 0x905_0000u64), (1, 0x906_0000)] {
        let node = tree.begin_node(&format!("iommu@{base:x}")).unwrap();
        tree.property_array_u64("reg", &[base, 0x2_0000]).unwrap();
        tree.property_u32("#iommu-cells", 1).unwrap();
        tree.property_phandle(nth + 1).unwrap();
        tree.end_node(node).unwrap();
        nodes.push(nth + 1);
    }
    let dma = tree.begin_node("dma@a000000").unwrap();
    tree.property_array_u64("reg", &[0xa00_0000, 0x1000])
        .unwrap();
    let ports = [(nodes[0], EndpointId(0x8000)), (nodes[1], EndpointId(3))];
    tree.property_array_u32("iommus", &fdt::iommus(&ports))
        .unwrap();
    tree.end_node(dma).unwrap();
    let pcie = tree.begin_node("pcie@10000000").unwrap();
    tree.property_array_u64("reg", &[0x1000_0000, 0x100_0000])
        .unwrap();
    let cells = fdt::iommu_map(&map, 0, |iommu| nodes[iommu]);
    tree.property_array_u32("iommu-map", &cells).unwrap();
    tree.end_node(pcie).unwrap();
    tree.end_node(root).unwrap();
    let blob = tree.finish().unwrap();
    let place = Place::new("tree");
    fs::write(place.0.join("tree.dtb"), blob).unwrap();
    let Some(text) = run(
        &place.0,
        "dtc",
        &["-q", "-I", "dtb", "-O", "dts", "tree.dtb"],
    ) else {
        return;
    };
    for line in [
        "iommu-map = <0x00 0x01 0x00 0x100 0x100 0x02 0x400 0x200>;",
        "iommus = <0x01 0x8000 0x02 0x03>;",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert_eq!(
        fdt::pci_reg(address("00:01.0").requester),
        [0x800, 0, 0, 0, 0]
    );
}
