//! Reads fault plans, and says what is wrong with them.

use std::path::Path;

use vmm_base::TextError;
use vmm_files::toml_file::{self, FileError};

use super::spec::{Fault, FunctionFault, Plan, Rule, When};

/// The plans that are shipped.
pub const SHIPPED: [(&str, &str); 16] = [
    ("none", include_str!("plans/none.toml")),
    ("translation", include_str!("plans/translation.toml")),
    ("page-table", include_str!("plans/page-table.toml")),
    ("flush", include_str!("plans/flush.toml")),
    ("status", include_str!("plans/status.toml")),
    ("registers", include_str!("plans/registers.toml")),
    ("slot", include_str!("plans/slot.toml")),
    ("interrupt", include_str!("plans/interrupt.toml")),
    ("queue", include_str!("plans/queue.toml")),
    ("disk", include_str!("plans/disk.toml")),
    ("stale", include_str!("plans/stale.toml")),
    ("deferral", include_str!("plans/deferral.toml")),
    ("virtio", include_str!("plans/virtio.toml")),
    ("rockchip", include_str!("plans/rockchip.toml")),
    ("smmuv2", include_str!("plans/smmuv2.toml")),
    ("corruption", include_str!("plans/corruption.toml")),
];
/// Most rules of a plan: each is looked at at every point.
pub const MAX_RULES: usize = 64;
/// Longest name of a device, register or function.
const MAX_NAME: usize = 128;

/// Longest condition of a function that a rule waits for, in bytes.
const MAX_CONDITION: usize = 1024;

/// The reason for which a plan is refused.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// It cannot be read, or is not well-formed.
    #[error(transparent)]
    File(#[from] FileError),
    /// It contradicts itself.
    #[error("cannot use {file}: fault {number}: {what}")]
    Rule {
        /// The file or the plan's name.
        file: String,
        /// Which fault, from 1.
        number: usize,
        /// How.
        what: TextError,
    },
    /// It has too many faults.
    #[error("cannot use {0}: it has more than {MAX_RULES} faults")]
    Size(String),
    /// There is no such plan.
    #[error(
        "there is no plan {0:?}: `vmm inject --list` shows them, and a file is named with its path"
    )]
    Unknown(String),
}

/// Returns the plan that `name` means: a shipped one, or a file.
///
/// # Errors
/// There is none, or it is wrong.
pub fn find(name: &str) -> Result<Plan, PlanError> {
    if is_file(name) {
        return parse(name, &toml_file::read_named(Path::new(name))?);
    }
    let shipped = SHIPPED.iter().find(|(shipped, _)| *shipped == name);
    let (name, text) = shipped.ok_or_else(|| PlanError::Unknown(name.into()))?;
    parse(name, text)
}

/// Returns whether `name` is that of a file, and not of a plan that is shipped.
pub fn is_file(name: &str) -> bool {
    name.ends_with(".toml") || name.contains('/')
}

/// Returns the plan in `text`, which came from `file`.
///
/// # Errors
/// What is wrong with it.
pub fn parse(file: &str, text: &str) -> Result<Plan, PlanError> {
    let plan: Plan = toml_file::parse_named(file, text)?;
    check(file, &plan)?;
    Ok(plan)
}

/// Checks of a plan, which came from `file`, what its types cannot say.
///
/// # Errors
/// It contradicts itself, or is too long.
pub fn check(file: &str, plan: &Plan) -> Result<(), PlanError> {
    if plan.fault.len() > MAX_RULES {
        return Err(PlanError::Size(file.into()));
    }
    for (index, rule) in plan.fault.iter().enumerate() {
        check_rule(rule).map_err(|what| PlanError::Rule {
            file: file.into(),
            number: index + 1,
            what,
        })?;
    }
    Ok(())
}

/// Returns the name of the function in the `probe` of a rule, and what follows it, its condition,
/// if there is one.
pub fn condition(probe: &str) -> (&str, Option<&str>) {
    match probe.split_once(char::is_whitespace) {
        Some((name, condition)) => (name, Some(condition)),
        None => (probe, None),
    }
}

/// Checks what the types cannot say.
fn check_rule(rule: &Rule) -> Result<(), TextError> {
    let Rule {
        fault,
        device,
        when,
    } = rule;
    let (mut register, mut function) = (None, None);
    match fault {
        Fault::RegisterRead(fault) => register = fault.register.as_ref(),
        Fault::RegisterWrite(fault) => register = fault.register.as_ref(),
        Fault::Function(FunctionFault::Error { function: name, .. }) => function = Some(name),
        _ => {}
    }
    // The kernel calls functions, not a device: the rule would never match.
    if function.is_some() && device.is_some() {
        return Err("a function has no `device`".into());
    }
    let (probe, condition) = when.probe.as_deref().map(condition).unzip();
    // What is in it, who knows kernels reads.
    if condition
        .flatten()
        .is_some_and(|condition| condition.len() > MAX_CONDITION)
    {
        return Err(format!("a condition has at most {MAX_CONDITION} bytes").into());
    }
    let (device, register) = (device.as_deref(), register.map(String::as_str));
    let function = function.map(String::as_str);
    for name in [device, register, function, probe].into_iter().flatten() {
        let good = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(good) {
            return Err(format!(
                "{name:?} is no name: use up to {MAX_NAME} letters, digits, _, - and ."
            )
            .into());
        }
    }
    for name in [function, probe].into_iter().flatten() {
        // Those of C, and what compilers add to them behind a dot.
        if name.contains('-') || name.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return Err(format!(
                "{name:?} cannot be a function of a kernel: use letters, digits, _ and ., and begin with a letter or _"
            ).into());
        }
    }
    check_when(when)
}

fn check_when(when: &When) -> Result<(), TextError> {
    let ways = [
        when.nth.is_some(),
        when.every.is_some(),
        when.probability.is_some(),
    ];
    // Of several, `Active::strikes` would heed only the first, and nobody would know.
    if ways.into_iter().filter(|way| *way).count() > 1 {
        return Err("`when` has more than one of nth, every and probability".into());
    }
    if when.every == Some(0) {
        return Err("`every` is 0: use 1 for every point".into());
    }
    if when.times == Some(0) {
        return Err("`times` is 0: leave the fault out instead".into());
    }
    // Refuses NaN as well, which TOML can express and which lies in no range.
    if let Some(p) = when.probability
        && !(0.0..=1.0).contains(&p)
    {
        return Err(format!("the probability {p} is not between 0 and 1").into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use strum::VariantNames;

    use super::super::point::PointFault;
    use super::super::spec::*;
    use super::*;

    fn fault(keys: &str) -> Result<Plan, PlanError> {
        parse("p.toml", &format!("title = \"t\"\n[[fault]]\n{keys}\n"))
    }

    #[test]
    fn every_shipped_plan_is_sound_and_says_what_it_is_about() {
        for (name, _) in SHIPPED {
            let plan = find(name).unwrap();
            assert!(!plan.title.is_empty() && !plan.about.is_empty(), "{name}");
        }
    }

    #[test]
    fn every_kind_is_in_a_shipped_plan() {
        let plans = SHIPPED.iter().map(|(name, _)| find(name).unwrap());
        let rules: Vec<Rule> = plans.flat_map(|plan| plan.fault).collect();
        fn each<F: PointFault + VariantNames>(rules: &[Rule]) {
            kinds::<F>(rules, F::VARIANTS);
        }
        fn kinds<F: PointFault>(rules: &[Rule], names: &[&str]) {
            let of = rules.iter().filter_map(|rule| F::of(&rule.fault));
            let found: BTreeSet<String> = of.map(ToString::to_string).collect();
            for what in names {
                let point = F::POINT;
                assert!(found.contains(*what), "no plan has {what} at a {point}");
            }
        }
        each::<TranslationFault>(&rules);
        each::<DescriptorFault>(&rules);
        each::<FlushFault>(&rules);
        kinds::<RegisterFault<ReadFault>>(&rules, ReadFault::VARIANTS);
        kinds::<RegisterFault<WriteFault>>(&rules, WriteFault::VARIANTS);
        each::<InterruptFault>(&rules);
        each::<QueueFault>(&rules);
        each::<ChainFault>(&rules);
        each::<DiskFault>(&rules);
        each::<RequestFault>(&rules);
        each::<ReportFault>(&rules);
        each::<FunctionFault>(&rules);
    }

    #[test]
    fn mistakes_are_told_in_a_sentence() {
        for (keys, sentence) in [
            (
                "where = \"flush\"\nwhat = \"flip\"",
                "line 2: unknown variant `flip`, expected one of `late`, `stuck`, `ignored`",
            ),
            (
                "where = \"flush\"\nwhat = \"late\"",
                "line 2: missing field `count`",
            ),
            (
                "where = \"flush\"\nwhat = \"stuck\"\nvalue = 3",
                "line 2: unknown field `value`",
            ),
            (
                "where = \"disk\"\nwhat = \"again\"\ndelay = \"5\"",
                "\"5\" is no time",
            ),
            (
                "where = \"disk\"\nwhat = \"flip\"\nmask = 0",
                "a mask of 0 flips nothing",
            ),
            (
                "where = \"disk\"\nwhat = \"flip\"\ncolour = 0",
                "unknown field `colour`",
            ),
            (
                "where = \"request\"\nwhat = \"value\"\nvalue = 9",
                "9 is no status of a request: use 0 to 8",
            ),
            (
                "where = \"function\"\nwhat = \"error\"\nfunction = \"f\"\nvalue = 5\ndevice = \"disk0\"",
                "a function has no `device`",
            ),
            (
                "where = \"disc\"\nwhat = \"flip\"",
                "unknown variant `disc`",
            ),
            (
                "where = \"disk\"\nwhat = \"flip\"\nwhen = { nth = 0 }",
                "\"0\" is no number of a point",
            ),
            (
                "where = \"disk\"\nwhat = \"flip\"\nwhen = { nth = \"7..3\" }",
                "\"7..3\" is no number",
            ),
            (
                "where = \"disk\"\nwhat = \"flip\"\nwhen = { nth = 1, every = 2 }",
                "more than one of",
            ),
            (
                "where = \"disk\"\nwhat = \"flip\"\nwhen = { probability = 1.5 }",
                "not between 0 and 1",
            ),
            (
                "where = \"register-read\"\nwhat = \"value\"\nvalue = -1",
                "integer `-1`, expected u32",
            ),
            (
                "where = \"disk\"\nwhat = \"flip\"\ndevice = \"a b\"",
                "\"a b\" is no name",
            ),
            (
                "where = \"function\"\nwhat = \"error\"\nfunction = \"2nd\"\nvalue = -5",
                "\"2nd\" cannot be a function of a kernel",
            ),
            (
                "where = \"disk\"\nwhat = \"flip\"\nwhen = { probe = \"do-it\" }",
                "\"do-it\" cannot be a function of a kernel",
            ),
        ] {
            let error = fault(keys).unwrap_err().to_string();
            assert!(error.starts_with("cannot use p.toml: "), "{error}");
            assert!(error.contains(sentence), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_plan_that_is_not_there_is_told_from_one_that_cannot_be_read() {
        let error = find("nonsense").unwrap_err().to_string();
        assert!(error.contains("vmm inject --list"), "{error}");
        let missing = find("/no/such.toml");
        assert!(matches!(
            missing,
            Err(PlanError::File(FileError::Read { .. }))
        ));
    }

    #[test]
    fn too_many_faults_are_refused() {
        let one = "[[fault]]\nwhere = \"flush\"\nwhat = \"stuck\"\n";
        let plan = format!("title = \"t\"\n{}", one.repeat(MAX_RULES + 1));
        assert!(matches!(parse("p", &plan), Err(PlanError::Size(_))));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            first in 1_u64..1_000_000,
            more in 0_u64..1_000_000,
            time in 0_u64..3_600_000_000_000,
        ) {
            let nth = Nth { first, last: first + more };
            prop_assert_eq!(nth.to_string().parse::<Nth>(), Ok(nth));
            prop_assert_eq!(Time(time).to_string().parse::<Time>(), Ok(Time(time)));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
            let _ = parse("p", &text);
            let _ = text.parse::<Nth>();
            let _ = text.parse::<Time>();
        }

        #[test]
        fn a_plan_survives_being_written(fault in faults(), bits: u8) {
            let bit = |n: u32| bits >> n & 1 == 1;
            let rule = Rule {
                fault,
                device: bit(0).then(|| "disk0".into()),
                when: When {
                    nth: bit(1).then_some(Nth { first: 1, last: 9 }),
                    ..When::default()
                },
            };
            let plan = Plan {
                title: "t".into(),
                about: String::new(),
                scenario: Default::default(),
                fault: vec![rule],
            };
            // As in the header of a recording.
            let json = serde_json::to_string(&plan).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Plan>(&json).unwrap(), &plan);
            let text = toml::to_string(&plan).unwrap();
            match parse("p", &text) {
                Ok(read) => prop_assert_eq!(read, plan),
                Err(error) => prop_assert!(matches!(error, PlanError::Rule { .. }), "{}", error),
            }
        }
    }

    /// Generates any fault, with any numbers that it may have.
    fn faults() -> impl Strategy<Value = Fault> {
        // TOML has signed numbers only.
        let mask = prop::option::of(1..=i64::MAX as u64);
        let mask = mask.prop_map(|mask| mask.map(|mask| Mask::try_from(mask).unwrap()));
        let count = (1_u32..=1_000_000).prop_map(|count| Count::try_from(count).unwrap());
        let numbers = (mask, count, any::<u32>(), 0_u64..3_600_000_000_000);
        (0..16_u8, numbers).prop_map(|(which, (mask, count, value, ns))| {
            let (delay, register) = (Time(ns), (ns % 2 == 0).then(|| "IMSTR".into()));
            let status = RequestStatus::try_from((value % 9) as u8).unwrap();
            match which {
                0 => Fault::Translation(TranslationFault::Abort {}),
                1 => Fault::Translation(TranslationFault::Status { value }),
                2 => Fault::PageTable(DescriptorFault::Flip { mask }),
                3 => Fault::Flush(FlushFault::Late { count }),
                4 => Fault::RegisterRead(RegisterFault {
                    register,
                    fault: ReadFault::Value { value },
                }),
                5 => Fault::RegisterWrite(RegisterFault {
                    register,
                    fault: WriteFault::Lost {},
                }),
                6 => Fault::RegisterWrite(RegisterFault {
                    register,
                    fault: WriteFault::Flip { mask },
                }),
                7 => Fault::Interrupt(InterruptFault::Repeated { count, delay }),
                8 => Fault::Interrupt(InterruptFault::Spurious { delay }),
                9 => Fault::Queue(QueueFault::Late { delay }),
                10 => Fault::Chain(ChainFault::FlipAddress { mask }),
                11 => Fault::Disk(DiskFault::Again { delay }),
                12 => Fault::Disk(DiskFault::Short {}),
                13 => Fault::Request(RequestFault::Value { value: status }),
                14 => Fault::Report(ReportFault::Lost {}),
                _ => Fault::Function(FunctionFault::Error {
                    function: "f".into(),
                    value: value.cast_signed(),
                }),
            }
        })
    }
}
