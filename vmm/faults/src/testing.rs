//! Injections for unit tests.

use std::sync::Arc;

use super::delayed_action::DelayedAction;
use super::engine::Injection;
use super::plan;
use super::spec::Rule;

/// Returns the rules of a plan with this text.
pub fn rules(text: &str) -> Vec<Rule> {
    plan::parse("p", &format!("title = \"t\"\n{text}"))
        .unwrap()
        .fault
}

/// Returns an injection with this fault, armed.
pub fn armed(fault: &str) -> Arc<Injection> {
    let injection = Injection::new();
    injection.arm(&rules(&format!("[[fault]]\n{fault}\n")), 1);
    injection
}

impl Injection {
    /// Takes out all delayed actions that are set.
    pub fn all_alarms(&self) -> Vec<DelayedAction> {
        self.due_by(u64::MAX)
    }
}
