//! Boots a kernel with probes and prints what they saw: `probe KERNEL INITRD CMDLINE PROBE...`.

use vmm::observe::probe::parse;
use vmm::{Config, KernelFormat, Limits, Machine};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut next = || {
        args.next()
            .ok_or("arguments: KERNEL INITRD CMDLINE PROBE...")
    };
    let mut config = Config {
        kernel: next()?.into(),
        kernel_format: KernelFormat::Auto,
        initrd: Some(next()?.into()),
        ..Config::default()
    };
    config.cmdline = next()?;
    let probes = args
        .map(|text| parse(&text))
        .collect::<Result<Vec<_>, _>>()?;
    let mut machine = Machine::new(&config, Box::new(vmm::Discard))?;
    let outcome = machine.probe(
        probes,
        Box::new(|probe, hit| {
            print!(
                "[{:12.6}] {} cpu {} from {}:",
                hit.at as f64 / 1e9,
                probe.site,
                hit.core,
                hit.caller
            );
            for (name, value) in &hit.values {
                match value {
                    Ok(value) => print!(" {name}={value}"),
                    Err(error) => print!(" {name}: {error}"),
                }
            }
            println!(" {:?} {:?}", hit.actions, hit.changes);
        }),
    );
    let exit = machine.run(Limits {
        guest_ns: Some(20_000_000_000),
        ..Limits::default()
    });
    println!(
        "{:?} {:?} {:?}",
        exit.reason,
        outcome.lock().unwrap(),
        machine.summary().instructions
    );
    Ok(())
}
