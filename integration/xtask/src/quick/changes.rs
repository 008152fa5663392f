//! What has changed in the working tree, as git knows it.

use crate::error::Error;
use std::path::PathBuf;
use std::process::Command;

/// Names of the main branch, the first that there is counts.
const MAIN: [&str; 5] = [
    "origin/HEAD",
    "origin/main",
    "main",
    "origin/master",
    "master",
];

/// The files that have changed since a commit.
#[derive(Debug)]
pub(super) struct Changes {
    /// Since when, in words.
    pub(super) since: String,
    /// Files that were added, changed or deleted, committed or not, from the workspace's directory.
    pub(super) files: Vec<PathBuf>,
}

impl Changes {
    /// Asks git what has changed since a commit, or since the merge base with the main branch.
    ///
    /// # Errors
    /// When git cannot say: there is no git, no repository, or no such commit.
    pub(super) fn since(base: Option<&str>) -> Result<Self, Error> {
        let (commit, since) = match base {
            Some(base) => (git(&["merge-base", "HEAD", base])?, base.to_owned()),
            None => main_branch()?,
        };
        let commit = commit.trim();
        // With -z names are not quoted, whatever is in them.
        let tracked = git(&[
            "diff",
            "--name-only",
            // The old name of a file has changed, too.
            "--no-renames",
            "--relative",
            "-z",
            commit,
            "--",
        ])?;
        let untracked = git(&["ls-files", "--others", "--exclude-standard", "-z"])?;
        let names = tracked.split('\0').chain(untracked.split('\0'));
        Ok(Self {
            since: format!("{since} ({})", commit.get(..9).unwrap_or(commit)),
            files: names
                .filter(|name| !name.is_empty())
                .map(PathBuf::from)
                .collect(),
        })
    }
}

/// Returns the merge base with the main branch, and what to call it; the last commit where there is
/// no such branch.
fn main_branch() -> Result<(String, String), Error> {
    for name in MAIN {
        let commit = format!("{name}^{{commit}}");
        if git(&["rev-parse", "--verify", "--quiet", &commit]).is_ok() {
            let base = git(&["merge-base", "HEAD", name])?;
            return Ok((base, format!("the merge base with {name}")));
        }
    }
    let head = git(&["rev-parse", "--verify", "HEAD"])?;
    Ok((head, "the last commit".into()))
}

/// Returns what git prints.
fn git(arguments: &[&str]) -> Result<String, Error> {
    let mut git = Command::new("git");
    git.args(arguments).current_dir(crate::workspace());
    let output = git
        .output()
        .map_err(|error| Error::Git(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or_default();
    let said = said.trim_start_matches("fatal: ");
    // merge-base fails without a word where there is no common ancestor.
    Err(Error::Git(if said.is_empty() {
        format!("`git {}` found nothing", arguments.join(" "))
    } else {
        said.to_owned()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_is_not_there_is_a_sentence() {
        let error = Changes::since(Some("no-such-commit")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("--base") && text.contains("--all"), "{text}");
    }
}
