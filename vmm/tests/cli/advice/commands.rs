//! What commands can be told.

use super::TestDirectory;

/// A command line, the advice that it gets, and lines as it says with their exit codes.
type Line = (&'static str, &'static str, &'static [(&'static str, i32)]);

const LINES: [Line; 17] = [
    (
        "boot --kernel off",
        "(say --kernel-format image if it is one)",
        &[("boot --kernel off --kernel-format image", 0)],
    ),
    (
        "boot --kernel off --kernel-format elf",
        "use auto or zimage or image",
        &[
            (
                "boot --kernel zImage --kernel-format auto --timeout 0.001",
                124,
            ),
            (
                "boot --kernel zImage --kernel-format zimage --timeout 0.001",
                124,
            ),
            ("boot --kernel off --kernel-format image", 0),
        ],
    ),
    (
        "boot --kernel off --kernel-format image --console=",
        "use stdio, none or a file's",
        &[
            ("boot --kernel off --kernel-format image --console stdio", 0),
            ("boot --kernel off --kernel-format image --console none", 0),
            ("boot --kernel off --kernel-format image --console file", 0),
        ],
    ),
    (
        "boot --kernel off --kernel-format image --timeline out.pdf",
        "use .html, .txt, .json or .trace.json",
        &[
            (
                "boot --kernel off --kernel-format image --timeline out.html",
                0,
            ),
            (
                "boot --kernel off --kernel-format image --timeline out.txt",
                0,
            ),
            (
                "boot --kernel off --kernel-format image --timeline out.json",
                0,
            ),
            (
                "boot --kernel off --kernel-format image --timeline out.trace.json",
                0,
            ),
        ],
    ),
    (
        "boot --kernel off --kernel-format image --timeout 0",
        "write a number of seconds above 0 and up to 1000000000",
        &[
            ("boot --kernel off --kernel-format image --timeout 0.5", 0),
            (
                "boot --kernel off --kernel-format image --timeout 1000000000",
                0,
            ),
        ],
    ),
    (
        "boot --kernel off --kernel-format image --json off",
        "would overwrite the kernel off: name another file",
        &[("boot --kernel off --kernel-format image --json a", 0)],
    ),
    (
        "boot --kernel off --kernel-format image --json a --console ./a",
        "name two files",
        &[(
            "boot --kernel off --kernel-format image --json a --console b",
            0,
        )],
    ),
    (
        "boot --kernel off --kernel-format image --json cache/blobs/a",
        "name another place",
        &[("boot --kernel off --kernel-format image --json a", 0)],
    ),
    (
        "boot --kernel off --kernel-format image --disk disk0=",
        "cannot open the disk",
        &[("boot --kernel off --kernel-format image --disk disk", 0)],
    ),
    (
        "snapshot save snap --kernel zImage",
        "say --at SECONDS, --at-instruction N, --expect REGEX or --probe '... { stop }'",
        &[
            ("snapshot save snap --kernel zImage --at 0.001", 0),
            ("snapshot save snap --kernel zImage --at-instruction 9", 0),
            (
                "snapshot save snap --kernel zImage --expect x --timeout 0.001",
                124,
            ),
        ],
    ),
    (
        "snapshot save snap --kernel zImage --probe f{print(r0)}",
        "no moment to save at is named",
        &[(
            "snapshot save snap --kernel zImage --at-instruction 9 --disk disk",
            0,
        )],
    ),
    (
        "snapshot restore snap --disk disk",
        "write disk0=FILE for the first one, disk1=FILE for the second",
        &[(
            "snapshot restore snap --disk disk0=disk --timeout 0.01 --record rec",
            124,
        )],
    ),
    (
        "snapshot restore snap --disk disk0=disk --disk disk0=disk",
        "name one",
        &[(
            "snapshot restore snap --disk disk0=disk --timeout 0.01",
            124,
        )],
    ),
    (
        "boot --replay rec --cpus 2",
        "name only what looks on or ends the run sooner beside --replay",
        &[
            ("boot --replay rec --json a", 124),
            ("boot --replay rec --timeout 0.001", 124),
        ],
    ),
    (
        "boot --replay rec --disk disk0=disk,ro",
        "as disk0=FILE",
        &[("boot --replay rec --disk disk0=disk", 124)],
    ),
    (
        "boot --kernel zImage --accel kvm --time virtual",
        "say --time host",
        // Where there is no KVM, another sentence says so.
        &[],
    ),
    (
        "boot --kernel zImage --accel fast",
        "use auto or emulated or kvm",
        &[
            ("boot --kernel zImage --accel auto --timeout 0.001", 124),
            ("boot --kernel zImage --accel emulated --timeout 0.001", 124),
        ],
    ),
];

#[test]
fn advice_about_commands_helps() {
    let place = TestDirectory::new();
    for (mistake, words, advice) in LINES {
        place.refuses(mistake, &[words]);
        for (line, code) in advice {
            let ended = place.run(line);
            assert_eq!(ended.code, Some(*code), "{line}: {ended:?}");
        }
    }
    // Also of a probe's action, of which such kernels have no place to be.
    place.refuses(
        "boot --kernel zImage --probe f{halt}",
        &["say print, set, return, goto or stop"],
    );
    for action in ["print(r0)", "set(r0, 1)", "return 0", "goto g+4", "stop"] {
        let probe = format!("f {{ {action} }}");
        let ended = place.boot(&["--timeout", "0.001", "--probe", &probe]);
        assert!(
            !ended.stderr.contains("cannot read the probe"),
            "{action}: {ended:?}"
        );
    }
}
