//! Any text as a probe: it is read or refused, and what was read, shown, is read alike.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vmm::observe::probe::ast::{Action, Expr};
use vmm::observe::probe::parse;

/// The expressions of a probe that can stand in `print`.
fn expressions(text: &str) -> Vec<Expr> {
    let Ok(probe) = parse(text) else {
        return Vec::new();
    };
    let printed = probe.actions.into_iter().flat_map(|action| match action {
        Action::Print(values) => values,
        Action::Return(value) => value.into_iter().collect(),
        Action::Set(_, value) => vec![value],
        _ => Vec::new(),
    });
    printed.chain(probe.condition).collect()
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for expr in expressions(text) {
        // Shown expressions have brackets around all that nests, which may be too much of it.
        let again = format!("f {{ print({expr}) }}");
        if let Ok(probe) = parse(&again) {
            assert_eq!(probe.actions, [Action::Print(vec![expr])], "{again}");
        }
    }
});
