//! What is wrong with something that a user wrote.

/// Something that a user wrote is not what it should be: a sentence for the user, or the end of
/// one, that says what is wrong and what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TextError(String);

impl From<String> for TextError {
    fn from(sentence: String) -> Self {
        Self(sentence)
    }
}

impl From<&str> for TextError {
    fn from(sentence: &str) -> Self {
        Self(sentence.to_owned())
    }
}
