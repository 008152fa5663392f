//! A bug of a wholly stock kernel: a device that is bound to its driver again goes past its IOMMU.

use std::path::Path;

use vmm::lab::{self, Case, Judged, Lab};
use vmm::timeline::export;

use super::show::{self, line, paragraph};
use super::{guest, verdict};
use crate::cli::UserError;
use crate::cli::sandbox::Policy;

/// The run: the kernel is that of the stock image, which is there already.
const CASE: &str = "rockchip.linux-6-1.stock.on";
/// The report's name.
pub const REPORT: &str = "demo-stock";

/// Runs the case, shows what it comes to, and writes the report to `directory`. Returns whether it
/// was as expected.
pub fn run(directory: &Path) -> Result<bool, UserError> {
    paragraph(&[
        "The same kernel, with two disks, A and B, each behind a Rockchip IOMMU. B's driver is unbound and bound",
        "again, twice, as root can do in sysfs. The kernel is Debian's in every byte; the hypervisor only looks on.",
        "It calls the port of an IOMMU a uTLB, and the mappings that it translates by a context.",
        "",
    ]);
    let case = case()?;
    show::command(&format!("vmm lab run {}", case.name));
    let judged = judge(&case)?;
    line("");
    let report = lab::report(case.title.as_str(), std::slice::from_ref(&judged));
    verdict::table(&report);
    report.runs.iter().for_each(verdict::events);
    verdict::changes(&report);
    paragraph(&[
        "So B works, and nothing in the guest looks wrong but some lines of its log: from the second bind on all",
        "of B's accesses go past the IOMMU that should confine them. The kernel asks for a mapping as large as B's",
        "DMA mask, which virtio-mmio has set to 64 bits, is refused, and goes on without. 5.10 does the same; 6.12",
        "does not.",
    ]);
    let written = export::write_all(directory, REPORT, &report)
        .map_err(|error| UserError::new(error.to_string()))?;
    line("");
    paragraph(&["The report, with the timeline of the run, for a browser:"]);
    line(&format!("    {}", written.html.display()));
    Ok(judged.judgement.is_expected())
}

fn case() -> Result<Case, UserError> {
    let mut cases = Lab::shipped()?.select(CASE)?;
    // `CASE` is the full name of a scenario that is shipped, so that there is one.
    Ok(cases.remove(0))
}

/// Runs the case where a guest that broke out could do nothing else.
fn judge(case: &Case) -> Result<Judged, UserError> {
    let kernel = verdict::kernel(case)?;
    let mut policy = Policy::of_images()?;
    policy.read(&kernel.path);
    guest::apart(|| {
        policy.enter()?;
        guest::filter()?;
        verdict::judge(case, &kernel)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_the_one_that_was_fetched_before() {
        let image = case().unwrap().machine.image;
        let fetched = guest_images::catalog::find(super::super::STOCK).unwrap();
        assert_eq!(guest_images::catalog::find(&image).unwrap(), fetched);
    }
}
