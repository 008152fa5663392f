//! Landlock: which files can be opened.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, NetPort,
    PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope,
};

use super::super::UserError;
use super::is_off;
use super::policy::Policy;

/// The rights that rules are written for; a kernel with an older ABI enforces what it knows of
/// them.
const KNOWN: ABI = ABI::V6;

/// Returns the rights in a directory in which files appear: they are made there, under one name and
/// then another, and what is in the place of one is replaced.
fn place() -> BitFlags<AccessFs> {
    // Without Refer: an output is moved within its directory only.
    AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::RemoveFile
}

fn read() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

/// Returns the rights on a file that is read and written; a block device and KVM are asked for more
/// than their bytes.
fn write() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev
}

impl Policy {
    /// Restricts this thread, and those that it starts, to these files. The host's own that every
    /// machine needs are added: KVM, and what this process is told of itself.
    ///
    /// # Errors
    /// The kernel has Landlock and refuses the rules.
    pub fn enter(mut self) -> Result<(), UserError> {
        if is_off() {
            return Ok(());
        }
        self.write
            .extend(["/dev/kvm", "/dev/null"].map(PathBuf::from));
        self.read.push("/proc/self".into());
        // What this process was given; it may have to be opened again, to be read without waiting.
        // Of a pipe or socket that is allowed in any case.
        for number in 0..3 {
            let path = PathBuf::from(format!("/proc/self/fd/{number}"));
            let kind = path.metadata().map(|metadata| metadata.file_type());
            if kind.is_ok_and(|kind| kind.is_file() || kind.is_char_device()) {
                self.write.push(path);
            }
        }
        // For the backtrace of a panic.
        self.read.extend(std::env::current_exe().ok());
        match restrict(&self) {
            Ok(Some(how)) => tracing::info!("sandbox: files are restricted ({how})"),
            Ok(None) => {
                tracing::info!("sandbox: files are not restricted: this kernel has no Landlock");
            }
            Err(error) => {
                return Err(UserError::new(format!(
                    "cannot restrict the files of this process: {error}; --sandbox off does without"
                )));
            }
        }
        Ok(())
    }
}

/// Restricts this thread, and those that it starts, to what `policy` names. Returns words for how
/// that is enforced; `None` if the kernel cannot.
fn restrict(policy: &Policy) -> Result<Option<String>, RulesetError> {
    let mut net = AccessNet::from_all(KNOWN);
    if policy.connects {
        net.remove(AccessNet::ConnectTcp);
    }
    let mut rules = Ruleset::default()
        // Best effort: an older kernel enforces what it knows, and the caller reports how much that
        // is.
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        // What is handled and has no rule below is refused: all connections, unless the machine has
        // a network of the host's, and all ports but some.
        .handle_access(net)?
        // Signals to processes outside, and abstract sockets, which no path names.
        .scope(Scope::from_all(KNOWN))?
        .create()?;
    for path in &policy.read {
        rules = allow(rules, path, read())?;
    }
    for path in &policy.write {
        rules = allow(rules, path, write())?;
    }
    for path in &policy.places {
        rules = allow(rules, path, place())?;
    }
    for port in &policy.ports {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
    }
    let status = rules.restrict_self()?;
    Ok(match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => None,
        (_, LandlockStatus::Available { effective_abi, .. }) => {
            Some(format!("Landlock ABI {}", effective_abi as i32))
        }
        _ => Some("Landlock".into()),
    })
}

/// Adds a rule, unless nothing is at `path`: then there is nothing to allow.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    rights: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(metadata) = path.metadata() else {
        return Ok(rules);
    };
    let Ok(found) = PathFd::new(path) else {
        return Ok(rules);
    };
    // Rights in directories mean nothing for a file, and the kernel refuses them.
    let rights = if metadata.is_dir() {
        rights
    } else {
        rights & AccessFs::from_file(KNOWN)
    };
    rules.add_rule(PathBeneath::new(found, rights))
}
