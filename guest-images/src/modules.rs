//! Choosing kernel modules: which files, and in which order they must be loaded.
//!
//! Debian's packages come without `modules.dep` (it is made on installation), so the dependencies
//! are read from where `depmod` and `modprobe` have them from: each module's own `.modinfo`
//! section.

use crate::Error;
use crate::error::IoContext;
use object::{Object, ObjectSection};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A module, uncompressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Module {
    /// Its name, with underscores.
    pub name: String,
    /// Modules without which it cannot be linked.
    pub needs: Vec<String>,
    /// The ELF file.
    pub bytes: Vec<u8>,
}

impl Module {
    /// Returns where an initial file system has it, without the leading slash.
    pub fn path(&self) -> String {
        path(&self.name)
    }
}

/// Returns where an initial file system has the module of that name, without the leading slash.
fn path(name: &str) -> String {
    format!("lib/modules/{name}.ko")
}

/// Returns the text of `modules.dep`, by which `modprobe` finds modules: for each its file, and the
/// files of all that it needs, directly or not, what is needed first coming last. `modules` are in
/// an order in which they can be loaded.
pub(crate) fn dependency_list(modules: &[Module]) -> String {
    let mut all: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut list = String::new();
    for (position, module) in modules.iter().enumerate() {
        let mut needs = BTreeSet::new();
        for name in &module.needs {
            needs.insert(name.as_str());
            // Known by then, since a module comes after what it needs; in a circle some are left
            // out.
            needs.extend(all.get(name.as_str()).into_iter().flatten());
        }
        list += &format!("/{}:", module.path());
        let earlier = modules[..position].iter().rev();
        for need in earlier.filter(|earlier| needs.contains(earlier.name.as_str())) {
            list += &format!(" /{}", need.path());
        }
        list.push('\n');
        all.insert(&module.name, needs);
    }
    list
}

/// Largest module taken, uncompressed: several times the largest there is, so that a damaged file
/// cannot eat all memory.
const MAX_MODULE_SIZE: u64 = 64 << 20;

/// The modules that a module says it needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Modules without which it cannot be linked.
    pub hard: Vec<String>,
    /// Modules or features that should be there before it.
    pub soft: Vec<String>,
}

/// The files of the modules of an unpacked package.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    files: BTreeMap<String, PathBuf>,
}

impl Index {
    /// Creates an index of these modules.
    pub fn of(files: impl IntoIterator<Item = (String, PathBuf)>) -> Self {
        Self {
            files: files.into_iter().collect(),
        }
    }

    /// Takes over the modules of another index whose names are not in this one.
    pub fn extend(&mut self, other: Self) {
        for (name, path) in other.files {
            self.files.entry(name).or_insert(path);
        }
    }

    /// Returns all modules, in the order of their names.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.files
            .iter()
            .map(|(name, path)| (name.as_str(), path.as_path()))
    }

    /// Returns whether there is a module of that name.
    pub fn has(&self, name: &str) -> bool {
        self.files.contains_key(&normal(name))
    }

    /// Finds all modules below a directory.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn scan(root: &Path) -> Result<Self, Error> {
        let mut index = Self::default();
        let mut pending = vec![root.to_path_buf()];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(&directory).at("read", &directory)? {
                let entry = entry.at("read", &directory)?;
                let kind = entry.file_type().at("read", &entry.path())?;
                // Links are not followed: `modules_install` makes one, `build`, to the whole
                // source.
                if kind.is_dir() {
                    pending.push(entry.path());
                } else if let Some(name) = entry.file_name().to_str().and_then(module_name) {
                    index.files.insert(name, entry.path());
                }
            }
        }
        Ok(index)
    }

    /// Returns the wanted modules and all that they need, in an order in which they can be loaded.
    /// A wanted module that is not there is skipped: kernels differ in what they build in.
    ///
    /// # Errors
    /// A module cannot be read, or needs one that is not there.
    pub fn select(&self, wanted: &[&str]) -> Result<Vec<Module>, Error> {
        let mut selection = Selection {
            index: self,
            seen: BTreeSet::new(),
            order: Vec::new(),
        };
        for name in wanted {
            selection.add(&normal(name))?;
        }
        Ok(selection.order)
    }
}

/// A selection in the making.
struct Selection<'a> {
    index: &'a Index,
    seen: BTreeSet<String>,
    order: Vec<Module>,
}

impl Selection<'_> {
    /// Adds a module after what it needs; does nothing if it is there already or not a module. The
    /// depth of recursion is bounded by the number of files, as each is entered once.
    fn add(&mut self, name: &str) -> Result<(), Error> {
        let Some(path) = self.index.files.get(name) else {
            return Ok(());
        };
        // Noted before its needs are followed, so that circles end.
        if !self.seen.insert(name.to_owned()) {
            return Ok(());
        }
        let bytes = read_module(path)?;
        let needs = parse_needs(&bytes)
            .ok_or_else(|| damaged(path, "it is no ELF file with a .modinfo section"))?;
        for soft in &needs.soft {
            self.add_feature(soft)?;
        }
        for hard in &needs.hard {
            if !self.index.files.contains_key(hard) {
                return Err(damaged(
                    path,
                    "it needs a module that the package does not have",
                ));
            }
            self.add(hard)?;
        }
        self.order.push(Module {
            name: name.to_owned(),
            needs: needs.hard,
            bytes,
        });
        Ok(())
    }

    /// Adds what a soft dependency names. That may be an alias; the crypto API's are
    /// `crypto-ALGORITHM`, which the module `ALGORITHM_generic` always provides if it is a module
    /// at all.
    fn add_feature(&mut self, feature: &str) -> Result<(), Error> {
        let plain = feature.strip_prefix("crypto_").unwrap_or(feature);
        for name in [
            feature.to_owned(),
            plain.to_owned(),
            format!("{plain}_generic"),
        ] {
            self.add(&name)?;
        }
        Ok(())
    }
}

/// Returns the error for a module that cannot be used.
fn damaged(path: &Path, detail: &str) -> Error {
    Error::Package {
        package: path.display().to_string(),
        detail: detail.to_owned(),
    }
}

/// Returns a module's name as the kernel has it: file names use hyphens and underscores alike.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// Returns the module's name if that is the file name of one.
fn module_name(file: &str) -> Option<String> {
    file.strip_suffix(".ko")
        .or_else(|| file.strip_suffix(".ko.xz"))
        .map(normal)
}

/// Reads a module and uncompresses it.
fn read_module(path: &Path) -> Result<Vec<u8>, Error> {
    let bytes = fs::read(path).at("read", path)?;
    if path.extension().is_none_or(|extension| extension != "xz") {
        return Ok(bytes);
    }
    uncompress(path, &bytes)
}

/// Uncompresses a module, the contents of `path`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the largest module is far below 4 TiB"
)]
pub(crate) fn uncompress(path: &Path, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let mut plain = Vec::new();
    // A dictionary larger than any module serves nothing but to take memory.
    let memory = (2 * MAX_MODULE_SIZE / 1024) as u32;
    let reader = lzma_rust2::XzReader::new_mem_limit(bytes, true, memory);
    reader
        // One byte more tells a module that is too large from one that just fits.
        .take(MAX_MODULE_SIZE + 1)
        .read_to_end(&mut plain)
        .map_err(|error| damaged(path, &format!("it cannot be uncompressed ({error})")))?;
    if plain.len() as u64 > MAX_MODULE_SIZE {
        return Err(damaged(path, "it is larger than any module should be"));
    }
    Ok(plain)
}

/// Reads what a module needs out of its `.modinfo` section.
pub(crate) fn parse_needs(elf: &[u8]) -> Option<Needs> {
    let file = object::File::parse(elf).ok()?;
    Some(parse_modinfo(
        file.section_by_name(".modinfo")?.data().ok()?,
    ))
}

/// Reads the `depends=a,b` and `softdep=pre: a b post: c` entries of zero-terminated `key=value`
/// texts.
fn parse_modinfo(section: &[u8]) -> Needs {
    let mut needs = Needs::default();
    for entry in section
        .split(|byte| *byte == 0)
        // Other entries, such as the author's name, may have any encoding.
        .filter_map(|entry| std::str::from_utf8(entry).ok())
    {
        if let Some(list) = entry.strip_prefix("depends=") {
            needs
                .hard
                .extend(list.split(',').filter(|name| !name.is_empty()).map(normal));
        } else if let Some(list) = entry.strip_prefix("softdep=") {
            let mut before = false;
            for word in list.split_whitespace() {
                match word {
                    "pre:" => before = true,
                    // What is to come after a module can be loaded when it is wanted.
                    "post:" => before = false,
                    name if before => needs.soft.push(normal(name)),
                    _ => {}
                }
            }
        }
    }
    needs
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use object::{Architecture, BinaryFormat, Endianness, SectionKind, write};
    use proptest::prelude::*;

    /// Returns a module file that needs what `modinfo` says.
    pub(crate) fn fake_module(modinfo: &str) -> Vec<u8> {
        let mut file = write::Object::new(BinaryFormat::Elf, Architecture::Arm, Endianness::Little);
        let section = file.add_section(Vec::new(), b".modinfo".to_vec(), SectionKind::ReadOnlyData);
        file.append_section_data(section, modinfo.as_bytes(), 1);
        file.write().unwrap()
    }

    /// Returns a directory of such modules.
    fn directory(modules: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, modinfo) in modules {
            let path = dir.path().join("kernel/drivers").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, fake_module(modinfo)).unwrap();
        }
        dir
    }

    fn names(modules: &[Module]) -> Vec<&str> {
        modules.iter().map(|module| module.name.as_str()).collect()
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let dir = directory(&[
            (
                "ext4.ko",
                "license=GPL\0depends=jbd2,crc16\0softdep=pre: crypto-crc32c post: other\0",
            ),
            ("jbd2.ko", "depends=crc16\0"),
            ("crc16.ko", "depends=\0"),
            ("crc32c_generic.ko", ""),
            ("other.ko", ""),
            ("virtio-rng.ko", "depends=\0"),
        ]);
        let index = Index::scan(dir.path()).unwrap();
        let selected = index
            .select(&["virtio_rng", "built_in", "ext4", "jbd2"])
            .unwrap();
        assert_eq!(
            names(&selected),
            ["virtio_rng", "crc32c_generic", "crc16", "jbd2", "ext4"]
        );
    }

    #[test]
    fn dependency_list_names_all_that_is_needed() {
        let dir = directory(&[
            ("a.ko", "depends=b,c\0"),
            ("b.ko", "depends=d\0"),
            ("c.ko", "depends=\0"),
            ("d.ko", "depends=\0"),
        ]);
        let index = Index::scan(dir.path()).unwrap();
        assert!(index.has("a") && !index.has("e"));
        assert_eq!(
            dependency_list(&index.select(&["a"]).unwrap()),
            "/lib/modules/d.ko:\n/lib/modules/b.ko: /lib/modules/d.ko\n/lib/modules/c.ko:\n\
             /lib/modules/a.ko: /lib/modules/c.ko /lib/modules/b.ko /lib/modules/d.ko\n"
        );
        let again = Index::of(
            index
                .files()
                .map(|(name, path)| (name.to_owned(), path.to_path_buf())),
        );
        assert_eq!(names(&again.select(&["b"]).unwrap()), ["d", "b"]);
    }

    #[test]
    fn missing_dependency_is_an_error_and_a_circle_is_none() {
        let dir = directory(&[
            ("a.ko", "depends=b\0"),
            ("b.ko", "depends=a\0"),
            ("c.ko", "depends=gone\0"),
        ]);
        let index = Index::scan(dir.path()).unwrap();
        assert_eq!(names(&index.select(&["a"]).unwrap()), ["b", "a"]);
        let sentence = index.select(&["c"]).unwrap_err().to_string();
        assert!(
            sentence.contains("c.ko") && sentence.contains("does not have"),
            "{sentence}"
        );
    }

    #[test]
    fn damaged_modules_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.ko"), b"\x7fELF").unwrap();
        fs::write(dir.path().join("b.ko.xz"), b"\xfd7zXZ\0garbage").unwrap();
        let index = Index::scan(dir.path()).unwrap();
        assert!(index.select(&["a"]).is_err());
        assert!(index.select(&["b"]).is_err());
    }

    /// What is around the header of the block in it.
    const BEFORE: [u8; 12] = [
        0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x01, 0x69, 0x22, 0xde, 0x36,
    ];
    const BEHIND: [u8; 36] = [
        0x01, 0x00, 0x07, 0x61, 0x20, 0x6d, 0x6f, 0x64, 0x75, 0x6c, 0x65, 0x00, 0x5b, 0xc1, 0x38,
        0x0b, 0x00, 0x01, 0x1c, 0x08, 0x44, 0x60, 0x2a, 0xc8, 0x90, 0x42, 0x99, 0x0d, 0x01, 0x00,
        0x00, 0x00, 0x00, 0x01, 0x59, 0x5a,
    ];
    const SMALL: [u8; 4] = [0x37, 0x27, 0x97, 0xd6];
    const LARGE: [u8; 4] = [0xe6, 0xa0, 0x11, 0xb3];

    /// Returns "a module", compressed by xz, with a dictionary of `property` (4 KiB for 0, 4 GiB
    /// for 40) and the CRC of that header.
    fn compressed(property: u8, crc: [u8; 4]) -> Vec<u8> {
        let header = [2, 0, 0x21, 1, property, 0, 0, 0];
        [&BEFORE[..], &header, &crc, &BEHIND].concat()
    }

    #[test]
    fn a_module_that_asks_for_gigabytes_is_refused() {
        let path = Path::new("a.ko.xz");
        let plain = uncompress(path, &compressed(0, SMALL)).unwrap();
        assert_eq!(plain, b"a module");
        let sentence = uncompress(path, &compressed(40, LARGE)).unwrap_err();
        assert!(sentence.to_string().contains("memory"), "{sentence}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_modinfo(&bytes);
            let _ = parse_needs(&bytes);
        }

        /// Whatever depends on whatever, each module comes once and, in the absence of circles,
        /// after what it needs.
        #[test]
        fn order_respects_needs(edges in prop::collection::vec((1usize..9, 0usize..8), 0..20)) {
            let needs = |module: usize| {
                let own = edges.iter().filter(move |(from, to)| *from == module && to < from);
                own.map(|(_, to)| *to)
            };
            let texts: Vec<_> = (0..9).map(|module| {
                let list: Vec<_> = needs(module).map(|to| format!("m{to}")).collect();
                (format!("m{module}.ko"), format!("depends={}\0", list.join(",")))
            }).collect();
            let texts: Vec<_> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
            let dir = directory(&texts);
            let selected = Index::scan(dir.path()).unwrap().select(&["m8", "m7", "m6", "m5"]).unwrap();
            let position = |module: usize| selected.iter().position(|entry| entry.name == format!("m{module}"));
            for module in 0..9 {
                for need in needs(module) {
                    if let Some(at) = position(module) {
                        prop_assert!(position(need).unwrap() < at);
                    }
                }
            }
        }
    }
}
