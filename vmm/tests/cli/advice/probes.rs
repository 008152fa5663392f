//! What probes can say of a kernel that runs.

use crate::{Ended, run};

/// Probes, the advice that they get, and probes as it says.
const PROBES: [(&str, &str, &str); 5] = [
    (
        "platform_probe { print(retval) }",
        "write `platform_probe@return`",
        "platform_probe@return { print(retval) }",
    ),
    (
        "platform_probe { print(x0) }",
        "this one has `r0` to `r15`, `sp`, `lr` and `pc`",
        "platform_probe { print(r0, r15, sp, lr, pc) }",
    ),
    (
        "platform_probe { print(arg0.name) }",
        "say which with `(struct NAME)arg0`",
        "platform_probe { print((struct device)arg0.name) }",
    ),
    (
        "really_probe { print(device.name) }",
        "(its arguments are dev, drv)",
        "really_probe { print(dev.name, drv.name) }",
    ),
    (
        "platform_prob",
        "neither this kernel nor a module that it loaded has a `platform_prob`",
        "platform_probe",
    ),
];

fn boot(probe: &str) -> Ended {
    let common = ["boot", "--image", "ipmmu", "--console", "none", "--quiet"];
    run(&[&common[..], &["--timeout", "0.1", "--probe", probe]].concat())
}

#[test]
fn advice_about_probes_helps() {
    for (mistake, words, advice) in PROBES {
        let ended = boot(mistake);
        assert_eq!(ended.code, Some(2), "{mistake}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{mistake}: {ended:?}");
        assert!(ended.stderr.contains(words), "{mistake}: {ended:?}");
        let ended = boot(advice);
        assert_eq!(ended.code, Some(0), "{advice}: {ended:?}");
        assert!(ended.stderr.starts_with("probe 0."), "{advice}: {ended:?}");
    }
}
