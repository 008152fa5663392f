//! Following what a guest's `/init` says on the console: that it is ready, and how each of its
//! commands ended.

/// Longest line that is looked at; what `/init` says is far shorter.
const MAX_LINE: usize = 256;
/// Most commands whose statuses are kept; a kernel command line holds fewer.
const MAX_COMMANDS: usize = 1024;

/// Reads a console line by line and keeps what `/init` said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commands {
    line: Vec<u8>,
    ready: bool,
    statuses: Vec<u8>,
    failure: Option<String>,
}

impl Commands {
    /// Goes on with `bytes`.
    pub fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    // The guest's terminal layer ends lines with CR LF, and a command may print any
                    // bytes.
                    self.line(String::from_utf8_lossy(&line).trim_end());
                }
                // A guest that never ends its line must not fill the host's memory.
                _ if self.line.len() < MAX_LINE => self.line.push(byte),
                _ => {}
            }
        }
    }

    fn line(&mut self, line: &str) {
        let Some(words) = line.strip_prefix("guest: ") else {
            return;
        };
        if words == "ready" {
            self.ready = true;
        } else if let Some(why) = words.strip_prefix("init failed: ") {
            self.failure = Some(why.to_owned());
        } else if let Some((number, status)) =
            words.strip_prefix("command ").and_then(|rest| rest.split_once(" exited with "))
            && let (Ok(number), Ok(status)) = (number.parse::<usize>(), status.parse())
            // In order, so that a line which a guest's command made up does not count for another
            // one.
            && number == self.statuses.len() + 1
            && number <= MAX_COMMANDS
        {
            self.statuses.push(status);
        }
    }

    /// Returns whether the userspace came up.
    pub const fn ready(&self) -> bool {
        self.ready
    }

    /// Returns the exit statuses of the commands that ended, in order.
    pub fn statuses(&self) -> &[u8] {
        &self.statuses
    }

    /// Returns what is wrong if `wanted` commands were to succeed.
    pub fn complaint(&self, wanted: usize) -> Option<String> {
        // A failure of `/init` comes first: it is the reason for whatever is missing below.
        if let Some(why) = &self.failure {
            return Some(format!("the guest's init failed: {why}"));
        }
        if let Some(at) = self.statuses.iter().position(|status| *status != 0) {
            return Some(format!(
                "command {} exited with {}",
                at + 1,
                self.statuses[at]
            ));
        }
        (self.statuses.len() < wanted).then(|| match self.statuses.len() {
            0 if !self.ready => "the guest did not come as far as its first command".into(),
            done => format!("command {} did not end", done + 1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Commands {
        let mut commands = Commands::default();
        text.as_bytes()
            .chunks(3)
            .for_each(|chunk| commands.feed(chunk));
        commands
    }

    #[test]
    fn statuses_are_read_in_order() {
        let good = of("[ 0.1] x\r\nguest: ready\r\nhello\r\nguest: command 1 exited with 0\r\n");
        assert!(good.ready());
        assert_eq!((good.statuses(), good.complaint(1)), (&[0][..], None));
        assert_eq!(good.complaint(2).unwrap(), "command 2 did not end");
        let bad =
            of("guest: ready\nguest: command 1 exited with 0\nguest: command 2 exited with 3\n");
        assert_eq!(bad.complaint(2).unwrap(), "command 2 exited with 3");
    }

    #[test]
    fn failures_and_silence_are_told() {
        assert_eq!(of("").complaint(0), None);
        assert!(of("").complaint(1).unwrap().contains("as far as"));
        let failed = of("guest: init failed: no disk\n");
        assert_eq!(
            failed.complaint(0).unwrap(),
            "the guest's init failed: no disk"
        );
    }

    #[test]
    fn nonsense_is_ignored() {
        let text = format!(
            "guest: command 9 exited with 0\nguest: command x exited with y\nguest: command 1 exited with 300\n{}",
            "z".repeat(10_000)
        );
        let commands = of(&text);
        assert!(commands.statuses().is_empty());
        assert!(commands.line.len() <= MAX_LINE);
    }
}
