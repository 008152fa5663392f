//! Any text as a probe: it is read or refused, and what was read, shown, is read alike.

use arbitrary::{Arbitrary, Unstructured};
use vmm::introspect::probe::ast::{Action, Expr};
use vmm::introspect::probe::parse;

/// Pieces of the notation.
const PIECES: &[&str] = &[
    "?",
    " ",
    "f",
    "m:",
    ":",
    "+",
    "0x10",
    "7",
    "@return",
    "@",
    "if ",
    "{",
    "}",
    ";",
    "print(",
    "set(",
    "return ",
    "goto ",
    "stop",
    ")",
    ",",
    "||",
    "&&",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "-",
    "&",
    "|",
    "!",
    "(",
    "\"%d\"",
    "dev",
    ".",
    "->",
    "(struct device)",
    "retval",
    "cpu",
    "caller",
    "arg0",
    "r0",
    "EINVAL",
    "-EPROBE_DEFER",
    "$x",
    "1_000",
    "18446744073709551615",
    "name",
    "[",
    "]",
    "\u{e9}",
    "\"",
    "*",
    "struct ",
    "f { print(",
    "f if ",
    "dev->name",
    "sp",
];

/// An input: any text, or pieces of the notation.
#[derive(Arbitrary, Debug)]
enum Case<'a> {
    Any(&'a str),
    Pieces(&'a [u8]),
}

/// Returns the expressions of a probe that can stand in `print`.
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

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    let text = match Case::arbitrary_take_rest(Unstructured::new(data)) {
        Ok(Case::Any(text)) => text.to_owned(),
        Ok(Case::Pieces(pieces)) => {
            let piece = |piece: &u8| PIECES[usize::from(*piece) % PIECES.len()];
            pieces.iter().map(piece).collect()
        }
        Err(_) => return,
    };
    for expr in expressions(&text) {
        // Shown expressions have brackets around all that nests, which may be too much of it.
        let again = format!("f {{ print({expr}) }}");
        if let Ok(probe) = parse(&again) {
            assert_eq!(probe.actions, [Action::Print(vec![expr])], "{again}");
        }
    }
}
