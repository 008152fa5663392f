//! Writes every format of a report on a made-up but realistic run: what the formats look like, without a guest.
//!
//! ```sh
//! cargo run --release -p vmm --example sample_report -- OUT_DIRECTORY [EXTRA_EVENTS]
//! ```

mod sample;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(directory) = arguments.next().map(PathBuf::from) else {
        eprintln!("usage: sample_report OUT_DIRECTORY [EXTRA_EVENTS]");
        return ExitCode::from(2);
    };
    let extra = arguments
        .next()
        .map_or(Some(0), |text| text.to_str()?.parse().ok());
    let Some(extra) = extra else {
        eprintln!("EXTRA_EVENTS is a number");
        return ExitCode::from(2);
    };
    match vmm::timeline::export::write_all(&directory, "sample", &sample::report(extra)) {
        Ok(written) => {
            println!("{}", written.html.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
