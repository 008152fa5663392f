//! Files of the cache whose bytes change.

use super::*;
use crate::progress::Progress;

/// Flips a bit of a stored file, and leaves its size and time as they were.
fn rot(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let time = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_times(fs::FileTimes::new().set_modified(time))
        .unwrap();
}

#[test]
fn a_byte_that_rotted_is_told_and_not_booted() {
    /// Keeps what is told.
    #[derive(Default)]
    struct Notes(Vec<String>);
    impl Progress for Notes {
        fn start(&mut self, _: &str, _: Option<(u64, crate::Unit)>) {}
        fn advance(&mut self, _: u64) {}
        fn finish(&mut self) {}
        fn note(&mut self, line: &str) {
            self.0.push(line.to_owned());
        }
    }
    let (_dir, cache, source) = fake(None);
    let image = obtain(&cache, &source).unwrap();
    for path in [&image.kernel, &image.initramfs] {
        let whole = fs::read(path).unwrap();
        rot(path);
        assert!(
            cache.image("debian-armmp").unwrap().is_some(),
            "a cheap look does not see it"
        );
        let mut notes = Notes::default();
        let again = cache
            .obtain_from("debian-armmp", &mut source.clone(), &mut notes)
            .unwrap();
        assert_eq!(again, image);
        assert_eq!(fs::read(path).unwrap(), whole);
        let told =
            |note: &&String| note.contains(&*path.to_string_lossy()) && note.contains("is damaged");
        assert_eq!(notes.0.iter().filter(told).count(), 1, "{:?}", notes.0);
    }
}
