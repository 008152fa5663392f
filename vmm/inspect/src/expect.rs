//! Watching a console for a pattern.
//!
//! A lazily built automaton takes one byte at a time, so that a match across any two writes is
//! found, memory stays bounded however much the guest prints, and the cost a byte does not depend
//! on what came before.

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{self, Compiler};
use regex_automata::util::start;
use regex_syntax::hir::Hir;
use vmm_base::TextError;

/// Bytes that the compiled pattern may take, so that `(a{1000}){1000}` is refused rather than
/// built.
const MAX_PATTERN: usize = 4 << 20;
/// Bytes that the automaton's cache of states may take; it starts over when that is used up.
const CACHE: usize = 4 << 20;

/// Finds the first place at which a stream of bytes matches a pattern.
///
/// `^` and `$` match at lines, which may end with CR LF; `\b`, `\w` and the like know ASCII only.
#[derive(Debug)]
pub struct Expect {
    dfa: DFA,
    cache: Cache,
    state: LazyStateID,
    /// Whether a match can be told before the byte after it has been seen: not when the pattern
    /// looks at that.
    eager: bool,
    found: bool,
}

impl Expect {
    /// Watches for `pattern`.
    ///
    /// # Errors
    /// The pattern cannot be used: what is wrong with it, as a sentence.
    pub fn new(pattern: &str) -> Result<Self, TextError> {
        let bad = |why: TextError| {
            TextError::from(format!(
                "{pattern:?} is not a pattern that can be expected: {why}"
            ))
        };
        let hir = parse(pattern).map_err(bad)?;
        let limits = thompson::Config::new()
            .nfa_size_limit(Some(MAX_PATTERN))
            .utf8(false);
        let nfa = Compiler::new()
            .configure(limits)
            .build_from_hir(&hir)
            .map_err(|_| bad("it takes too much memory".into()))?;
        let dfa = DFA::builder()
            .configure(
                DFA::config()
                    .cache_capacity(CACHE)
                    // Raises the capacity to what a large pattern needs at least, and does not
                    // refuse it.
                    .skip_cache_capacity_check(true),
            )
            .build_from_nfa(nfa)
            .map_err(|error| bad(error.to_string().into()))?;
        let mut cache = dfa.create_cache();
        let state = dfa
            .start_state(&mut cache, &start::Config::new())
            .map_err(|error| bad(error.to_string().into()))?;
        let mut expect = Self {
            dfa,
            cache,
            state,
            eager: hir.properties().look_set().is_empty(),
            found: false,
        };
        // A pattern that matches the empty text would end the run before it has begun.
        if expect.eager && expect.matches_here() {
            return Err(bad(
                "it matches before the guest has shown anything: name something that the console will show".into(),
            ));
        }
        Ok(expect)
    }

    /// Goes on with `bytes`, and returns whether the pattern has been found by now.
    pub fn feed(&mut self, bytes: &[u8]) -> bool {
        for &byte in bytes {
            if self.found {
                break;
            }
            // The automaton only fails when it gives up on its cache or meets a quit byte; it is
            // configured for neither.
            let Ok(next) = self.dfa.next_state(&mut self.cache, self.state, byte) else {
                break;
            };
            self.state = next;
            self.found = next.is_match() || (self.eager && self.matches_here());
        }
        self.found
    }

    /// Ends the stream, and returns whether the pattern was found in all of it.
    pub fn finish(&mut self) -> bool {
        self.found = self.found || self.matches_here();
        self.found
    }

    /// Returns whether there would be a match if the stream ended here. (Match states come one byte
    /// late.)
    fn matches_here(&mut self) -> bool {
        self.dfa
            .next_eoi_state(&mut self.cache, self.state)
            .is_ok_and(|state| state.is_match())
    }
}

fn parse(pattern: &str) -> Result<Hir, TextError> {
    let mut parser = regex_syntax::ParserBuilder::new();
    parser
        // A console is one long text, whose lines a serial terminal ends with CR LF.
        .multi_line(true)
        .crlf(true)
        // A guest prints any bytes, UTF-8 or not. Lazy automata lack Unicode's word boundaries.
        .unicode(false)
        .utf8(false);
    parser.build().parse(pattern).map_err(|error| match error {
        regex_syntax::Error::Parse(error) => error.kind().to_string().into(),
        regex_syntax::Error::Translate(error) => error.kind().to_string().into(),
        other => other.to_string().lines().last().unwrap_or_default().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(pattern: &str, chunks: &[&[u8]]) -> bool {
        let mut expect = Expect::new(pattern).unwrap();
        chunks.iter().any(|chunk| expect.feed(chunk)) || expect.finish()
    }

    #[test]
    fn finds_across_chunks_and_as_early_as_it_may() {
        assert!(found("guest: ready", &[b"xx gue", b"st", b": ready"]));
        assert!(!found("guest: ready", &[b"guest: read"]));
        let mut prompt = Expect::new("login: ").unwrap();
        assert!(!prompt.feed(b"login:"));
        assert!(prompt.feed(b" "));
    }

    #[test]
    fn anchors_wait_for_the_next_byte() {
        let mut end = Expect::new("^done$").unwrap();
        assert!(!end.feed(b"done"));
        assert!(!end.feed(b"done\n"));
        assert!(!end.feed(b"done"));
        assert!(end.feed(b"\r\n"));
        assert!(found("^done$", &[b"x\n", b"done"]));
        assert!(!found("^done$", &[b"xdone"]));
    }

    #[test]
    fn any_byte_is_input() {
        assert!(found("a.b", &[b"a\xffb"]));
        assert!(found("\u{e9}t\u{e9}", &["\u{e9}t\u{e9}".as_bytes()]));
        assert!(found(r"\bok\b", &[b"\xff\xfe ok \x80"]));
    }

    #[test]
    fn bad_patterns_are_sentences() {
        for pattern in [
            "",
            "x*",
            "(",
            "a{2,1}",
            "[z-a]",
            "(a{1000}){1000}",
            r"\p{Greek}",
        ] {
            let error = Expect::new(pattern).unwrap_err().to_string();
            assert_eq!(error.lines().count(), 1, "{error}");
            assert!(error.contains("is not a pattern"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn chunking_does_not_matter(text in "[ab\\n]{0,40}", cuts in proptest::collection::vec(0..40_usize, 0..5)) {
            for pattern in ["aab", "^ab*$", "b\\na", "(a|ba)b{2}$"] {
                let bytes = text.as_bytes();
                let inside = cuts.iter().map(|cut| (*cut).min(bytes.len()));
                let mut cuts: Vec<usize> = inside.chain([0, bytes.len()]).collect();
                cuts.sort_unstable();
                let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
                let regex = regex_automata::hybrid::regex::Regex::builder()
                    .syntax(regex_automata::util::syntax::Config::new().multi_line(true).crlf(true))
                    .build(pattern)
                    .unwrap();
                let whole = regex.is_match(&mut regex.create_cache(), bytes);
                prop_assert_eq!(found(pattern, &chunks), whole);
            }
        }
    }
}
