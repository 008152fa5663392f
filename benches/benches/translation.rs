//! The translation path under criterion: the same worlds, contenders and work as
//! `benches translation`.

use std::time::Duration;

use benches::translation::{Case, Contenders, GROUPS, MAPPINGS, World};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main};

/// Criterion counts measured time only, and before each flush everything is filled again.
const FLUSH_TIME: Duration = Duration::from_micros(20);

fn translation(criterion: &mut Criterion) {
    for mappings in MAPPINGS {
        let world = World::new(mappings, 1);
        for group in &GROUPS {
            let contenders = Contenders::new(&world);
            for mut case in (group.cases)(&contenders) {
                let mut bench = criterion.benchmark_group(case.name);
                bench.sample_size(10);
                if group.name == "flushes" {
                    bench.warm_up_time(FLUSH_TIME).measurement_time(FLUSH_TIME);
                } else {
                    bench
                        .warm_up_time(Duration::from_millis(100))
                        .measurement_time(Duration::from_millis(500));
                }
                all(&mut bench, &mut case, mappings);
                bench.finish();
            }
        }
    }
}

fn all(bench: &mut BenchmarkGroup<'_, WallTime>, case: &mut Case<'_>, mappings: u64) {
    for contender in &mut case.contenders {
        let id = BenchmarkId::new(contender.peer.to_string(), mappings);
        bench.bench_function(id, |bencher| bencher.iter_custom(&mut contender.time));
    }
}

criterion_group!(benches, translation);
criterion_main!(benches);
