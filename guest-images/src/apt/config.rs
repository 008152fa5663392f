//! The private configuration that apt is run with.

use crate::Error;
use crate::blob::write_atomically;
use crate::error::IoContext;
use crate::image_spec::Architecture;
use crate::process;
use std::fs;
use std::path::{Path, PathBuf};

/// Settings of the host that are taken over: how to reach the network, and how strict to be about
/// the age of an index (a host that uses a frozen mirror has said so). Signatures are always
/// verified.
const INHERITED: [&str; 8] = [
    "Acquire::http::",
    "Acquire::https::",
    "Acquire::Retries",
    "Acquire::Check-Valid-Until",
    "Acquire::Check-Date",
    "Acquire::Max-ValidTime",
    "Acquire::ForceIPv4",
    "Acquire::ForceIPv6",
];

/// Returns the configuration file of a release.
pub(super) fn path(root: &Path, suite: &str) -> PathBuf {
    root.join(suite).join("apt.conf")
}

/// Writes the configuration of a release and makes the directories that it names.
pub(super) fn write(
    root: &Path,
    suite: &str,
    architecture: Architecture,
    mirror: &str,
    keyrings: &[PathBuf],
) -> Result<(), Error> {
    let base = root.join(suite);
    for directory in [
        "etc/apt.conf.d",
        "etc/preferences.d",
        "state/lists/partial",
        "cache/archives/partial",
    ] {
        let directory = base.join(directory);
        fs::create_dir_all(&directory).at("created", &directory)?;
    }
    // Empty: what this host has installed has no say in which package is chosen.
    write_atomically(&base.join("status"), b"")?;
    write_atomically(
        &base.join("etc/sources.list"),
        sources(suite, architecture, mirror, keyrings).as_bytes(),
    )?;
    let host =
        process::output(process::command("apt-config").args(["dump", "--format", "%F \"%v\";%n"]))?
            .1;
    write_atomically(
        &path(root, suite),
        text(&base, architecture, &host).as_bytes(),
    )
}

/// Returns the source list: one suite only. (The armhf indexes of some -security and -updates
/// suites do not load.) Security updates are beside the archive proper, under a name of their own.
fn sources(suite: &str, architecture: Architecture, mirror: &str, keyrings: &[PathBuf]) -> String {
    let part = if suite.ends_with("-security") {
        "-security"
    } else {
        ""
    };
    let keyrings: Vec<_> = keyrings
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    format!(
        "deb [arch={} signed-by={}] {mirror}{part} {suite} main\n",
        architecture.name(),
        keyrings.join(",")
    )
}

/// Returns the configuration file; `host` is the dump of the host's own.
fn text(base: &Path, architecture: Architecture, host: &str) -> String {
    let base = base.display();
    let architecture = architecture.name();
    // As root apt would download as the user `_apt`, who may not be able to write here.
    let mut text = format!(
        "Dir \"{base}/\";\n\
         Dir::State \"{base}/state\";\n\
         Dir::State::status \"{base}/status\";\n\
         Dir::Cache \"{base}/cache\";\n\
         Dir::Etc \"{base}/etc\";\n\
         APT::Architecture \"{architecture}\";\n\
         APT::Architectures {{ \"{architecture}\"; }};\n\
         Acquire::Languages \"none\";\n\
         Acquire::GzipIndexes \"true\";\n\
         APT::Sandbox::User \"root\";\n"
    );
    for line in host.lines().filter(|line| is_inherited(line)) {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// Returns whether a line of the host's configuration is taken over. One without a value only opens
/// a section, and one with a quotation mark inside cannot be written down again.
fn is_inherited(line: &str) -> bool {
    INHERITED.iter().any(|prefix| line.starts_with(prefix))
        && !line.ends_with(" \"\";")
        && line.matches('"').count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_over_the_network_settings_only() {
        let host = "APT::Architecture \"amd64\";\nAcquire::http \"\";\nAcquire::http::Proxy \"http://proxy:3128\";\n\
                    Acquire::AllowInsecureRepositories \"1\";\nAcquire::Check-Valid-Until \"false\";\n\
                    Acquire::http::User-Agent \"\";\nAcquire::http::X \"a\"b\";\nDir::Etc \"etc/apt\";\n";
        let text = text(Path::new("/c/apt/trixie"), Architecture::Armhf, host);
        let inherited: Vec<_> = text.lines().filter(|line| host.contains(*line)).collect();
        assert_eq!(
            inherited,
            [
                "Acquire::http::Proxy \"http://proxy:3128\";",
                "Acquire::Check-Valid-Until \"false\";"
            ]
        );
        assert!(text.contains("Dir::State::status \"/c/apt/trixie/status\";"));
    }

    #[test]
    fn source_list_is_signed() {
        let line = sources(
            "forky",
            Architecture::Armhf,
            "http://m/debian",
            &["/a.gpg".into(), "/b.gpg".into()],
        );
        assert_eq!(
            line,
            "deb [arch=armhf signed-by=/a.gpg,/b.gpg] http://m/debian forky main\n"
        );
        let line = sources(
            "bookworm-security",
            Architecture::Amd64,
            "http://m/debian",
            &["/a.gpg".into()],
        );
        assert_eq!(
            line,
            "deb [arch=amd64 signed-by=/a.gpg] http://m/debian-security bookworm-security main\n"
        );
    }
}
