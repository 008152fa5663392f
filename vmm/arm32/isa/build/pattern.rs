//! Bit patterns: `cccc 0010 100S nnnn dddd (0000) iiiiiiii`.

use anyhow::{Context, bail, ensure};

/// A run of adjacent bits that belongs to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Lowest bit.
    pub lo: u32,
    /// Number of bits.
    pub len: u32,
}

/// A named field: one letter, one or more runs, most significant first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The letter that stands for it in the pattern.
    pub letter: char,
    /// Where its bits are.
    pub parts: Vec<Part>,
}

impl Field {
    /// Returns the field's value in `word`.
    pub fn extract(&self, word: u32) -> u64 {
        self.parts.iter().fold(0, |acc, p| {
            // In 64 bits, for a run may have all 32.
            let mask = (1u64 << p.len) - 1;
            (acc << p.len) | ((u64::from(word) >> p.lo) & mask)
        })
    }

    /// Returns all bits of the field, in place.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a field lies within the 32 bits of an instruction"
    )]
    pub fn mask(&self) -> u32 {
        self.parts
            .iter()
            .fold(0, |acc, p| acc | ((((1u64 << p.len) - 1) << p.lo) as u32))
    }

    /// Returns Rust source of an expression that extracts the field from a variable `w`.
    pub fn source(&self) -> String {
        let mut text = String::new();
        for Part { lo, len } in &self.parts {
            let one = format!("bits(w, {lo}, {len})");
            // A call, so that no expression around it needs parentheses.
            text = if text.is_empty() {
                one
            } else {
                format!("cat({text}, {len}, {one})")
            };
        }
        text
    }
}

/// A parsed bit pattern of 16 or 32 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// 16 or 32.
    pub width: u32,
    /// Bits that decide whether a word matches.
    pub mask: u32,
    /// Their values.
    pub value: u32,
    /// Should-be bits, `(0)` and `(1)`: not looked at when decoding.
    pub should_mask: u32,
    /// What the should-be bits should be.
    pub should_value: u32,
    /// The letters.
    pub fields: Vec<Field>,
}

impl Pattern {
    /// Parses pattern text; white space is decoration.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a pattern is a line of a table"
    )]
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut cells: Vec<(char, bool)> = Vec::new();
        let mut should = false;
        for ch in text.chars() {
            match ch {
                c if c.is_whitespace() => {}
                '(' if !should => should = true,
                ')' if should => should = false,
                '0' | '1' => cells.push((ch, should)),
                '.' => cells.push((ch, false)),
                c if c.is_ascii_alphabetic() && !should => cells.push((c, false)),
                other => bail!("unexpected {other:?} in pattern `{text}`"),
            }
        }
        let width = cells.len() as u32;
        ensure!(
            !should && matches!(width, 16 | 32),
            "pattern `{text}` has {width} bits, not 16 or 32"
        );
        let mut pattern = Self {
            width,
            mask: 0,
            value: 0,
            should_mask: 0,
            should_value: 0,
            fields: Vec::new(),
        };
        // No letter, so that the first one begins a run.
        let mut previous = '.';
        for (index, (ch, should)) in cells.into_iter().enumerate() {
            pattern.add(width - 1 - index as u32, ch, should, previous == ch);
            previous = ch;
        }
        Ok(pattern)
    }

    fn add(&mut self, bit: u32, ch: char, should: bool, continues: bool) {
        match ch {
            '0' | '1' => {
                let value = u32::from(ch == '1') << bit;
                if should {
                    self.should_mask |= 1 << bit;
                    self.should_value |= value;
                } else {
                    self.mask |= 1 << bit;
                    self.value |= value;
                }
            }
            '.' => {}
            letter => self.add_letter(bit, letter, continues),
        }
    }

    fn add_letter(&mut self, bit: u32, letter: char, continues: bool) {
        let part = Part { lo: bit, len: 1 };
        match self.fields.iter_mut().find(|f| f.letter == letter) {
            Some(field) => match field.parts.last_mut() {
                Some(last) if continues => {
                    // Bits come from the top down: a run grows at its lower end.
                    last.lo = bit;
                    last.len += 1;
                }
                _ => field.parts.push(part),
            },
            None => self.fields.push(Field {
                letter,
                parts: vec![part],
            }),
        }
    }

    /// Returns the field of that letter.
    pub fn field(&self, letter: char) -> Option<&Field> {
        self.fields.iter().find(|f| f.letter == letter)
    }

    /// Returns the T32 form of an A32 pattern that both sets share (DDI 0406C A6.3.18, A7.7).
    ///
    /// # Errors
    /// If the pattern has no such form.
    pub fn a32_to_t32(text: &str) -> anyhow::Result<String> {
        let cells: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        // Coprocessor instructions, VFP among them: AL stands in place of the condition.
        if let Some(rest) = cells.strip_prefix("cccc") {
            return Ok(format!("1110{rest}"));
        }
        // Data processing of Advanced SIMD: U moves from bit 24 to bit 28.
        if let Some(rest) = cells.strip_prefix("1111001") {
            let mut rest = rest.chars();
            let unsigned = rest.next().context("pattern too short")?;
            return Ok(format!("111{unsigned}1111{}", rest.as_str()));
        }
        // Element and structure loads and stores.
        if let Some(rest) = cells.strip_prefix("11110100") {
            return Ok(format!("11111001{rest}"));
        }
        // Unconditional coprocessor instructions, such as MCR2, are the same words in both sets.
        ensure!(
            cells.starts_with("11111"),
            "pattern `{text}` has no T32 twin: write A32 and T32 rows"
        );
        Ok(cells)
    }
}
