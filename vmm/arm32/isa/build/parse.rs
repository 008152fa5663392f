//! The table language: `insn` declarations, `class` lines and encoding rows.

use super::pattern::Pattern;
use super::predicate::Expr;
use super::text::{idents, split_commas};
use anyhow::{Context, bail, ensure};

/// An instruction set, as far as encodings are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Set {
    /// 32-bit ARM encodings.
    A32,
    /// 32-bit Thumb encodings, first halfword in the upper half.
    T32,
    /// 16-bit Thumb encodings.
    T16,
}

impl Set {
    /// Returns the name as in table files and in Rust.
    pub fn name(self) -> &'static str {
        match self {
            Self::A32 => "A32",
            Self::T32 => "T32",
            Self::T16 => "T16",
        }
    }
}

/// A variant of the instruction enum.
#[derive(Clone, Debug)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// The table file that declares it.
    pub file: String,
    /// Doc lines.
    pub doc: Vec<String>,
    /// Field names and Rust types.
    pub fields: Vec<(String, String)>,
}

/// One encoding of one instruction set.
#[derive(Clone, Debug)]
pub struct Row {
    /// Name, unique in its set.
    pub name: String,
    /// The set.
    pub set: Set,
    /// The bits.
    pub pattern: Pattern,
    /// The `where` text and its meaning, the condition field's rule included.
    pub condition: Option<(String, Expr)>,
    /// Which variant it makes.
    pub variant: String,
    /// Expression for each field of the variant, in the variant's order.
    pub fields: Vec<(String, String)>,
    /// Assembler template.
    pub template: String,
    /// Class names.
    pub classes: Vec<String>,
    /// File and line.
    pub origin: String,
}

/// All tables together.
#[derive(Debug, Default)]
pub struct Table {
    /// The enum's variants.
    pub variants: Vec<Variant>,
    /// The encodings, in file order.
    pub rows: Vec<Row>,
    /// What fields of a name mean, for their doc comments: file, name, text.
    pub glossary: Vec<(String, String, String)>,
}

impl Row {
    /// Returns name, file and line, for messages.
    pub fn place(&self) -> String {
        format!("{} ({})", self.name, self.origin)
    }

    /// Returns whether the row's condition holds for a word that matches its pattern.
    pub fn accepts(&self, word: u32) -> bool {
        self.condition
            .as_ref()
            .is_none_or(|(_, e)| e.eval(&self.pattern, word) != 0)
    }

    /// Returns the bits that the condition looks at.
    pub fn condition_mask(&self) -> u32 {
        let mut letters = Vec::new();
        if let Some((_, expr)) = &self.condition {
            expr.letters(&mut letters);
        }
        letters
            .iter()
            .filter_map(|l| self.pattern.field(*l))
            .fold(0, |acc, f| acc | f.mask())
    }
}

impl Table {
    fn variant(&self, name: &str) -> Option<&Variant> {
        self.variants.iter().find(|v| v.name == name)
    }

    /// Returns what a field of a variant means: the glossary of its own file goes before others.
    pub fn meaning(&self, variant: &Variant, field: &str) -> Option<&str> {
        let named = || self.glossary.iter().filter(|(_, name, _)| name == field);
        let own = named().find(|(file, _, _)| *file == variant.file);
        own.or_else(|| named().next())
            .map(|(_, _, text)| text.as_str())
    }
}

/// Parses table files (name, text).
///
/// # Errors
/// A message for each mistake.
pub fn parse(sources: &[(String, String)]) -> Result<Table, Vec<String>> {
    let mut table = Table::default();
    let mut errors = Vec::new();
    let mut rows = Vec::new();
    for (file, text) in sources {
        let mut doc = Vec::new();
        let mut classes = Vec::new();
        for (line, logical) in logical_lines(text) {
            let origin = format!("{file}:{line}");
            let (word, rest) = logical.split_once(' ').unwrap_or((&logical, ""));
            match word {
                "##" => doc.push(rest.to_owned()),
                "insn" => match variant(file, rest, std::mem::take(&mut doc)) {
                    Ok(v) if table.variant(&v.name).is_some() => {
                        errors.push(format!("{origin}: {} is declared twice", v.name));
                    }
                    Ok(v) => table.variants.push(v),
                    Err(e) => errors.push(format!("{origin}: {e:#}")),
                },
                "field" => {
                    let (name, meaning) = rest.trim().split_once(' ').unwrap_or((rest, ""));
                    let entry = (file.clone(), name.to_owned(), meaning.trim().to_owned());
                    table.glossary.push(entry);
                }
                // For the rows up to the next such line of the file.
                "class" => classes = rest.split_whitespace().map(str::to_owned).collect(),
                _ => rows.push((origin, classes.clone(), logical)),
            }
        }
    }
    // Rows after declarations, so that a row may use a variant of a later file.
    for (origin, classes, text) in rows {
        match row(&table, &origin, &classes, &text) {
            Ok(new) => table.rows.extend(new),
            Err(e) => errors.push(format!("{origin}: {e:#}")),
        }
    }
    // Tests and tools refer to rows by name.
    for (index, row) in table.rows.iter().enumerate() {
        if table.rows[..index]
            .iter()
            .any(|r| r.set == row.set && r.name == row.name)
        {
            errors.push(format!(
                "{}: the name is used twice in {}",
                row.place(),
                row.set.name()
            ));
        }
    }
    if errors.is_empty() {
        Ok(table)
    } else {
        Err(errors)
    }
}

/// Joins continuation lines (they start with white space) and drops comments and empty lines.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (index, raw) in text.lines().enumerate() {
        let trimmed = raw.trim();
        if trimmed.is_empty() || (trimmed.starts_with('#') && !trimmed.starts_with("##")) {
            continue;
        }
        match lines.last_mut() {
            Some((_, last)) if raw.starts_with(char::is_whitespace) => {
                last.push(' ');
                last.push_str(trimmed);
            }
            _ => lines.push((index + 1, trimmed.to_owned())),
        }
    }
    lines
}

/// Parses `Name { field: type, ... }`; a field without a type is a register number, `u8`.
fn variant(file: &str, text: &str, doc: Vec<String>) -> anyhow::Result<Variant> {
    ensure!(!doc.is_empty(), "a variant needs a `## doc` line before it");
    let (name, fields) = braces(text)?;
    let fields = split_commas(fields)
        .into_iter()
        .map(|f| {
            let (field, ty) = f.split_once(':').unwrap_or((f, "u8"));
            (field.trim().to_owned(), ty.trim().to_owned())
        })
        .collect();
    Ok(Variant {
        name: name.to_owned(),
        file: file.to_owned(),
        doc,
        fields,
    })
}

/// Splits `Name { inside }` or `Name`.
fn braces(text: &str) -> anyhow::Result<(&str, &str)> {
    let text = text.trim();
    match text.split_once('{') {
        None => Ok((text, "")),
        Some((name, rest)) => rest
            .trim_end()
            .strip_suffix('}')
            .map(|inside| (name.trim(), inside))
            .with_context(|| format!("`}}` missing in `{text}`")),
    }
}

fn row(table: &Table, origin: &str, classes: &[String], text: &str) -> anyhow::Result<Vec<Row>> {
    // No operator of a condition is `=>`, so that the first one ends the condition.
    let (left, right) = text.split_once("=>").context("a row needs `=>`")?;
    let (head, condition) = match left.split_once(" where ") {
        Some((head, condition)) => (head, Some(condition.trim())),
        None => (left, None),
    };
    let (name, rest) = head
        .trim()
        .split_once(' ')
        .context("a row is NAME SET PATTERN ...")?;
    let (set, bits) = rest
        .trim()
        .split_once(' ')
        .context("a row is NAME SET PATTERN ...")?;
    // Expressions have no quotes: the first one begins the template.
    let (value, template) = right
        .split_once('"')
        .and_then(|(v, t)| t.trim_end().strip_suffix('"').map(|t| (v, t)))
        .context("a row ends in an assembler template in double quotes")?;
    let (variant, exprs) = braces(value)?;
    let fields = field_exprs(table, variant, exprs)?;
    let twins: Vec<(Set, String)> = match set {
        "A32" => vec![(Set::A32, bits.to_owned())],
        "T32" => vec![(Set::T32, bits.to_owned())],
        "T16" => vec![(Set::T16, bits.to_owned())],
        "AT" => vec![
            (Set::A32, bits.to_owned()),
            (Set::T32, Pattern::a32_to_t32(bits)?),
        ],
        other => bail!("`{other}` is not A32, T32, T16 or AT"),
    };
    let mut rows = Vec::new();
    for (set, bits) in twins {
        let pattern = Pattern::parse(&bits)?;
        ensure!(
            (set == Set::T16) == (pattern.width == 16),
            "{} patterns are not {} bits wide",
            set.name(),
            pattern.width
        );
        rows.push(Row {
            name: name.to_owned(),
            set,
            condition: full_condition(set, &pattern, condition)?,
            pattern,
            variant: variant.to_owned(),
            fields: fields.clone(),
            template: template.to_owned(),
            classes: classes.to_vec(),
            origin: origin.to_owned(),
        });
    }
    Ok(rows)
}

/// Adds the rule of the condition field, letter `c`, to the row's own condition.
fn full_condition(
    set: Set,
    pattern: &Pattern,
    own: Option<&str>,
) -> anyhow::Result<Option<(String, Expr)>> {
    // 1111 is no condition in A32, and neither are 1110 and 1111 in T32 branches.
    let implied = pattern
        .field('c')
        .map(|_| if set == Set::A32 { "c != 15" } else { "c < 14" });
    let text = match (implied, own) {
        (None, None) => return Ok(None),
        (Some(rule), None) => rule.to_owned(),
        (None, Some(own)) => own.to_owned(),
        // The rule in front, where the emitter of the decoder finds and drops it for A32.
        (Some(rule), Some(own)) => format!("{rule} && ({own})"),
    };
    let expr = Expr::parse(&text)?;
    let mut letters = Vec::new();
    expr.letters(&mut letters);
    // Evaluation would take such a letter for zero and hide the mistake.
    if let Some(missing) = letters.iter().find(|l| pattern.field(**l).is_none()) {
        bail!("condition `{text}` uses `{missing}`, which the pattern lacks");
    }
    Ok(Some((text, expr)))
}

/// Puts a row's `field: expr` list in the order of the variant and checks that it is complete.
fn field_exprs(table: &Table, variant: &str, exprs: &str) -> anyhow::Result<Vec<(String, String)>> {
    let declared = table
        .variant(variant)
        .with_context(|| format!("no `insn {variant}` is declared"))?;
    let mut given: Vec<(&str, &str)> = split_commas(exprs)
        .into_iter()
        .map(|e| e.split_once(':').map(|(f, x)| (f.trim(), x.trim())))
        .collect::<Option<_>>()
        .with_context(|| format!("`{exprs}` is not a list of `field: expression`"))?;
    let mut fields = Vec::new();
    for (field, ty) in &declared.fields {
        let at = given
            .iter()
            .position(|(f, _)| f == field)
            .with_context(|| format!("{variant} needs a value for `{field}`"))?;
        // Taken out, so that what is left at the end is unknown or given twice.
        let (_, expr) = given.remove(at);
        fields.push((field.clone(), qualify(ty, expr)));
    }
    match given.first() {
        None => Ok(fields),
        Some((extra, _)) => bail!("{variant} has no field `{extra}`, or it is given twice"),
    }
}

/// Completes an expression: `Add` in a field of type `DpOp` means `DpOp::Add`; a plain number is a
/// `u32`.
fn qualify(ty: &str, expr: &str) -> String {
    let names = idents(expr);
    let bare = names.len() == 1 && names[0] == expr;
    let first = expr.chars().next().unwrap_or(' ');
    if bare && first.is_ascii_digit() {
        // Letters are `u32`; without a suffix it would be open which conversion is meant.
        format!("{expr}u32")
    } else if bare && first.is_ascii_uppercase() && expr.len() > 1 {
        // A single capital is a letter of the pattern.
        format!("{ty}::{expr}")
    } else {
        expr.to_owned()
    }
}
