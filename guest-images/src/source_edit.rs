//! Small edits of an unpacked source, each checked: the text to be replaced must be there, exactly
//! once, in the place that it is expected in.

use crate::Error;

/// A small edit of an unpacked source: in one section of one file, one text is replaced by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceEdit {
    /// What it comes to, in a few words that lists show with the image.
    pub name: &'static str,
    /// The file, relative to the top of the source.
    pub path: &'static str,
    /// The line that begins the section, without its end. The section goes on to the next line that
    /// is neither indented nor empty.
    pub section: &'static str,
    /// The text to be replaced, whole lines with their ends.
    pub old: &'static str,
    /// The text in its place.
    pub new: &'static str,
}

impl SourceEdit {
    /// Returns the file's text after the edit.
    ///
    /// # Errors
    /// [`Error::SourceEdit`] unless the section and in it the text to be replaced are there exactly
    /// once.
    pub(crate) fn apply(&self, text: &str) -> Result<String, Error> {
        let fail = |detail| Error::SourceEdit {
            edit: self.name,
            path: self.path,
            detail,
        };
        let (start, end) = only_section(text, self.section)
            .ok_or_else(|| fail(format!("the file has not exactly one {:?}", self.section)))?;
        let section = &text[start..end];
        if section.matches(self.old).count() != 1 {
            return Err(fail(format!(
                "{:?} has not exactly one {:?}",
                self.section,
                self.old.trim()
            )));
        }
        let edited = section.replacen(self.old, self.new, 1);
        Ok([&text[..start], &edited, &text[end..]].concat())
    }
}

/// Returns where the only section that begins with this line is.
fn only_section(text: &str, first: &str) -> Option<(usize, usize)> {
    let (mut found, mut open, mut offset) = (None, None, 0);
    for line in text.split_inclusive('\n') {
        if !line.starts_with([' ', '\t', '\n']) {
            if let Some(start) = open.take() {
                found = Some((start, offset));
            }
            if line.trim_end() == first {
                // A second section of that name: either could be meant.
                if found.is_some() {
                    return None;
                }
                open = Some(offset);
            }
        }
        offset += line.len();
    }
    found.or_else(|| open.map(|start| (start, text.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EDIT: SourceEdit = SourceEdit {
        name: "widened",
        path: "Kconfig",
        section: "config B",
        old: "\tdepends on X\n",
        new: "\tdepends on X || Y\n",
    };

    const KCONFIG: &str = "# Text.\nconfig A\n\tdepends on X\n\nconfig B\n\tbool\n\tdepends on \
        X\n\n\thelp\n\t  Text.\n\n\
                           config BB\n\tdepends on X\n";

    #[test]
    fn only_the_named_section_is_edited() {
        let edited = EDIT.apply(KCONFIG).unwrap();
        let expected = KCONFIG.replace("bool\n\tdepends on X\n", "bool\n\tdepends on X || Y\n");
        assert_ne!(expected, KCONFIG);
        assert_eq!(edited, expected);
    }

    #[test]
    fn the_last_section_may_end_with_the_file() {
        let edit = SourceEdit {
            section: "config BB",
            ..EDIT
        };
        assert!(
            edit.apply(KCONFIG)
                .unwrap()
                .ends_with("config BB\n\tdepends on X || Y\n")
        );
    }

    #[test]
    fn what_is_not_as_expected_is_a_sentence() {
        let twice = format!("{KCONFIG}config B\n\tdepends on X\n");
        let doubled = KCONFIG.replace("\tbool\n", "\tdepends on X\n");
        for (text, words) in [
            ("", "not exactly one \"config B\""),
            (&*twice, "not exactly one \"config B\""),
            (&*doubled, "not exactly one \"depends on X\""),
            (
                &*EDIT.apply(KCONFIG).unwrap(),
                "not exactly one \"depends on X\"",
            ),
        ] {
            let sentence = EDIT.apply(text).unwrap_err().to_string();
            assert!(
                sentence.contains(words) && sentence.contains("Kconfig"),
                "{sentence}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "(config B\n|\tdepends on X\n|\n| |a|é){0,12}") {
            if let Ok(edited) = EDIT.apply(&text) {
                prop_assert_eq!(edited.len(), text.len() + EDIT.new.len() - EDIT.old.len());
            }
        }
    }
}
