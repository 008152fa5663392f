//! Sentences that say what to do instead: each is provoked, and what it says is done and helps.

mod commands;
mod images;
mod machines;
mod probes;
mod vhost_user;

use std::fs;

use tempfile::TempDir;

use crate::{Ended, vmm};

/// A directory with kernels, disks and an empty cache.
struct TestDirectory(TempDir);

impl TestDirectory {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        // One that passes for a zImage and branches to itself, and one that powers off.
        let mut zimage = vec![0; 4096];
        zimage[..4].copy_from_slice(&0xeaff_fffe_u32.to_le_bytes());
        zimage[0x24..0x28].copy_from_slice(&0x016f_2818_u32.to_le_bytes());
        zimage[0x2c..0x30].copy_from_slice(&4096_u32.to_le_bytes());
        let off = [0xe3a0_0484_u32, 0xe380_0008, 0xe140_0070].map(u32::to_le_bytes);
        for (name, bytes) in [
            ("zImage", zimage),
            ("off", off.as_flattened().to_vec()),
            ("disk", vec![1; 4096]),
            ("other", vec![1; 4096]),
            ("initrd", vec![0; 40 << 20]),
            ("text", b"text\n".to_vec()),
        ] {
            fs::write(place.0.path().join(name), bytes).unwrap();
        }
        fs::create_dir_all(place.0.path().join("cache/blobs")).unwrap();
        place
    }

    fn run(&self, line: &str) -> Ended {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        self.ended(&words)
    }

    /// The machine of a kernel that does nothing, with these arguments.
    fn boot(&self, arguments: &[&str]) -> Ended {
        self.ended(&[&["boot", "--kernel", "zImage"], arguments].concat())
    }

    fn ended(&self, arguments: &[&str]) -> Ended {
        let mut command = vmm(arguments);
        command
            .current_dir(&self.0)
            .env("VIOMMU_CACHE", self.0.path().join("cache"));
        command.output().unwrap().into()
    }

    /// That a command line ends with one sentence that holds all of `words`.
    fn refuses(&self, line: &str, words: &[&str]) {
        let ended = self.run(line);
        assert_eq!(ended.code, Some(2), "{line}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{line}: {ended:?}");
        for words in words {
            assert!(ended.stderr.contains(words), "{line}: {words:?}: {ended:?}");
        }
    }

    /// That the machine with these flags runs until it is ended.
    fn boots(&self, flags: &str) {
        let line = format!("boot --kernel zImage --quiet --console none --timeout 0.001 {flags}");
        let ended = self.run(&line);
        assert_eq!(ended.code, Some(124), "{line}: {ended:?}");
    }
}
