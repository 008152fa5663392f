//! What a user asks the sanitizer for.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::Kind;

/// The word that every request begins with.
const DMA: &str = "dma";
/// The word that has translations kept as long as hardware may keep them.
const STALE: &str = "stale";

/// What to look for: `dma` for all kinds but [`Kind::SharedLine`], or `dma=KIND,...`; `stale` among
/// the kinds has the IOMMUs keep translations as long as the architecture lets hardware keep them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Options {
    /// The kinds that are looked for; never empty.
    pub kinds: BTreeSet<Kind>,
    /// Whether translations are kept until they are invalidated, however many there are.
    pub stale: bool,
}

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// It begins with another word.
    #[error("{0:?} is not known: use dma, or dma=KIND,...")]
    Word(String),
    /// It names no such kind.
    #[error("{0:?} is not known: use {known}", known = known())]
    Kind(String),
}

/// Returns all words that may stand behind `dma=`.
fn known() -> String {
    let kinds = Kind::ALL.map(Kind::name).join(", ");
    format!("{kinds} or {STALE}")
}

impl Options {
    /// Returns whether reports of `kind` are wanted.
    pub fn wants(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }

    /// Returns whether reports of any of `kinds` are wanted.
    pub fn wants_any(&self, kinds: &[Kind]) -> bool {
        kinds.iter().any(|kind| self.wants(*kind))
    }
}

/// As it is asked for.
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = Kind::ALL.into_iter().filter(|kind| kind.is_default());
        let all = self.kinds.iter().copied().eq(all.collect::<BTreeSet<_>>());
        let kinds = self.kinds.iter().filter(|_| !all).map(|kind| kind.name());
        let words: Vec<&str> = self
            .stale
            .then_some(STALE)
            .into_iter()
            .chain(kinds)
            .collect();
        match words.is_empty() {
            true => f.write_str(DMA),
            false => write!(f, "{DMA}={}", words.join(",")),
        }
    }
}

impl FromStr for Options {
    type Err = OptionsError;

    fn from_str(text: &str) -> Result<Self, OptionsError> {
        let (word, list) = match text.split_once('=') {
            Some((word, list)) => (word, Some(list)),
            None => (text, None),
        };
        if word != DMA {
            return Err(OptionsError::Word(text.into()));
        }
        let mut options = Self {
            kinds: BTreeSet::new(),
            stale: false,
        };
        for name in list.into_iter().flat_map(|list| list.split(',')) {
            if name == STALE {
                options.stale = true;
                continue;
            }
            let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
            let kind = kind.ok_or_else(|| OptionsError::Kind(name.into()))?;
            options.kinds.insert(kind);
        }
        // `stale` alone restricts nothing.
        if options.kinds.is_empty() {
            let all = Kind::ALL.into_iter();
            options.kinds.extend(all.filter(|kind| kind.is_default()));
        }
        Ok(options)
    }
}

impl TryFrom<String> for Options {
    type Error = OptionsError;

    fn try_from(text: String) -> Result<Self, OptionsError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Options {
        text.parse().unwrap()
    }

    #[test]
    fn kinds_are_chosen_by_name() {
        let mut all: BTreeSet<Kind> = Kind::ALL.into();
        assert!(all.remove(&Kind::SharedLine));
        assert_eq!(parsed("dma").kinds, all);
        assert!(!parsed("dma").stale);
        assert_eq!(parsed("dma=stale").kinds, all);
        assert!(parsed("dma=stale").stale);
        for kind in Kind::ALL {
            let options = parsed(&format!("dma={kind}"));
            assert_eq!(options.kinds, [kind].into());
            assert!(options.wants(kind) && !options.stale);
        }
        let both = parsed("dma=leak,stale,direction,leak");
        assert_eq!(both.kinds, [Kind::Direction, Kind::Leak].into());
        assert!(both.stale);
    }

    #[test]
    fn what_is_asked_for_can_be_asked_for_again() {
        for text in ["dma", "dma=stale", "dma=leak", "dma=stale,direction,leak"] {
            assert_eq!(parsed(text).to_string(), text);
        }
        let all = Kind::ALL.map(Kind::name).join(",");
        let every = parsed(&format!("dma={all},stale"));
        assert_eq!(every.kinds, Kind::ALL.into());
        assert_eq!(parsed(&every.to_string()), every);
    }

    #[test]
    fn a_mistake_names_what_there_is() {
        let mistake = |text: &str| text.parse::<Options>().unwrap_err().to_string();
        assert_eq!(
            mistake("cpu"),
            "\"cpu\" is not known: use dma, or dma=KIND,..."
        );
        assert!(mistake("").contains("use dma"));
        for wrong in ["dma=", "dma=leaks", "dma=leak,", "dma=stale=1"] {
            let sentence = mistake(wrong);
            assert!(
                sentence.contains("ownership, shared-line or stale"),
                "{sentence}"
            );
        }
    }
}
