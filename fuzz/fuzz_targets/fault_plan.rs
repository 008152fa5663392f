//! Any text as a fault plan: it is read or refused in a sentence, and what was read, written, is read alike. Any bytes as
//! the journal of a campaign: what is believed of it is whole lines from its beginning on.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vmm::inject::{journal, plan};

fuzz_target!(|data: &[u8]| {
    if let Ok(contents) = journal::parse(data) {
        let again = journal::parse(&data[..contents.good]).expect("what was whole is whole");
        assert_eq!(contents, again);
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match plan::parse("p", text) {
        Ok(read) => {
            // A number that TOML cannot write is one that it cannot read either.
            let written = toml::to_string(&read).expect("what was read can be written");
            let again = plan::parse("p", &written).expect("what was written can be read");
            assert_eq!(again, read);
        }
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
    }
});
