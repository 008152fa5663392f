//! A directory in which a page's commands run, with the files that they name.

use crate::markdown::Page;
use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Far beyond what any command of the pages takes on the slowest host.
const PATIENCE: Duration = Duration::from_secs(1800);
/// How long a guest may be silent before it is taken to wait at a prompt that was shown earlier.
const SILENCE: Duration = Duration::from_secs(10);
/// The program.
const VMM: &str = env!("CARGO_BIN_EXE_vmm");

/// Refuses packages, tests and examples that there are not: with `--help` cargo does not look at
/// their names.
const CARGO_NAMES: &str = r#"refuse() { echo "there is no $1" >>"$refused"; }
exists() {
    for depth in '*' '*/*' '*/*/*'; do
        for file in "$2.rs" "$2/main.rs"; do
            ! compgen -G "$depth/$1/$file" >/dev/null || return 0
        done
    done
    refuse "$2 among $1"
}
before=
for word; do
    case $before in
    -p | --package) "$cargo" pkgid --offline "$word" >/dev/null || refuse "package $word" ;;
    --test) exists tests "$word" ;;
    --example) exists examples "$word" ;;
    esac
    [ "$word" != -- ] || break
    before=$word
done
"#;

/// A directory in which commands run.
pub struct TestDirectory {
    directory: TempDir,
    toml: Option<String>,
}

impl TestDirectory {
    /// A directory for the commands of a page.
    pub fn new(page: &Page) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Pages name files of the repository by their paths in it.
        symlink(
            crate::workspace().join("docs"),
            directory.path().join("docs"),
        )
        .unwrap();
        Self {
            directory,
            toml: page.toml.clone(),
        }
    }

    /// Runs a command to its end, and returns what it printed.
    ///
    /// # Errors
    /// When it ends with another code than `wanted`.
    pub fn run(&self, text: &str, wanted: i32) -> anyhow::Result<String> {
        self.provide(text);
        let path = std::env::var("PATH").unwrap_or_default();
        let programs = Path::new(VMM).parent().unwrap().display();
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = Command::new("bash");
        command
            .args(["-e", "-o", "pipefail", "-c", text])
            .current_dir(self.directory.path())
            .env("PATH", format!("{programs}:{path}"))
            .env("NO_COLOR", "1")
            .env_remove("VMM_LOG")
            .process_group(0)
            .stdout(writer.try_clone().unwrap())
            .stderr(writer);
        let interactive =
            text.contains("--shell") || (text.contains("snapshot restore") && !text.contains('|'));
        command.stdin(if interactive {
            Stdio::piped()
        } else {
            Stdio::null()
        });
        let mut child = command.spawn().context("bash")?;
        // The command holds the writing ends, without which the output would never end.
        drop(command);
        let (said, ended) = listen(reader, child.stdin.take());
        if !ended {
            let group = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
            let _ = kill_process_group(group, Signal::KILL);
        }
        let status = child.wait().unwrap();
        let late = if ended {
            ""
        } else {
            ", stopped because it did not end"
        };
        ensure!(
            status.code() == Some(wanted) && ended,
            "{text}ended with {status}{late}, not {wanted}; it said:\n{said}"
        );
        Ok(said)
    }

    /// Has a command read but not run: the shell carries it out with programs that only look at
    /// their arguments.
    ///
    /// # Errors
    /// When one of them finds a mistake.
    pub fn read(&self, text: &str) -> anyhow::Result<()> {
        // What is for a guest's shell must not be carried out here at all; that the syntax is right
        // is known.
        if !["vmm ", "cargo ", ".ci/"]
            .iter()
            .any(|program| text.contains(program))
        {
            return Ok(());
        }
        let programs = self.directory.path().join("programs");
        stand_ins(&programs);
        let script = format!("command_not_found_handle() {{ return 0; }}\n{text}");
        // Not the one among the stand-ins.
        let output = Command::new("/bin/bash")
            .args(["-c", &script])
            .current_dir(self.directory.path())
            .env("PATH", &programs)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output();
        let Output { stdout, stderr, .. } = output.context("bash")?;
        match fs::read_to_string(programs.join("refused")) {
            Err(_) => Ok(()),
            Ok(refused) => bail!(
                "{text}has arguments that are refused: {refused}{}{}",
                String::from_utf8_lossy(&stdout),
                String::from_utf8_lossy(&stderr)
            ),
        }
    }

    /// Makes the files that a command names and that are not there.
    fn provide(&self, text: &str) {
        for word in text.split([' ', ',', '=', '\n', '\'', '"']) {
            let path = self.directory.path().join(word);
            if word.is_empty() || word.contains('/') || path.exists() {
                continue;
            }
            if word.ends_with(".img") {
                let bytes: Vec<u8> = (0..1u32 << 18)
                    .flat_map(|at| at.wrapping_mul(0x9e37_79b9).to_le_bytes())
                    .collect();
                fs::write(path, bytes).unwrap();
            } else if word == "zImage" {
                fs::copy(of_image("kernel"), path).unwrap();
            } else if word == "initrd.cpio" {
                fs::copy(of_image("initramfs"), path).unwrap();
            } else if let (Some(toml), true) = (&self.toml, word.ends_with(".toml")) {
                fs::write(path, toml).unwrap();
                self.provide(toml);
            }
        }
    }
}

/// Listens to a command until it is silent for good, and types at the prompts of a guest's shell.
/// Returns what it said, and whether it ended.
fn listen(
    mut reader: impl Read + Send + 'static,
    mut keyboard: Option<ChildStdin>,
) -> (String, bool) {
    let (sender, pieces) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            if sender.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut said = Vec::new();
    let began = Instant::now();
    let ended = loop {
        let prompted = match pieces.recv_timeout(SILENCE) {
            Ok(piece) => {
                said.extend(piece);
                said.ends_with(b"/ # ") || said.ends_with(b"/ # \x1b[6n")
            }
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => break true,
        };
        if let (true, Some(keyboard)) = (prompted, &mut keyboard) {
            // It may have ended meanwhile.
            let _ = keyboard.write_all(b"poweroff\n");
        }
        if began.elapsed() > PATIENCE {
            break false;
        }
    };
    let said = String::from_utf8_lossy(&said).replace('\r', "");
    (said, ended)
}

/// A file of the small image.
fn of_image(file: &str) -> String {
    let fetched = Command::new(VMM)
        .args(["images", "fetch", "ipmmu"])
        .output()
        .unwrap();
    assert!(fetched.status.success(), "{fetched:?}");
    let listed = Command::new(VMM)
        .args(["images", "list", "--json"])
        .output()
        .unwrap();
    let images: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let image = images
        .as_array()
        .unwrap()
        .iter()
        .find(|image| image["name"] == "ipmmu");
    image.unwrap()[file].as_str().unwrap().to_owned()
}

/// Programs that read their arguments and note those that they refuse. Everything else does
/// nothing.
fn stand_ins(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let (workspace, path) = (
        crate::workspace(),
        std::env::var("PATH").unwrap_or_default(),
    );
    let head = format!(
        "#!/bin/bash\nrefused={}/refused real={VMM} cargo={cargo} workspace={}\n",
        directory.display(),
        workspace.display()
    );
    let programs = [
        // A list is real, since the rest of the command may be made from it.
        (
            "vmm",
            "case \" $* \" in *' --list '* | *' list '*) exec \"$real\" \"$@\" ;; esac\n\
             \"$real\" \"$@\" --help >/dev/null || echo \"vmm $*\" >>\"$refused\"\n"
                .to_owned(),
        ),
        (
            "cargo",
            format!(
                "cd \"$workspace\" && PATH='{path}' || exit\n{CARGO_NAMES}\
                 \"$cargo\" \"$@\" --help >/dev/null || echo \"cargo $*\" >>\"$refused\"\n"
            ),
        ),
        (
            "bash",
            "[ -f \"$workspace/$1\" ] || echo \"bash $*\" >>\"$refused\"\n\
             case $1 in *.ci/xtask) shift; cargo xtask \"$@\" ;; esac\n"
                .to_owned(),
        ),
        ("sh", "exec /bin/sh \"$@\"\n".to_owned()),
        ("cut", "exec /usr/bin/cut \"$@\"\n".to_owned()),
        ("make", String::new()),
        (
            "git",
            "if [ \"$1 $2\" = 'bisect run' ]; then shift 2; \"$@\"; fi\n".to_owned(),
        ),
    ];
    for (name, body) in programs {
        let path = directory.join(name);
        fs::write(&path, format!("{head}{body}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}
