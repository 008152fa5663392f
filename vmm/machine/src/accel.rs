//! Who executes a machine's guest: the emulated processor, or the host's through KVM.

use super::config::{Accel, Config, TimeMode};
use super::error::Error;
use super::loader::LoadError;
use crate::vcpu::kvm::Vm;
use crate::vcpu::{Acceleration, KvmError, Width};

/// Checks that this host's KVM runs guests, of 64 bits at least.
///
/// # Errors
/// It does not, and why.
pub fn available() -> Result<(), Error> {
    Ok(Vm::open(Width::Bits64).map(drop)?)
}

/// Chooses how a guest of that width is run, by the configuration's wish: on a machine of KVM when
/// that is returned.
///
/// # Errors
/// When what was asked for cannot be had.
pub fn choose(config: &Config, width: Width) -> Result<(Acceleration, Option<Vm>), Error> {
    choose_with(config, width, Vm::open)
}

fn choose_with<V>(
    config: &Config,
    width: Width,
    open: impl FnOnce(Width) -> Result<V, KvmError>,
) -> Result<(Acceleration, Option<V>), Error> {
    // With `auto` the lack of KVM is no error, but the user is told why the cores are emulated.
    let why = match (config.accel, config.time) {
        (Accel::Emulated, _) => None,
        // KVM by name is had or is an error; only `auto` goes without.
        (Accel::Kvm, _) => return Ok((Acceleration::Kvm, Some(open(width)?))),
        (Accel::Auto, _) if config.board.facts().tree.is_some() => {
            Some("KVM has not the firmware of this board".to_owned())
        }
        (Accel::Auto, TimeMode::Virtual) => {
            Some("virtual time is the emulated processor's alone".to_owned())
        }
        (Accel::Auto, TimeMode::Host) => match open(width) {
            Ok(vm) => return Ok((Acceleration::Kvm, Some(vm))),
            Err(error) => Some(error.to_string()),
        },
    };
    // The emulated processor has AArch32 only.
    if width == Width::Bits64 {
        return Err(Error::Load {
            path: config.kernel.clone(),
            source: LoadError::Aarch64(why.map_or_else(String::new, |why| format!(", but {why}"))),
        });
    }
    Ok((Acceleration::Emulated(why), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(accel: Accel, time: TimeMode) -> Config {
        Config {
            kernel: "k".into(),
            accel,
            time,
            ..Config::default()
        }
    }

    fn can(_: Width) -> Result<(), KvmError> {
        Ok(())
    }

    fn cannot(_: Width) -> Result<(), KvmError> {
        Err(KvmError::No32Bit)
    }

    #[test]
    fn auto_takes_what_there_is_and_says_why_not_the_other() {
        let host = config(Accel::Auto, TimeMode::Host);
        let (how, vm) = choose_with(&host, Width::Bits32, can).unwrap();
        assert_eq!((how, vm), (Acceleration::Kvm, Some(())));
        let (how, vm) = choose_with(&host, Width::Bits32, cannot).unwrap();
        assert!(matches!(how, Acceleration::Emulated(Some(why)) if why.contains("no 32-bit mode")));
        assert_eq!(vm, None);
        let (how, _) = choose_with(
            &config(Accel::Auto, TimeMode::Virtual),
            Width::Bits32,
            |_| -> Result<(), _> { panic!("virtual time does not ask for KVM") },
        )
        .unwrap();
        assert!(matches!(how, Acceleration::Emulated(Some(why)) if why.contains("virtual time")));
    }

    #[test]
    fn who_asks_for_one_gets_it_or_an_error() {
        let (how, _) = choose_with(
            &config(Accel::Emulated, TimeMode::Host),
            Width::Bits32,
            |_| -> Result<(), _> { panic!("KVM was not asked for") },
        )
        .unwrap();
        assert_eq!(how, Acceleration::Emulated(None));
        let kvm = config(Accel::Kvm, TimeMode::Host);
        let error = choose_with(&kvm, Width::Bits32, cannot).unwrap_err();
        assert_eq!(
            error.to_string(),
            "KVM cannot be used: this host's processor has no 32-bit mode for kernels (AArch32 at EL1)"
        );
    }

    #[test]
    fn a_64_bit_guest_takes_kvm() {
        for accel in [Accel::Emulated, Accel::Auto] {
            let config = config(accel, TimeMode::Host);
            let error = choose_with(&config, Width::Bits64, cannot).unwrap_err();
            let sentence = error.to_string();
            assert!(sentence.contains("an arm64 kernel"), "{sentence}");
            assert_eq!(sentence.contains("no 32-bit mode"), accel == Accel::Auto);
        }
    }
}
