//! What the subcommand's help ends with.

/// Examples and exit codes.
pub const AFTER_HELP: &str = "\
Examples:
  vmm inject --list
  vmm inject flush --runs 200 --report report
  vmm inject flush --systematic
  vmm inject flush --systematic pairs --runs 500
  vmm inject flush --runs 200 --cover 'ipmmu_*,virtblk_done'
  vmm inject translation --runs 500 --cover 'ipmmu_*' --guided
  vmm inject flush --seed 1 --run 17 --timeline run.html
  vmm inject flush --runs 200 --sanitize dma
  vmm inject flush --seed 1 --run 17 --gdb 1234
  vmm inject my-plan.toml --runs 1000 --deny hang,crash --junit results.xml
  vmm inject flush --runs 1000 --recheck 20
  vmm inject flush --runs 1000 --shard 1/3 --journal 1.jsonl
  vmm inject merge 1.jsonl 2.jsonl 3.jsonl --report report
  vmm inject flush --cover 'ipmmu_*' --guided --shard 1/3 --journal 1.jsonl --others 2.jsonl 3.jsonl --resume

Exit codes:
  0  the campaign is done, and no run ended in a way that was denied
  1  one did, or --sanitize found a mistake in one, or the machine failed in one or a repeated run was another than
     it had been, which are bugs of ours
  2  a mistake in the arguments or files, told in one sentence
  75  a shard with --guided needs runs of others first: --resume goes on with it when --others have them
  128+N  ended by signal N; --resume goes on with it";
