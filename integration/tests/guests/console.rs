//! What is typed at a shell in one go arrives, whatever its length, in a booted and in a restored
//! guest.

use integration::{Guest, Live, disk};

/// Around the 256 bytes that Linux's driver reads at an interrupt, the 16 of the FIFO and the 1024
/// of the shell's line.
const LENGTHS: [usize; 16] = [
    1, 14, 15, 16, 17, 240, 255, 256, 257, 258, 260, 300, 500, 512, 768, 1000,
];

/// Boots a guest to a shell at its prompt.
fn shell(host_time: bool) -> Live {
    let guest = Guest::image("ipmmu").cmdline(guest_images::SHELL_WORD);
    let guest = if host_time { guest.host_time() } else { guest };
    let mut live = guest.start();
    live.run_until("/ # ");
    live
}

/// Types `bytes` in one go, and nothing more until `answer` is there.
fn type_in(live: &mut Live, bytes: &[u8], answer: &str) {
    let input = live.machine().console_input();
    assert_eq!(input.send(bytes), bytes.len());
    // Held while it is waited for: a sleeping guest may be typed at.
    live.run_until(answer);
    drop(input);
}

/// Returns a line of `length` bytes with its end that the shell answers.
fn line(length: usize) -> (Vec<u8>, String) {
    let (start, end) = ("x=", ";echo got=${#x}.\r");
    match length.checked_sub(start.len() + end.len()) {
        Some(fill) => {
            let line = format!("{start}{}{end}", "a".repeat(fill));
            (line.into(), format!("got={fill}."))
        }
        // An empty one, or a comment, after which there is another prompt.
        None => (
            [vec![b'#'; length - 1], vec![b'\r']].concat(),
            "\n/ # ".into(),
        ),
    }
}

fn takes_every_length(live: &mut Live) {
    for length in LENGTHS {
        let (bytes, answer) = line(length);
        assert_eq!(bytes.len(), length);
        type_in(live, &bytes, &answer);
    }
    // More than a line holds, as several.
    for length in [4095, 5000] {
        let mut bytes = b"n=0\r".to_vec();
        let one = format!("n=$((n+1));: {}\r", "b".repeat(180));
        let lines = (length - 64) / one.len();
        bytes.extend(one.repeat(lines).bytes());
        let end = "; echo all=$n.\r";
        bytes.extend(vec![b' '; length - bytes.len() - end.len() - 1]);
        bytes.extend(format!(":{end}").bytes());
        assert_eq!(bytes.len(), length);
        type_in(live, &bytes, &format!("all={lines}."));
    }
    // And to a program that takes bytes as they come.
    for length in [1, 255, 256, 257, 4095, 4096, 5000] {
        let bytes = disk::random_bytes(length, length as u64);
        let command =
            format!("stty raw -echo; echo go''ne; head -c {length} | sha256sum; stty sane\r");
        type_in(live, command.as_bytes(), "gone");
        type_in(live, &bytes, &disk::sha256(&bytes));
        type_in(live, b"\r", "/ # ");
    }
}

#[test]
fn a_booted_guest_takes_input_of_every_length_in_virtual_time() {
    takes_every_length(&mut shell(false));
}

#[test]
fn a_booted_guest_takes_input_of_every_length_in_host_time() {
    takes_every_length(&mut shell(true));
}

#[test]
fn a_restored_guest_takes_input_of_every_length_in_virtual_time() {
    takes_every_length(&mut shell(false).restored());
}

#[test]
fn a_restored_guest_takes_input_of_every_length_in_host_time() {
    takes_every_length(&mut shell(true).restored());
}

#[test]
fn what_is_typed_ahead_of_the_shell_is_not_lost() {
    let live = Guest::image("ipmmu")
        .cmdline(guest_images::SHELL_WORD)
        .start();
    let typed =
        "echo abcdefghijklmnopqrstuvwxyz 0123456789 ABCDEFGHIJKLMNOPQRSTUVWXYZ; poweroff -f\r";
    live.machine().console_input().send(typed.as_bytes());
    let run = live.finish();
    let text = run.text();
    let shown = "\nabcdefghijklmnopqrstuvwxyz 0123456789 ABCDEFGHIJKLMNOPQRSTUVWXYZ\n";
    assert!(text.contains(shown), "{text}");
}
