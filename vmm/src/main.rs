//! The command `vmm`.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
