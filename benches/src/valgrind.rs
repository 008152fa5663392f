//! Counts of valgrind's simulated processor, where the clock cannot tell why.

use std::collections::HashMap;
use std::process::Command;
use std::{io, iter};

use anyhow::{Context, bail, ensure};

/// Runs `command` under callgrind with `flags`, and returns what it has counted: its events by
/// their names, such as `Ir`, the instructions.
///
/// # Errors
/// There is no valgrind, or the program fails in it.
pub fn callgrind(flags: &[&str], command: &Command) -> anyhow::Result<HashMap<String, u64>> {
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(flags)
        .arg(command.get_program())
        .args(command.get_args());
    let output = match valgrind.output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("there is no valgrind here; install it: apt-get install valgrind")
        }
        output => output.context("cannot run valgrind")?,
    };
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind failed:\n{text}");
    parse(&text).with_context(|| format!("valgrind says something else than its counts:\n{text}"))
}

/// Finds the sums in what callgrind prints at its end; `None` if it simulated nothing.
fn parse(text: &str) -> Option<HashMap<String, u64>> {
    let after = |what| text.lines().find_map(|line| Some(line.split_once(what)?.1));
    let names = after("Events    :")?.split_whitespace();
    let sums = after("Collected :")?.split_whitespace();
    // It leaves zeros at the end out.
    let sums = sums
        .map(|sum| sum.parse().ok())
        .chain(iter::repeat(Some(0)));
    let sums: HashMap<_, _> = names
        .zip(sums)
        .map(|(name, sum)| Some((name.to_owned(), sum?)))
        .collect::<Option<_>>()?;
    sums.get("Ir").is_some_and(|sum| *sum > 0).then_some(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_callgrind_prints() {
        let text = "==1== Events    : Ir Dr Dw I1mr D1mr D1mw ILmr DLmr DLmw\n\
                    ==1== Collected : 100 20 10 1 2 3 4 5 6\n==1== \n";
        let of = |text: &str, name: &str| parse(text)?.get(name).copied();
        assert_eq!(of(text, "Ir"), Some(100));
        assert_eq!(of(text, "DLmw"), Some(6));
        let short = text.replace(" 5 6", "");
        assert_eq!(of(&short, "DLmr"), Some(0));
        let alone = "==1== Events    : Ir\n==1== Collected : 770362117\n";
        assert_eq!(of(alone, "Ir"), Some(770_362_117));
        // As without a function of that name.
        assert_eq!(parse(&text.replace(": 100 20 10 1 2 3 4 5 6", ": 0")), None);
        assert_eq!(parse(&text.replace("100", "many")), None);
        assert_eq!(parse(""), None);
    }
}
