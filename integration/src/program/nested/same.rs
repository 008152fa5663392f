//! A check that a run of the emulated processor is the same on an arm64 host as on this one.

use anyhow::{bail, ensure};
use guest_images::encode_command;
use integration::{Disk, Guest, Run, disk};
use serde_json::Value;

use super::check_output::{CONSOLE, CheckOutput};
use super::guest::content;

/// The guest, on both hosts.
pub const IMAGE: &str = "ipmmu";
/// Its command: DMA through the IOMMU, entropy, and the clocks.
const COMMAND: &str = "sha256sum /dev/vda; dd if=/dev/hwrng bs=32 count=1 2>/dev/null | hexdump; date; cat \
    /proc/interrupts";
/// Its seed.
const SEED: u64 = 31;
/// Numbers of a summary that come from the host.
const OF_THE_HOST: [&str; 2] = ["wall_ns", "mips"];

/// Returns the script of what the outer machine does.
pub fn script() -> String {
    format!(
        "vmm boot --accel emulated --cpus 2 --wall-timeout 400 --json /summary --console /console \
         --kernel /guests/{IMAGE}/kernel --initrd /guests/{IMAGE}/initrd --iommu ipmmu --seed {SEED} \
         --disk /disks/in,ro --cmdline '{}'\n\
         status=$?\n\
         sed 's/^/{CONSOLE}/' /console\n\
         cat /summary",
        encode_command(COMMAND)
    )
}

/// Checks that the run in the outer machine was that of this host.
///
/// # Errors
/// The first number or line that differs.
pub fn judge(said: &CheckOutput) -> anyhow::Result<()> {
    let run = here(&disk::of(&content()));
    let summary = serde_json::to_value(&run.summary)?;
    compare(&summary, &run.text(), said)
}

/// Returns the run on this host.
fn here(disk: &Disk) -> Run {
    Guest::image(IMAGE)
        .cpus(2)
        .iommu("ipmmu")
        .seed(SEED)
        .read_only_disk(disk)
        .run(COMMAND)
        .boot()
}

fn compare(summary: &Value, text: &str, said: &CheckOutput) -> anyhow::Result<()> {
    let there = said.summary()?;
    for (key, value) in summary.as_object().into_iter().flatten() {
        ensure!(
            OF_THE_HOST.contains(&key.as_str()) || there[key] == *value,
            "`{key}` is {} there and {value} here",
            there[key]
        );
    }
    // Lines of the outer machine come without what is white at their ends.
    let mut lines = text.lines().map(str::trim_end);
    let mut console = said.console().map(str::trim_end);
    loop {
        match (lines.next(), console.next()) {
            (None, None) => return Ok(()),
            (here, there) if here == there => (),
            (here, there) => bail!("the console says {there:?} there and {here:?} here"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_guest_sees_must_be_equal_and_what_the_host_took_need_not() {
        let said = |instructions: u64, console: &str| {
            let lines = [format!("{CONSOLE}ready"), format!("{CONSOLE}{console}")];
            let numbers = format!("  \"instructions\": {instructions},");
            let summary = ["{", &numbers, "  \"wall_ns\": 9", "}"].map(str::to_owned);
            CheckOutput {
                lines: lines.into_iter().chain(summary).collect(),
                status: Some(0),
            }
        };
        let here = json!({ "instructions": 7, "wall_ns": 1 });
        let judge = |said: &CheckOutput| compare(&here, "ready\nbye \n", said);
        judge(&said(7, "bye")).unwrap();
        assert!(judge(&said(8, "bye")).is_err());
        assert!(judge(&said(7, "by")).is_err());
        let mut longer = said(7, "bye");
        longer.lines.insert(2, format!("{CONSOLE}more"));
        assert!(judge(&longer).is_err());
    }
}
