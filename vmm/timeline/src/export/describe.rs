//! Events and states in words: one wording for every format.

use vmm_base::Seconds;

use crate::{
    Address, Argument, Burst, ChangedLocation, Direction, Event, Kind, Lane, Mark, Point, Route,
    State, Value, VerdictKind,
};

/// The tone of an event, for someone who scans for trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Bad,
}

impl Tone {
    pub(super) fn of(kind: &Kind) -> Self {
        match kind {
            Kind::BusError { .. } | Kind::Fault { .. } | Kind::Mistake { .. } => Self::Bad,
            Kind::Dma { route, .. } | Kind::Attachment { to: route } => match route {
                Route::Context { .. } => Self::Good,
                Route::Stray | Route::Blocked => Self::Bad,
                // A device without an IOMMU uses physical addresses rightly.
                Route::Untranslated => Self::Plain,
            },
            Kind::Verdict { ok, .. } => {
                if *ok {
                    Self::Good
                } else {
                    Self::Bad
                }
            }
            _ => Self::Plain,
        }
    }
}

/// Describes `event` in one line.
pub(super) fn summary(event: &Event) -> String {
    match &event.kind {
        Kind::Probe {
            function,
            point,
            arguments,
            actions,
            ..
        } => probe(function, *point, arguments, actions),
        Kind::Register {
            register,
            value,
            meaning,
        } => match value {
            Some(value) => format!("{register} = {:#010x}: {meaning}", value.0),
            None => format!("{register}: {meaning}"),
        },
        Kind::Attachment { to } => attachment(*to),
        Kind::Binding { driver } => match driver {
            Some(driver) => format!("bound to {driver}"),
            None => "unbound".to_owned(),
        },
        Kind::Invalidated { burst, range } => invalidated(burst, range.as_ref()),
        Kind::Filled { burst, physical } => pages(burst, ("translation", "filled"), *physical),
        Kind::Mapped { burst, physical } => pages(burst, ("mapping", "made"), *physical),
        Kind::Unmapped { burst } => unmapped(burst),
        Kind::Fault {
            burst,
            direction,
            reason,
            level,
        } => format!(
            "{reason}{} at IOVA {} ({direction}){}",
            level.map_or_else(String::new, |level| format!(", level {level},")),
            burst.first,
            times(burst)
        ),
        Kind::BusError {
            burst,
            direction,
            physical,
        } => format!(
            "bus error: {} of {}, no memory at physical {physical}{}",
            direction,
            burst.first,
            times(burst)
        ),
        Kind::Dma {
            burst,
            direction,
            route,
        } => dma(burst, *direction, *route),
        Kind::Interrupt {
            line,
            source,
            pulses,
            until,
        } => {
            let often = match pulses {
                0..=1 => String::new(),
                pulses => format!(" {pulses} times"),
            };
            let active = if until.is_none() {
                ", still active"
            } else {
                ""
            };
            format!("{source} (interrupt {line}) raised{often}{active}")
        }
        Kind::Console { text } => text.clone(),
        Kind::Mistake { mistake, text } => format!("{mistake}: {text}"),
        Kind::Verdict { ok, text } => {
            format!("{}: {text}", if *ok { "as it should be" } else { "wrong" })
        }
    }
}

fn unmapped(burst: &Burst) -> String {
    let often = match burst.count {
        0..=1 => String::new(),
        count => format!(", {count} times"),
    };
    let bytes = bytes(burst.bytes);
    format!("{bytes} unmapped from IOVA {}{often}", burst.first)
}

fn attachment(to: Route) -> String {
    match to {
        Route::Context { context } => format!("enabled on context {context}"),
        Route::Stray => "disabled: accesses now pass untranslated".to_owned(),
        Route::Untranslated => "disabled".to_owned(),
        Route::Blocked => "blocked".to_owned(),
    }
}

fn pages(burst: &Burst, (what, done): (&str, &str), physical: Address) -> String {
    format!(
        "{} {done}, {} from IOVA {}, the first to {physical}",
        count(burst.count, what),
        bytes(burst.bytes),
        burst.first
    )
}

fn invalidated(burst: &Burst, range: Option<&(Address, Address)>) -> String {
    let what = match range {
        Some((first, last)) => format!("translations of {first} to {last}"),
        None => "all translations".to_owned(),
    };
    match burst.count {
        0..=1 => format!("{what} forgotten"),
        count => format!("{what} forgotten {count} times"),
    }
}

fn probe(function: &str, point: Point, arguments: &[Argument], actions: &[String]) -> String {
    let mut text = match point {
        Point::Entry => function.to_owned(),
        Point::Return => format!("{function} returns"),
        Point::Offset(offset) => format!("{function}+{offset:#x}"),
    };
    if !arguments.is_empty() {
        let list: Vec<String> = arguments
            .iter()
            .map(|argument| format!("{}={}", argument.name, value(&argument.value)))
            .collect();
        text.push_str(&format!(" ({})", list.join(", ")));
    }
    for action in actions {
        text.push_str(&format!(" [{action}]"));
    }
    text
}

fn dma(burst: &Burst, direction: Direction, route: Route) -> String {
    let verb = match direction {
        Direction::Read => "reads",
        Direction::Write => "writes",
    };
    let way = match route {
        Route::Context { context } => format!("through context {context}"),
        Route::Stray => "UNTRANSLATED onto the bus".to_owned(),
        Route::Untranslated => "at physical addresses".to_owned(),
        Route::Blocked => "at a blocked port".to_owned(),
    };
    format!(
        "{verb} {} at {} {way}{}",
        bytes(burst.bytes),
        burst.first,
        times(burst)
    )
}

fn times(burst: &Burst) -> String {
    if burst.count > 1 {
        format!(" ({} accesses)", burst.count)
    } else {
        String::new()
    }
}

/// Returns the fields of `event`, name by name, for whoever looks closer.
pub(super) fn details(event: &Event) -> Vec<(String, String)> {
    let mut list: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: String| list.push((name.to_owned(), value));
    if let Some(core) = event.core {
        add("core", core.to_string());
    }
    if let Some(burst) = event.kind.burst()
        && burst.until > event.at
    {
        add("until", format!("{} s", seconds(burst.until)));
    }
    // The burst of an invalidation only counts: it has no addresses.
    let addressed = |kind: &Kind| !matches!(kind, Kind::Invalidated { .. });
    if let Some(burst) = event.kind.burst().filter(|_| addressed(&event.kind)) {
        add("accesses", burst.count.to_string());
        if burst.bytes > 0 {
            add("bytes", format!("{} ({})", burst.bytes, bytes(burst.bytes)));
        }
        add("first address", burst.first.to_string());
        add("range", format!("{} to {}", burst.lowest, burst.highest));
    }
    match &event.kind {
        Kind::Probe {
            function,
            point,
            arguments,
            caller,
            actions,
        } => {
            add(
                "function",
                match point {
                    Point::Entry => format!("{function}, entry"),
                    Point::Return => format!("{function}, return"),
                    Point::Offset(offset) => format!("{function}+{offset:#x}"),
                },
            );
            if let Some(caller) = caller {
                add("called from", caller.clone());
            }
            for argument in arguments {
                add(&argument.name, value(&argument.value));
            }
            for action in actions {
                add("action", action.clone());
            }
        }
        Kind::Register {
            register,
            value,
            meaning,
        } => {
            add("register", register.clone());
            if let Some(value) = value {
                add("value", format!("{:#010x}", value.0));
            }
            add("meaning", meaning.clone());
        }
        Kind::Filled { physical, .. }
        | Kind::Mapped { physical, .. }
        | Kind::BusError { physical, .. } => {
            add("physical address", physical.to_string());
        }
        Kind::Interrupt { pulses, until, .. } => {
            add("pulses", pulses.to_string());
            if let Some(until) = until {
                add("lowered", format!("{} s", seconds(*until)));
            }
        }
        _ => {}
    }
    list
}

/// Returns a value as a probe prints it.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Pointer(address, Some(symbol)) => format!("{symbol} ({address})"),
        Value::Pointer(address, None) => address.to_string(),
        Value::Text(text) => format!("\"{text}\""),
        Value::Unreadable(why) => format!("<{why}>"),
    }
}

/// Describes a state in a few words.
pub(super) fn state(state: &State) -> String {
    match state {
        State::Enabled { context } => format!("enabled, context {context}"),
        State::Disabled { lost: true } => "DISABLED: passes untranslated".to_owned(),
        State::Disabled { lost: false } => "disabled".to_owned(),
        State::Blocked => "blocked".to_owned(),
        State::Bound { driver } => format!("bound to {driver}"),
        State::Unbound => "unbound".to_owned(),
    }
}

/// Returns what a lane is, in a word.
pub(super) fn lane_type(lane: &Lane) -> &'static str {
    match lane {
        Lane::Verdict => "verdict",
        Lane::Probes => "probes",
        Lane::Unit { .. } => "unit",
        Lane::Utlb { .. } => "utlb",
        Lane::Device { .. } => "device",
        Lane::Context { .. } => "context",
        Lane::Interrupts => "interrupts",
        Lane::Console => "console",
    }
}

/// Returns what was changed, as the place is written.
pub(super) fn place(place: &ChangedLocation) -> String {
    match place {
        ChangedLocation::Memory { address, width } => {
            format!("{} at {address}", count((*width).into(), "byte"))
        }
        ChangedLocation::Register { name } => format!("register {name}"),
    }
}

/// Returns the word of a mark.
pub(super) fn mark(mark: Mark) -> &'static str {
    match mark {
        Mark::Ok => "ok",
        Mark::Bad => "BAD",
        Mark::Note => "note",
        Mark::None => "-",
    }
}

/// Returns the word of an outcome.
pub(super) fn outcome(outcome: VerdictKind) -> &'static str {
    match outcome {
        VerdictKind::Expected => "As expected",
        VerdictKind::Unexpected => "Not as expected",
        VerdictKind::Undecided => "Undecided",
    }
}

/// Returns nanoseconds as seconds, with all nine digits: exact.
pub(super) fn seconds(ns: u64) -> String {
    Seconds(ns).to_string()
}

/// Returns a number of bytes in short form.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    // The largest unit takes all that is left, so that shifts stay below 64.
    while unit + 1 < UNITS.len() && bytes >> (10 * (unit + 1)) > 0 {
        unit += 1;
    }
    let shift = 10 * unit;
    let whole = bytes >> shift;
    // Tenths, of the part that is cut off; integers, so that every machine writes the same.
    let tenth = if unit == 0 {
        0
    } else {
        ((bytes >> (shift - 10)) & 0x3ff) * 10 / 1024
    };
    if tenth == 0 {
        format!("{whole} {}", UNITS[unit])
    } else {
        format!("{whole}.{tenth} {}", UNITS[unit])
    }
}

/// Returns a number and its noun.
pub(super) fn count(count: u64, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_sizes_and_times() {
        assert_eq!(bytes(0), "0 bytes");
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(1024), "1 KiB");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(64 << 20), "64 MiB");
        assert_eq!(bytes(u64::MAX), "16777215.9 TiB");
        assert_eq!(seconds(1_000_000_001), "1.000000001");
        assert_eq!(seconds(u64::MAX), "18446744073.709551615");
    }
}
