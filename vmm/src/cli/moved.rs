//! Where a user says that files of a snapshot or a recording are now.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use vmm::{DiskConfig, TextError};
use vmm_machine::Moved;

use super::UserError;
use super::settings::Settings;
use super::values::Disk;

/// A disk's place, as `diskN=FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskPlace {
    number: usize,
    path: PathBuf,
}

impl FromStr for DiskPlace {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let place = || {
            let (name, path) = text.split_once('=')?;
            let number = name.strip_prefix("disk")?.parse().ok()?;
            (!path.is_empty()).then(|| Self {
                number,
                path: path.into(),
            })
        };
        place().ok_or_else(|| {
            format!(
                "{text:?} does not say where a disk is now: write disk0=FILE for the first one, disk1=FILE for the \
                 second"
            )
            .into()
        })
    }
}

/// Returns the disks' places, by number.
pub fn disks(places: Vec<DiskPlace>) -> Result<BTreeMap<usize, PathBuf>, UserError> {
    let mut disks = BTreeMap::new();
    for DiskPlace { number, path } in places {
        if disks.insert(number, path).is_some() {
            return Err(UserError::new(format!(
                "two places are named of disk{number}: name one"
            )));
        }
    }
    Ok(disks)
}

/// Takes from `settings` what beside `--replay` says where files are now.
pub fn take(settings: &mut Settings, snapshot: Option<PathBuf>) -> Result<Moved, UserError> {
    let place = |Disk(disk): Disk| {
        let text = disk.path.display().to_string();
        if disk != DiskConfig::new(&disk.path) {
            return Err(UserError::new(format!(
                "a recording says what its disks are like: say only where they are now, as disk0=FILE, not {text} \
                 with options"
            )));
        }
        // The flag takes any text for a path, so that `disk0=FILE` has arrived as one.
        Ok(text.parse()?)
    };
    let places = std::mem::take(&mut settings.disk).into_iter().map(place);
    Ok(Moved {
        kernel: settings.kernel.take(),
        initrd: settings.initrd.take(),
        dtb: settings.dtb.take(),
        disks: disks(places.collect::<Result<_, _>>()?)?,
        snapshot,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_numbers() {
        let place = |text: &str| text.parse::<DiskPlace>();
        let both = vec![place("disk0=a=b").unwrap(), place("disk12=/c").unwrap()];
        let disks = disks(both.clone()).unwrap();
        assert_eq!(disks[&0], PathBuf::from("a=b"));
        assert_eq!(disks[&12], PathBuf::from("/c"));
        assert!(super::disks([both.clone(), both].concat()).is_err());
        for text in ["", "a", "disk=a", "disk0", "disk0=", "vda=x", "disk-1=x"] {
            assert!(
                place(text).unwrap_err().to_string().contains("disk0=FILE"),
                "{text}"
            );
        }
    }
}
