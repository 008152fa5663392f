//! Runs of guests that are too long, or too unlike, for a test:
//! `cargo run --release -p integration -- nested-kvm`.

mod program;

fn main() -> std::process::ExitCode {
    program::main()
}
