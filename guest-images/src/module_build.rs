//! Compiling modules for stock kernels, with the headers and the programs of their packages.

use crate::error::IoContext;
use crate::image_spec::{Architecture, ImageSpec, Origin, OwnModule};
use crate::maker::Maker;
use crate::manifest::ModuleFile;
use crate::progress::Progress;
use crate::unpacked::write_script;
use crate::{Cache, Error, catalog, host, kernel_build, process, tree};
use std::fs;
use std::path::{Path, PathBuf};

/// Raised when the way in which the packages are prepared changes.
const FORMAT: &str = "modules 1";

/// How the versions of Debian's armhf kernels end.
const FLAVOURS: [&str; 2] = ["-armmp", "-armmp-lpae"];

/// What this host runs.
const HOST: Architecture = if cfg!(target_arch = "aarch64") {
    Architecture::Arm64
} else {
    Architecture::Amd64
};

/// Programs that are run when a module is compiled, in the directory of kbuild's package, and where
/// Debian has what they are. (Its `modpost` chooses one of several for what the kernel is.)
const PROGRAMS: [(&str, &str); 2] = [
    ("scripts/basic/fixdep", "scripts/basic/fixdep.program"),
    ("scripts/mod/modpost", "scripts/mod/modpost.real-lsb-32"),
];

/// The directories in which Debian has had the C library, below the root.
const LIBRARIES: [&str; 2] = ["lib", "usr/lib"];

/// A stock kernel, as far as its modules are concerned.
#[derive(Clone, Copy)]
struct Stock<'a> {
    /// The release's code name.
    suite: &'a str,
    /// The kernel's series, such as `6.1`.
    series: &'a str,
    /// Its version, such as `6.1.0-50-armmp`.
    version: &'a str,
}

/// Where a stock kernel's modules are compiled.
struct Headers {
    /// The headers of this kernel.
    own: PathBuf,
    /// Those that it shares with others, with the makefile.
    common: PathBuf,
}

impl Cache {
    /// Compiles the module of the C file `source` in `directory` for the kernel of a stock image,
    /// and returns its file; image and headers are obtained if they are not in the cache. Where the
    /// mirror has gone on to a newer kernel and no longer has the headers of the image's, the image
    /// is obtained anew: boot it after this.
    ///
    /// # Errors
    /// Any of [`Error`]; each says what to do.
    pub fn module(
        &self,
        image: &str,
        source: &Path,
        directory: &Path,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, Error> {
        let spec = catalog::find(image)?;
        self.host_packages(&host::packages("module"), progress)?;
        let present = self.obtain(image, progress)?.version;
        let headers = match self.headers(Stock::of(spec, &present)?, progress) {
            Err(Error::NoPackage { .. }) => {
                let renewed = self.renew(image, progress)?.version;
                self.headers(Stock::of(spec, &renewed)?, progress)?
            }
            other => other?,
        };
        let text = fs::read_to_string(source).at("read", source)?;
        let name = source.file_stem().and_then(|name| name.to_str());
        let name = name.unwrap_or("module");
        let log = self.store().build_log(spec);
        kernel_build::write_modules(directory, [(name, text.as_str())])?;
        compile(&headers, directory, &log, progress)?;
        Ok(directory.join(format!("{name}.ko")))
    }

    /// Returns the headers of a stock kernel, and what compiles with them.
    fn headers(&self, kernel: Stock<'_>, progress: &mut dyn Progress) -> Result<Headers, Error> {
        let shared = kernel.shared()?;
        let series = format!("linux-kbuild-{}", kernel.series);
        let exact = format!("linux-kbuild-{shared}");
        // Newer releases have one for each kernel.
        match self.headers_with(kernel, &exact, progress) {
            Err(Error::NoPackage { .. }) => self.headers_with(kernel, &series, progress),
            other => other,
        }
    }

    fn headers_with(
        &self,
        kernel: Stock<'_>,
        kbuild: &str,
        progress: &mut dyn Progress,
    ) -> Result<Headers, Error> {
        let Stock { suite, version, .. } = kernel;
        let shared = kernel.shared()?;
        let [own, common] =
            [version, &format!("{shared}-common")].map(|part| format!("linux-headers-{part}"));
        let packages: [(_, &[&str]); 2] = [
            (Architecture::Armhf, &[&own, &common]),
            (HOST, &[kbuild, "libc6"]),
        ];
        let home = tree::home(self.store(), &[FORMAT, suite, &own, kbuild, HOST.name()]);
        let lock = ("trees", "unpacking the headers of a kernel");
        let tree = self.unpacked(&home, lock, progress, |tree, progress| {
            let unpacked = tree::unpack(self.store(), tree, suite, &packages, progress)?;
            for program in PROGRAMS {
                wrap(tree, kbuild, program)?;
            }
            Ok(unpacked)
        })?;
        let sources = tree.join("usr/src");
        Ok(Headers {
            own: sources.join(own),
            common: sources.join(common),
        })
    }
}

impl<'a> Stock<'a> {
    fn of(spec: &'a ImageSpec, version: &'a str) -> Result<Self, Error> {
        match spec.origin {
            Origin::Stock { suite, .. } => Ok(Self {
                suite,
                series: spec.kernel,
                version,
            }),
            Origin::Built(_) => Err(no_headers(
                spec.name,
                "it is compiled here, and is no package",
            )),
        }
    }

    /// Returns the part of its version that it shares with kernels of other flavours.
    fn shared(self) -> Result<&'a str, Error> {
        FLAVOURS
            .iter()
            .find_map(|flavour| self.version.strip_suffix(flavour))
            .ok_or_else(|| no_headers(self.version, "modules are compiled for armhf kernels only"))
    }
}

fn no_headers(kernel: &str, detail: &str) -> Error {
    Error::Package {
        package: kernel.to_owned(),
        detail: detail.to_owned(),
    }
}

/// Compiles an image's own modules for its stock kernel, and stores them.
pub(crate) fn build(maker: &mut Maker<'_>, version: &str) -> Result<Vec<ModuleFile>, Error> {
    let modules = maker.spec.own_modules;
    if modules.is_empty() {
        return Ok(Vec::new());
    }
    let cache = Cache::of(maker.store);
    let kernel = Stock::of(maker.spec, version)?;
    let headers = cache.headers(kernel, maker.progress)?;
    let place = maker.scratch("own-modules")?;
    kernel_build::write_modules(&place, modules.iter().map(|own| (own.name, own.source)))?;
    let log = maker.store.build_log(maker.spec);
    compile(&headers, &place, &log, maker.progress)?;
    let store = |OwnModule { name, .. }: &OwnModule| {
        let file = place.join(format!("{name}.ko"));
        Ok(ModuleFile {
            name: (*name).to_owned(),
            file: maker.store.blobs().adopt(&file)?,
        })
    };
    modules.iter().map(store).collect()
}

/// Compiles the modules whose sources are in `place`.
fn compile(
    headers: &Headers,
    place: &Path,
    log: &Path,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    let mut make = process::command("make");
    make.arg("-C").arg(&headers.own);
    // The makefile there includes this one from where the packages would be installed.
    make.arg("-f").arg(headers.common.join("Makefile"));
    make.arg(format!("KBUILD_OUTPUT={}", headers.own.display()));
    make.arg(format!("M={}", place.display()));
    // The headers ask for the very compiler of the kernel; the host's is taken, whichever that is.
    make.args([
        "CROSS_COMPILE=arm-linux-gnueabihf-",
        "CC=arm-linux-gnueabihf-gcc",
    ]);
    // No debugging information, which would depend on where the cache is.
    make.args(["KCFLAGS=-g0", "modules"]);
    kernel_build::forget_settings(&mut make);
    let doing = "compiling a module for a stock kernel";
    kernel_build::quick_make(progress, log, place, make, doing)
}

/// Replaces a program of kbuild's package by a script that runs it with the C library of its own
/// release, for the host may have an older one.
fn wrap(tree: &Path, kbuild: &str, (name, program): (&str, &str)) -> Result<(), Error> {
    let directory = Path::new("usr/lib").join(kbuild);
    let (script, program) = (directory.join(name), directory.join(program));
    let (at, real) = (tree.join(&script), tree.join(&program));
    if !real.exists() {
        fs::rename(&at, &real).at("renamed", &at)?;
    }
    let loader = loader(tree)?;
    let libraries = loader.parent().unwrap_or(&loader);
    // The cache may be moved, and what is called is a link.
    let text = format!(
        "#!/bin/sh\nself=$(readlink -f \"$0\")\ntree=${{self%/{}}}\n\
         exec \"$tree/{}\" --library-path \"$tree/{}\" \"$tree/{}\" \"$@\"\n",
        script.display(),
        loader.display(),
        libraries.display(),
        program.display(),
    );
    write_script(&at, &text)
}

/// Returns where the dynamic loader of the C library's package is, below `tree`.
fn loader(tree: &Path) -> Result<PathBuf, Error> {
    for library in LIBRARIES {
        let directory = tree.join(library);
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries {
            let directory = entry.at("read", &directory)?.path();
            let Ok(files) = fs::read_dir(&directory) else {
                continue;
            };
            let mut names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
            if let Some(name) = names.find(|name| name.starts_with("ld-linux-")) {
                let path = directory.join(name);
                return Ok(path.strip_prefix(tree).unwrap_or(&path).to_owned());
            }
        }
    }
    Err(no_headers("libc6", "it has no dynamic loader"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn versions_name_what_they_share() {
        let shared = |version| {
            let suite = "trixie";
            let series = "6.12";
            let kernel = Stock {
                suite,
                series,
                version,
            };
            kernel.shared().map_err(|error| error.to_string())
        };
        assert_eq!(shared("6.1.0-50-armmp").unwrap(), "6.1.0-50");
        assert_eq!(shared("6.12.1+deb13-armmp-lpae").unwrap(), "6.12.1+deb13");
        let sentence = shared("6.12.1-arm64").unwrap_err();
        assert!(sentence.contains("armhf kernels only"), "{sentence}");
        let spec = catalog::find("ipmmu").unwrap();
        let sentence = Stock::of(spec, "6.1").map(|_| ()).unwrap_err().to_string();
        assert!(sentence.contains("compiled here"), "{sentence}");
    }

    /// The script runs the program with the loader of the tree, wherever that was moved to, and
    /// when called through a link.
    #[test]
    fn a_program_runs_with_the_library_of_its_release() {
        let directory = tempfile::tempdir().unwrap();
        let (made, moved) = (
            directory.path().join("made"),
            directory.path().join("moved"),
        );
        let write = |path: &str, text: &str| {
            let path = made.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        write(
            "lib/x-linux-gnu/ld-linux-x.so.2",
            "#!/bin/sh\necho \"$@\"\n",
        );
        write("usr/lib/kbuild/scripts/basic/fixdep", "the program");
        wrap(&made, "kbuild", PROGRAMS[0]).unwrap();
        fs::rename(&made, &moved).unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(moved.join("usr/lib/kbuild/scripts"), &link).unwrap();
        let mut command = process::command("sh");
        let script = link.join("basic/fixdep");
        let (outcome, said) = process::output(command.arg(script).arg("a b")).unwrap();
        assert!(outcome.status.success());
        let tree = moved.display();
        let program = "usr/lib/kbuild/scripts/basic/fixdep.program";
        let expected = format!("--library-path {tree}/lib/x-linux-gnu {tree}/{program} a b\n");
        assert_eq!(said, expected);
        assert_eq!(
            fs::read_to_string(moved.join(program)).unwrap(),
            "the program"
        );
    }
}
