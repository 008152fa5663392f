//! The rules of the table language: what a table may say and what stops the build.

#[path = "../build/mod.rs"]
mod table;

use table::generate;

const ENUM: &str = "## Something.\ninsn Thing { a, b: u32, flag: bool }\n## Nothing.\ninsn Nothing { }\nclass DATA\n";

fn compile(rows: &str) -> Result<Vec<(&'static str, String)>, Vec<String>> {
    generate(&[("test.isa".to_owned(), format!("{ENUM}{rows}"))])
}

fn error(rows: &str) -> String {
    compile(rows).expect_err("the table is wrong").join("\n")
}

fn generated(rows: &str, file: &str) -> String {
    let files = compile(rows).expect("the table is right");
    files
        .into_iter()
        .find(|(name, _)| *name == file)
        .expect("the file is generated")
        .1
}

#[test]
fn overlapping_rows_are_an_error_that_names_both_and_a_word() {
    let text = error(
        "ONE T16 0000 .... 1111 .... => Nothing \"one\"\nTWO T16 .... 0000 1111 .... => Nothing \"two\"\n",
    );
    assert!(text.contains("ONE (test.isa:6)"), "{text}");
    assert!(text.contains("TWO (test.isa:7)"), "{text}");
    assert!(text.contains("T16 word 0xf0"), "{text}");
}

#[test]
fn equal_rows_are_an_error() {
    let text = error(
        "ONE T16 0000 nnnn 1111 .... => Nothing \"one\"\nTWO T16 0000 .... 1111 mmmm => Nothing \"two\"\n",
    );
    assert!(text.contains("ambiguous"), "{text}");
}

#[test]
fn rows_of_different_sets_do_not_overlap() {
    let rows = "X A32 1111 0000 .... .... .... .... .... .... => Nothing \"x\"\n\
                X T32 1111 0000 .... .... .... .... .... .... => Nothing \"x\"\n";
    assert!(compile(rows).is_ok());
}

#[test]
fn a_special_case_wins_without_further_words() {
    let rows = "GENERAL T16 0000 nnnn .... .... => Nothing \"g\"\n\
                SPECIAL T16 0000 1111 .... .... => Nothing \"s\"\n";
    let decode = generated(rows, "decode.rs");
    // Both are in the bucket of 0000 1111 ..: the special one, row 2, goes first.
    assert!(decode.contains("2, 1,"), "{decode}");
}

#[test]
fn conditions_that_exclude_each_other_settle_an_overlap() {
    let rows = |a: &str, b: &str| {
        format!(
            "ONE T16 0000 nnnn .... dddd where {a} => Nothing \"one\"\n\
             TWO T16 0000 nnnn mmmm .... where {b} => Nothing \"two\"\n"
        )
    };
    assert!(compile(&rows("n != 15", "n == 15")).is_ok());
    assert!(compile(&rows("n >= 8", "n < 8")).is_ok());
    assert!(compile(&rows("n >> 3 == 1", "n & 8 == 0")).is_ok());
    assert!(compile(&rows("popcount(n) > 2", "!(popcount(n) >= 3)")).is_ok());
    let text = error(&rows("n > 8", "n < 10"));
    assert!(text.contains("0x900"), "nine satisfies both: {text}");
}

#[test]
fn a_condition_makes_a_special_case_of_equal_bits() {
    let rows = "ANY T16 0000 nnnn .... .... => Nothing \"any\"\n\
                SOME T16 0000 nnnn .... .... where n == 3 => Nothing \"some\"\n";
    assert!(compile(rows).is_ok());
}

#[test]
fn the_condition_field_excludes_1111() {
    let rows = "COND A32 cccc 0000 .... .... .... .... .... .... => Nothing \"c{c}\"\n\
                UNCOND A32 1111 0000 1... .... .... .... .... .... => Nothing \"u\"\n\
                OTHER A32 1111 0000 0... .... .... .... .... .... => Nothing \"o\"\n";
    assert!(compile(rows).is_ok());
}

#[test]
fn split_letters_are_one_field_from_left_to_right() {
    let rows = "X T16 0000 d000 0000 0ddd => Thing { a: d, b: 7, flag: d == 3 } \"x\"\n";
    let insn = generated(rows, "insn.rs");
    assert!(
        insn.contains("a: field(cat(bits(w, 11, 1), 3, bits(w, 0, 3)))"),
        "{insn}"
    );
    assert!(insn.contains("b: field(7u32)"), "{insn}");
}

#[test]
fn should_be_bits_do_not_decide() {
    let rows = "X T16 0000 0000 0000 (01)00 => Nothing \"x\"\n";
    let meta = generated(rows, "meta.rs");
    assert!(meta.contains("mask: 0x0000fff3"), "{meta}");
    assert!(meta.contains("should_mask: 0x0000000c"), "{meta}");
    assert!(meta.contains("should_value: 0x00000004"), "{meta}");
}

#[test]
fn shared_rows_get_a_t32_twin() {
    let twin = |bits: &str| {
        let meta = generated(&format!("X AT {bits} => Nothing \"x\"\n"), "meta.rs");
        let values: Vec<String> = meta
            .lines()
            .filter_map(|l| l.trim().strip_prefix("value: "))
            .map(str::to_owned)
            .collect();
        values
    };
    assert_eq!(
        twin("cccc 1110 0000 0000 0000 0000 0000 0000"),
        ["0x0e000000,", "0xee000000,"]
    );
    assert_eq!(
        twin("1111 0011 0000 0000 0000 0000 0000 0001"),
        ["0xf3000001,", "0xff000001,"]
    );
    assert_eq!(
        twin("1111 0010 0000 0000 0000 0000 0000 0001"),
        ["0xf2000001,", "0xef000001,"]
    );
    assert_eq!(
        twin("1111 0100 0000 0000 0000 0000 0000 0001"),
        ["0xf4000001,", "0xf9000001,"]
    );
    assert_eq!(
        twin("1111 1110 0000 0000 0000 0000 0000 0001"),
        ["0xfe000001,", "0xfe000001,"]
    );
    assert!(
        error("X AT 1111 0000 0000 0000 0000 0000 0000 0001 => Nothing \"x\"\n").contains("twin")
    );
}

#[test]
fn mistakes_are_explained() {
    let cases = [
        ("X T16 0000 => Nothing \"x\"\n", "has 4 bits"),
        (
            "X T16 0000 0000 0000 00*0 => Nothing \"x\"\n",
            "unexpected '*'",
        ),
        (
            "X T15 0000 0000 0000 0000 => Nothing \"x\"\n",
            "is not A32, T32, T16 or AT",
        ),
        (
            "X A32 0000 0000 0000 0000 => Nothing \"x\"\n",
            "not 16 bits wide",
        ),
        (
            "X T16 0000 0000 0000 0000 => Missing \"x\"\n",
            "no `insn Missing`",
        ),
        (
            "X T16 0000 0000 0000 0000 => Thing { a: 1, b: 2 } \"x\"\n",
            "needs a value for `flag`",
        ),
        (
            "X T16 0000 0000 0000 0000 => Nothing { z: 1 } \"x\"\n",
            "no field `z`",
        ),
        (
            "X T16 0000 0000 0000 0000 where q == 1 => Nothing \"x\"\n",
            "uses `q`",
        ),
        (
            "X T16 0000 0000 0000 nnnn where n == => Nothing \"x\"\n",
            "no letter or number",
        ),
        (
            "X T16 0000 0000 0000 nnnn where (n == 1 => Nothing \"x\"\n",
            "`)` expected",
        ),
        (
            "X T16 0000 0000 0000 0000 => Nothing\n",
            "template in double quotes",
        ),
        (
            "X T16 0000 0000 0000 0000 => Nothing \"{missing}\"\n",
            "template names `missing`",
        ),
        ("X T16 0000 0000 0000 0000 \"x\"\n", "a row needs `=>`"),
        ("insn Undocumented { }\n", "needs a `## doc` line"),
        (
            "X T16 0000 0000 0000 0000 => Nothing \"x\"\nX T16 0000 0000 0000 0001 => Nothing \"x\"\n",
            "used twice",
        ),
    ];
    for (rows, expected) in cases {
        let text = error(rows);
        assert!(text.contains(expected), "{rows} gave: {text}");
        assert!(text.contains("test.isa:"), "no place in: {text}");
    }
}
