//! Campaigns that look at which code of the kernel their runs reach, and are guided by it.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;

use vmm::campaign::campaign::Prepared;
use vmm::campaign::guided::{GENERATION, Guided};
use vmm::campaign::run::Record;
use vmm::campaign::scenario::Scenario;
use vmm::campaign::{Shard, plan};

use crate::inject::copying;

/// What runs reach of the driver's code is the same whoever looks, and the run is the same as if
/// nobody did.
#[test]
fn code_that_only_faults_reach_is_found_and_the_runs_stay_the_same() {
    let text = "title = \"t\"\n[[fault]]\nwhere = \"translation\"\nwhat = \"translation\"\n";
    let plan = plan::parse("test", text).expect("a plan");
    let scenario = Scenario::new(plan.scenario);
    let mut prepared = Prepared::new(&plan, &scenario, copying()).expect("a sound scenario");
    let before = prepared.runner.run(&prepared.task(1, 0), None).record;
    let patterns = ["ipmmu_irq", "ipmmu_tlb_*"].map(str::to_owned);
    prepared.watch_code(&patterns).expect("its functions");
    let code = prepared.runner.code.clone().expect("it is looked at");
    let of = |name: &str| {
        let before = code
            .functions
            .iter()
            .take_while(|function| function.name != name);
        let first: usize = before.map(|function| function.blocks.len()).sum();
        let function = code.functions.iter().find(|function| function.name == name);
        first..first + function.expect(name).blocks.len()
    };
    // Without faults there is no interrupt, and translations are flushed.
    let irq = of("ipmmu_irq");
    assert!(irq.len() > 3, "{code:?}");
    assert!(
        irq.clone().all(|block| !code.usual.contains(&block)),
        "{code:?}"
    );
    assert!(!code.usual.is_empty(), "{code:?}");
    let after = prepared.runner.run(&prepared.task(1, 0), None).record;
    assert!(after.blocks.contains(&irq.start), "{after:?}");
    assert_eq!(after.digest, before.digest);
    let none = prepared.watch_code(&["no_such_*".to_owned()]);
    assert!(
        none.expect_err("no function")
            .to_string()
            .contains("no_such_*")
    );
}

/// However many run at once, and whoever goes on with it, a guided campaign is the same.
#[test]
fn a_guided_campaign_is_the_same_with_any_number_of_threads() {
    let text = "title = \"t\"\n[[fault]]\nwhere = \"flush\"\nwhat = \"stuck\"\n\
                [[fault]]\nwhere = \"translation\"\nwhat = \"permission\"\n";
    let plan = plan::parse("test", text).expect("a plan");
    let scenario = Scenario::new(plan.scenario);
    let mut prepared = Prepared::new(&plan, &scenario, copying()).expect("a sound scenario");
    prepared
        .watch_code(&["ipmmu_*".to_owned()])
        .expect("its functions");
    let part = |guided: Guided<'_>, done: BTreeMap<u64, Record>, jobs: usize| {
        let jobs = NonZeroUsize::new(jobs).expect("some");
        let stop = AtomicBool::new(false);
        let mut each = |_: &mut Record| Ok::<(), ()>(());
        let part = prepared.run_guided(guided, done, jobs, &stop, &mut each);
        part.expect("nobody objects")
    };
    let nobody = BTreeMap::new();
    let whole = Guided {
        seed: 1,
        runs: 70,
        generation: GENERATION,
        shard: Shard::default(),
        others: &nobody,
    };
    let run = |done: BTreeMap<u64, Record>, jobs: usize| {
        let all = part(whole, done, jobs);
        assert_eq!(all.awaited, None);
        all.done
    };
    let one = run(BTreeMap::new(), 1);
    assert_eq!(one.len(), 70);
    assert!(
        one.values().any(|record| !record.more.is_empty()),
        "all have one fault"
    );
    assert!(
        one.values().any(|record| !record.blocks.is_empty()),
        "none reached more"
    );
    assert_eq!(run(BTreeMap::new(), 3), one);
    // As after a journal that ended in the middle of a generation.
    let half = one
        .clone()
        .into_iter()
        .filter(|(run, _)| *run < 40 && run % 3 > 0);
    assert_eq!(run(half.collect(), 2), one);
    // Three machines, each of which goes as far as it can with what the others have by then.
    let mut shards: Vec<BTreeMap<u64, Record>> = vec![BTreeMap::new(); 3];
    let mut lacking = Vec::new();
    for _ in 0..3 {
        for number in 0..3 {
            let others = shards.iter().flatten();
            let others = others.map(|(run, record)| (*run, record.clone())).collect();
            let guided = Guided {
                shard: format!("{}/3", number + 1).parse().expect("a shard"),
                others: &others,
                ..whole
            };
            let made = part(guided, std::mem::take(&mut shards[number]), 1);
            shards[number] = made.done;
            lacking.extend(
                made.awaited
                    .map(|awaited| (awaited.generation, awaited.runs)),
            );
        }
    }
    assert_eq!(
        shards.into_iter().flatten().collect::<BTreeMap<_, _>>(),
        one
    );
    // The first cannot choose its second generation, nor the second its own; the third has all.
    assert_eq!(lacking[..2], [(1, 21), (1, 10)], "{lacking:?}");
}
