//! The kernel's command line.

use vmm::BoardModel;

use super::Settings;
use crate::cli::guest;

/// Returns the start of the kernel command line on `board` unless `cmdline-base` says otherwise:
/// the console from the first instruction, and a panic that ends the run instead of hanging.
pub fn default_cmdline(board: BoardModel) -> String {
    format!("console={} earlycon panic=-1", board.facts().console)
}

impl Settings {
    /// Returns base, words and commands, in this order.
    pub(super) fn whole_cmdline(&self) -> String {
        let board = self.board.unwrap_or_default();
        let base = self.cmdline_base.clone();
        let base = base.unwrap_or_else(|| default_cmdline(board));
        let words = self.cmdline.as_deref().unwrap_or_default();
        let shell = if self.shell == Some(true) {
            guest_images::SHELL_WORD
        } else {
            ""
        };
        let root = self.rootfs.map(|_| guest::root_word(board));
        let root = root.unwrap_or_default();
        let net = match self.net.is_empty() {
            true => "",
            false => guest_images::NET_WORD,
        };
        let mut parts: Vec<String> = vec![base, words.to_owned(), root];
        parts.extend([net, shell].map(str::to_owned));
        parts.extend(
            self.run
                .iter()
                .map(|command| guest_images::encode_command(command)),
        );
        parts.retain(|part| !part.is_empty());
        parts.join(" ")
    }
}
