//! `git bisect run` with `vmm lab run`, as `docs/lab.md` tells to.
//!
//! The history is made up, the kernels are not: what each commit "builds" is a cached kernel, with
//! or without the fix of 2017 as a behaviour of the lab takes it away, or nothing that can be
//! judged.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use guest_images::{Cache, Terminal};

/// What a commit's tree builds.
enum Tree<'k> {
    /// This kernel, with a behaviour.
    Kernel(&'k Path, &'static str),
    /// The build fails.
    Nothing,
}

fn git(repository: &Path, arguments: &[&str]) -> Output {
    let output = Command::new("git")
        .args(["-c", "user.name=lab", "-c", "user.email=lab@localhost"])
        .args([
            "-c",
            "init.defaultBranch=main",
            "-c",
            "commit.gpgsign=false",
        ])
        .args(arguments)
        .current_dir(repository)
        // Whoever runs the tests may be in a hook of a repository of their own.
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .output()
        .expect("git should be installed");
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    output
}

/// Commits a tree. Its scenario expects of the kernel what a good one does.
fn commit(repository: &Path, number: usize, tree: &Tree<'_>) {
    let (kernel, behaviour) = match tree {
        Tree::Kernel(path, behaviour) => (path.display().to_string(), *behaviour),
        Tree::Nothing => ("does-not-compile".into(), "stock"),
    };
    fs::write(repository.join("kernel"), kernel).unwrap();
    let scenario = format!(
        "title = 'T'\nabout = 'A'\n[topology.shared]\nabout = 'B'\n\
         device = [{{ role = 'A', port = 'ipmmu0:3' }}, {{ role = 'B', port = 'ipmmu0:3', subject = true }}]\n\
         [trigger.rebind]\nabout = 'R'\nteardowns = 1\nsteps = ['work 0', 'rebind', 'work 1']\n\
         [[row]]\ntopology = 'shared'\ntrigger = 'rebind'\nfw-devlink = ['off']\n\
         expect.{behaviour} = {{ verdict = 'healthy' }}\n"
    );
    fs::write(repository.join("scenario.toml"), scenario).unwrap();
    fs::write(repository.join("number"), number.to_string()).unwrap();
    git(repository, &["add", "."]);
    git(
        repository,
        &["commit", "-q", "-m", &format!("commit {number}")],
    );
}

#[test]
fn the_first_bad_commit_is_found_past_what_cannot_be_judged() {
    let cache = Cache::open().unwrap();
    let kernel = |name: &str| {
        let image = cache.obtain(name, &mut Terminal::plain()).unwrap();
        image.raw_kernel.unwrap_or(image.kernel)
    };
    let (ipmmu, without_driver) = (kernel("ipmmu"), kernel("debian-armmp"));
    let directory = tempfile::tempdir().unwrap();
    let repository = directory.path();
    git(repository, &["init", "-q"]);
    fs::write(repository.join("build"), "cp \"$(cat kernel)\" zImage\n").unwrap();
    fs::write(repository.join(".gitignore"), "zImage\n").unwrap();
    let history = [
        Tree::Kernel(&ipmmu, "stock"),
        Tree::Kernel(&ipmmu, "stock"),
        Tree::Nothing,
        Tree::Kernel(&ipmmu, "stock"),
        Tree::Kernel(&ipmmu, "guard-absent"),
        // Without the IPMMU's driver nothing can be said.
        Tree::Kernel(&without_driver, "stock"),
        Tree::Kernel(&ipmmu, "guard-absent"),
        Tree::Kernel(&ipmmu, "guard-absent"),
    ];
    for (number, tree) in history.iter().enumerate() {
        commit(repository, number, tree);
    }
    let oldest = format!("HEAD~{}", history.len() - 1);
    git(repository, &["bisect", "start", "HEAD", &oldest]);
    let script = format!(
        "sh build || exit 125; '{}' lab run scenario.toml --kernel zImage",
        env!("CARGO_BIN_EXE_vmm")
    );
    let output = git(repository, &["bisect", "run", "sh", "-c", &script]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("is the first bad commit"), "{told}");
    let found = git(
        repository,
        &["show", "-s", "--format=%s", "refs/bisect/bad"],
    );
    assert_eq!(
        String::from_utf8_lossy(&found.stdout).trim(),
        "commit 4",
        "{told}"
    );
    let log = git(repository, &["bisect", "log"]);
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    // Which commits are tried is git's choice: of those that cannot be judged at least one lies in
    // the middle.
    assert!(log.contains("git bisect skip"), "{log}");
}
