//! Boards on which stock kernels take the machine for another.

use integration::{Guest, Run, disk};
use vmm::{BoardModel, DiskConfig};

/// Boots a stock kernel on `board`, with a disk that says `dma-coherent`, and has it read.
fn boots(image: &str, board: BoardModel) -> Run {
    let disk = disk::noise(1 << 20, 5);
    let run = Guest::image(image)
        .board(board)
        .disk_config(DiskConfig {
            read_only: true,
            coherent: true,
            ..DiskConfig::new(disk.path())
        })
        .run("sha256sum /dev/vda; grep Hardware /proc/cpuinfo")
        .boot();
    run.assert_good();
    let output = run.output(1);
    assert!(output.starts_with(&disk.sha256()), "{output}");
    run
}

fn hardware(run: &Run) -> String {
    let output = run.output(1);
    let line = output.lines().last().expect("a line");
    let (_, name) = line.split_once(": ").expect("a name");
    name.to_owned()
}

#[test]
fn a_stock_kernel_runs_calxedas_code_and_powers_off_through_its_registers() {
    for image in ["debian-armmp-5.10", "debian-armmp-6.1"] {
        let run = boots(image, BoardModel::VirtHighbank);
        assert_eq!(hardware(&run), "Highbank");
        let sregs = run.summary.exits.mmio["sregs"];
        // The coherency of the one disk is read and written; power-off is the last access of all.
        assert_eq!((sregs.reads, sregs.writes), (1, 2), "{image}");
    }
}

#[test]
fn a_stock_kernel_leaves_the_coherency_fabrics_registers_alone() {
    let run = boots("debian-armmp-5.10", BoardModel::VirtMvebu);
    assert_eq!(hardware(&run), "Generic DT based system");
    assert_eq!(run.summary.exits.unmapped, 0);
}
