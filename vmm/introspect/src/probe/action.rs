//! What a probe does when it is hit.

use vmm_machine::vcpu::{Core, Resume};

use super::ast::{Action, Expr, Site};
use super::eval::{EvalError, Evaluator};
use super::outcome::Hit;
use super::scope::ScopeError;

/// Does what `action` says, and records it in `hit`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a register holds the low bits of the two's complement"
)]
pub(super) fn take(evaluator: &mut Evaluator<'_, '_>, action: &Action, hit: &mut Hit) -> Resume {
    let result = match action {
        Action::Print(values) => {
            for value in values {
                // A value that cannot be read is recorded as well, with the reason.
                hit.values.push((value.to_string(), evaluator.value(value)));
            }
            Ok(())
        }
        Action::Set(place, value) => set(evaluator, place, value, hit),
        // The value comes first: if it cannot be read, the function runs as if there were no probe.
        Action::Return(value) => number(evaluator, value.as_ref()).map(|value| {
            evaluator.core.return_at_once(value.map(|v| v as u64));
            hit.actions.push(match value {
                Some(value) => format!("returned {value} at once"),
                None => "returned at once".into(),
            });
        }),
        Action::Goto(site) => goto(evaluator, site, hit),
        Action::Stop => {
            hit.actions.push("ended the run".into());
            return Resume::End;
        }
    };
    // An action that fails does not end the run: the guest goes on, and the hit tells why.
    if let Err(error) = result {
        hit.actions.push(format!("failed: {error}"));
    }
    Resume::Continue
}

fn number(evaluator: &Evaluator<'_, '_>, value: Option<&Expr>) -> Result<Option<i128>, EvalError> {
    value
        .map(|value| {
            evaluator
                .value(value)?
                .number()
                .ok_or(EvalError::NotANumber)
        })
        .transpose()
}

fn set(
    evaluator: &mut Evaluator<'_, '_>,
    place: &Expr,
    value: &Expr,
    hit: &mut Hit,
) -> Result<(), EvalError> {
    let Expr::Path(place) = place else {
        return Err(ScopeError::ReadOnly(place.to_string()).into());
    };
    let value = evaluator
        .value(value)?
        .number()
        .ok_or(EvalError::NotANumber)?;
    let change = evaluator.set(place, value)?;
    hit.actions.push(format!("set {place} to {value}"));
    hit.changes.push(change);
    Ok(())
}

fn goto(evaluator: &mut Evaluator<'_, '_>, site: &Site, hit: &mut Hit) -> Result<(), EvalError> {
    // At least one place: the probe was checked against this kernel before it was set.
    let target = evaluator.scope.places(site)?[0];
    // The table of symbols does not tell the instruction set. A kernel is built for one, so the
    // target's is the core's.
    let thumb = match &evaluator.core {
        Core::Aarch32(core) => core.state().psr.thumb,
        Core::Aarch64(_) => false,
    };
    evaluator.core.branch(target | u64::from(thumb));
    hit.actions.push(format!("went on at {site}"));
    Ok(())
}
