//! The lifecycle lab on the compiled kernel: each behaviour, and that a verdict can be wrong.

mod behaviours;
mod mistakes;
mod notifiers;
mod own_mapping;
mod probes;
mod stock;
mod unmapped;
mod verdicts;
mod virtio;

use guest_images::Terminal;
use vmm::lab::{Case, Judged, Lab};
use vmm::{GuestKernel, KernelChoice};

/// Returns the kernel that a case runs on.
fn kernel(case: &Case) -> GuestKernel {
    let (image, mut terminal) = (&case.machine.image, Terminal::plain());
    let kernel = GuestKernel::obtain(image, &KernelChoice::OfImage, &mut terminal);
    let mut kernel = kernel.unwrap_or_else(|error| panic!("there is no kernel: {error}"));
    if let Err(error) = kernel.obtain_board(case.topology.board, &mut terminal) {
        panic!("there are no files of the board: {error}");
    }
    kernel
}

/// Returns the only case of this name.
fn case(name: &str) -> Case {
    let lab = Lab::shipped().expect("the shipped scenarios are well-formed");
    let mut cases = lab.select(name).expect("a case of that name");
    assert_eq!(cases.len(), 1, "{name} is not one case");
    cases.remove(0)
}

/// Runs a case, which has to be judged.
fn judge(case: &Case) -> Judged {
    match vmm::lab::run(case, &kernel(case)) {
        Ok(judged) => judged,
        Err(error) => panic!("{} cannot be judged: {error}", case.name),
    }
}

/// Runs a shipped case, which has to come out as it says.
fn expected(name: &str) -> Judged {
    let judged = judge(&case(name));
    assert!(
        judged.judgement.is_expected(),
        "{name}: {:?}",
        judged.judgement
    );
    judged
}
