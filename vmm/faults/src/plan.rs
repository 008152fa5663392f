//! Reads fault plans, and says what is wrong with them.

use std::path::Path;

use vmm_files::toml_file::{self, FileError};

use super::spec::{FaultKind, FaultPoint, Plan, Rule, When};

/// The plans that are shipped.
pub const SHIPPED: [(&str, &str); 14] = [
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
    ("corruption", include_str!("plans/corruption.toml")),
];
/// Most rules of a plan: each is looked at at every point.
pub const MAX_RULES: usize = 64;
/// Longest name of a device, register or function.
const MAX_NAME: usize = 128;

/// What is wrong with a plan.
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
        what: String,
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

/// The plan that `name` means: a shipped one, or a file.
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

/// Whether `name` is that of a file, and not of a plan that is shipped.
pub fn is_file(name: &str) -> bool {
    name.ends_with(".toml") || name.contains('/')
}

/// The plan in `text`, which came from `file`.
///
/// # Errors
/// What is wrong with it.
pub fn parse(file: &str, text: &str) -> Result<Plan, PlanError> {
    let plan: Plan = toml_file::parse_named(file, text)?;
    if plan.fault.len() > MAX_RULES {
        return Err(PlanError::Size(file.into()));
    }
    for (index, rule) in plan.fault.iter().enumerate() {
        check(rule).map_err(|what| PlanError::Rule {
            file: file.into(),
            number: index + 1,
            what,
        })?;
    }
    Ok(plan)
}

/// Kinds of a place: what can happen there.
pub const fn kinds(place: FaultPoint) -> &'static [FaultKind] {
    match place {
        FaultPoint::Translation => &[
            FaultKind::Translation,
            FaultKind::Permission,
            FaultKind::AccessFlag,
            FaultKind::Format,
            FaultKind::Secure,
            FaultKind::Abort,
            FaultKind::MultiHit,
            FaultKind::Status,
        ],
        FaultPoint::PageTable => &[FaultKind::Abort, FaultKind::Flip],
        FaultPoint::Flush => &[FaultKind::Late, FaultKind::Stuck, FaultKind::Ignored],
        FaultPoint::RegisterRead => &[FaultKind::Value, FaultKind::Flip],
        FaultPoint::RegisterWrite => &[FaultKind::Lost, FaultKind::Value, FaultKind::Flip],
        FaultPoint::Interrupt => &[
            FaultKind::Lost,
            FaultKind::Late,
            FaultKind::Repeated,
            FaultKind::Spurious,
        ],
        FaultPoint::Queue => &[
            FaultKind::Lost,
            FaultKind::Late,
            FaultKind::NeedsReset,
            FaultKind::Reset,
        ],
        FaultPoint::Chain => &[FaultKind::FlipAddress, FaultKind::FlipLength],
        FaultPoint::Disk => &[
            FaultKind::IoError,
            FaultKind::Unsupported,
            FaultKind::Short,
            FaultKind::Flip,
            FaultKind::LateData,
            FaultKind::Again,
        ],
        FaultPoint::Request => &[FaultKind::Value],
        FaultPoint::Report => &[FaultKind::Lost],
        FaultPoint::Function => &[FaultKind::Error],
    }
}

/// What the types cannot say.
fn check(rule: &Rule) -> Result<(), String> {
    let Rule {
        place,
        what,
        device,
        register,
        function,
        value,
        mask,
        count,
        delay,
        when,
    } = rule;
    let kinds = kinds(*place);
    if !kinds.contains(what) {
        let names: Vec<String> = kinds.iter().map(ToString::to_string).collect();
        return Err(format!(
            "{what} cannot happen at a {place}: use one of {}",
            names.join(", ")
        ));
    }
    let needs = |key: &str, given: bool, needed: bool, allowed: bool| match (given, needed) {
        (false, true) => Err(format!("a {what} at a {place} needs `{key}`")),
        (true, _) if !allowed => Err(format!("a {what} at a {place} has no `{key}`")),
        _ => Ok(()),
    };
    let valued = matches!(
        what,
        FaultKind::Value | FaultKind::Status | FaultKind::Error
    );
    needs("value", value.is_some(), valued, valued)?;
    let flips = matches!(
        what,
        FaultKind::Flip | FaultKind::FlipAddress | FaultKind::FlipLength
    );
    needs("mask", mask.is_some(), false, flips)?;
    let counts = matches!(
        (place, what),
        (FaultPoint::Flush, FaultKind::Late) | (_, FaultKind::Repeated)
    );
    needs("count", count.is_some(), counts, counts)?;
    let lasts = matches!(
        what,
        FaultKind::Spurious | FaultKind::LateData | FaultKind::Again | FaultKind::Repeated
    ) || (*what == FaultKind::Late && *place != FaultPoint::Flush);
    needs("delay", delay.is_some(), lasts, lasts)?;
    let registers = matches!(place, FaultPoint::RegisterRead | FaultPoint::RegisterWrite);
    needs("register", register.is_some(), false, registers)?;
    let calls = *place == FaultPoint::Function;
    needs("function", function.is_some(), calls, calls)?;
    needs("device", device.is_some(), false, !calls)?;
    for name in [device, register, function, &when.probe]
        .into_iter()
        .flatten()
    {
        let good = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(good) {
            return Err(format!(
                "{name:?} is no name: use up to {MAX_NAME} letters, digits, _, - and ."
            ));
        }
    }
    for name in [function, &when.probe].into_iter().flatten() {
        // Those of C, and what compilers add to them behind a dot.
        if name.contains('-') || name.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return Err(format!(
                "{name:?} cannot be a function of a kernel: use letters, digits, _ and ., and begin with a letter or _"
            ));
        }
    }
    check_value(rule)?;
    check_when(when)
}

/// Whether values are in their range.
fn check_value(rule: &Rule) -> Result<(), String> {
    let fits = |value: i64| match rule.place {
        FaultPoint::Request => (0..=8).contains(&value),
        FaultPoint::Function => i32::try_from(value).is_ok(),
        _ => u32::try_from(value).is_ok(),
    };
    if let Some(value) = rule.value.filter(|value| !fits(*value)) {
        return Err(format!("the value {value} does not fit a {}", rule.place));
    }
    match (rule.mask, rule.count) {
        (Some(0), _) => Err("a mask of 0 flips nothing".into()),
        (_, Some(0)) => Err("a count of 0 does nothing".into()),
        (_, Some(count)) if count > 1_000_000 => Err(format!("a count of {count} is too high")),
        _ => Ok(()),
    }
}

fn check_when(when: &When) -> Result<(), String> {
    let ways = [
        when.nth.is_some(),
        when.every.is_some(),
        when.probability.is_some(),
    ];
    if ways.into_iter().filter(|way| *way).count() > 1 {
        return Err("`when` has more than one of nth, every and probability".into());
    }
    if when.every == Some(0) {
        return Err("`every` is 0: use 1 for every point".into());
    }
    if when.times == Some(0) {
        return Err("`times` is 0: leave the fault out instead".into());
    }
    if let Some(p) = when.probability
        && !(0.0..=1.0).contains(&p)
    {
        return Err(format!("the probability {p} is not between 0 and 1"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::spec::{Nth, Time};
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
        let plans: Vec<Plan> = SHIPPED
            .iter()
            .map(|(name, _)| find(name).unwrap())
            .collect();
        for place in [
            FaultPoint::Translation,
            FaultPoint::PageTable,
            FaultPoint::Flush,
            FaultPoint::RegisterRead,
            FaultPoint::RegisterWrite,
            FaultPoint::Interrupt,
            FaultPoint::Queue,
            FaultPoint::Chain,
            FaultPoint::Disk,
            FaultPoint::Request,
            FaultPoint::Report,
            FaultPoint::Function,
        ] {
            for what in kinds(place) {
                let rules = plans.iter().flat_map(|plan| &plan.fault);
                let mut found = rules.filter(|rule| (rule.place, rule.what) == (place, *what));
                assert!(found.next().is_some(), "no plan has {what} at a {place}");
            }
        }
    }

    #[test]
    fn mistakes_are_told_in_a_sentence() {
        for (keys, sentence) in [
            (
                "where = \"flush\"\nwhat = \"flip\"",
                "flip cannot happen at a flush: use one of late, stuck, ignored",
            ),
            (
                "where = \"flush\"\nwhat = \"late\"",
                "a late at a flush needs `count`",
            ),
            (
                "where = \"flush\"\nwhat = \"stuck\"\nvalue = 3",
                "a stuck at a flush has no `value`",
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
                "does not fit",
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
        fn a_plan_survives_being_written(place in 0_usize..10, kind in 0_usize..8, seed: u64) {
            let places = [FaultPoint::Translation, FaultPoint::PageTable, FaultPoint::Flush, FaultPoint::RegisterRead,
                FaultPoint::RegisterWrite, FaultPoint::Interrupt, FaultPoint::Queue, FaultPoint::Chain,
                FaultPoint::Disk, FaultPoint::Function];
            let place = places[place];
            let what = kinds(place)[kind % kinds(place).len()];
            let bit = |n: u32| seed >> n & 1 == 1;
            let rule = Rule {
                place,
                what,
                device: bit(0).then(|| "disk0".into()),
                register: bit(1).then(|| "IMSTR".into()),
                function: bit(2).then(|| "f".into()),
                value: bit(3).then_some(3),
                mask: bit(4).then_some(seed | 1),
                count: bit(5).then_some(2),
                delay: bit(6).then_some(Time(1_000)),
                when: When { nth: bit(7).then_some(Nth { first: 1, last: 9 }), ..When::default() },
            };
            // TOML has signed numbers only.
            let rule = Rule { mask: rule.mask.map(|mask| mask >> 1 | 1), ..rule };
            let scenario = Default::default();
            let plan = Plan { title: "t".into(), about: String::new(), scenario, fault: vec![rule] };
            let text = toml::to_string(&plan).unwrap();
            match parse("p", &text) {
                Ok(read) => prop_assert_eq!(read, plan),
                Err(error) => prop_assert!(matches!(error, PlanError::Rule { .. }), "{}", error),
            }
        }
    }
}
