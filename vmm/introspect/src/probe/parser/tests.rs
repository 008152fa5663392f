use super::super::ast::*;
use super::super::parser::parse;

fn path(root: &str, fields: &[&str]) -> Expr {
    Expr::Path(Path {
        root: root.into(),
        cast: None,
        fields: fields.iter().map(|f| f.to_string()).collect(),
    })
}

fn refused(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn a_function_is_enough() {
    let probe = parse(" arch_teardown_dma_ops ").unwrap();
    assert_eq!(probe.site.to_string(), "arch_teardown_dma_ops");
    assert_eq!((probe.condition, probe.actions), (None, vec![]));
    assert_eq!(probe.text, "arch_teardown_dma_ops");
}

#[test]
fn values_are_printed() {
    let probe =
        parse("arch_teardown_dma_ops { print(dev.name, dev->archdata.dma_ops_setup) }").unwrap();
    let values = vec![
        path("dev", &["name"]),
        path("dev", &["archdata", "dma_ops_setup"]),
    ];
    assert_eq!(probe.actions, [Action::Print(values)]);
}

#[test]
fn sites_take_offsets_returns_and_the_names_of_clones() {
    assert_eq!(parse("f+0x1c").unwrap().site.offset, 0x1c);
    assert!(parse("f@return").unwrap().site.at_return);
    assert_eq!(
        parse("f.part.0+4").unwrap().site.to_string(),
        "f.part.0+0x4"
    );
    assert!(refused("f+4@return").contains("offset"));
    assert!(refused("f@entry").contains("`return` after `@`"));
    assert!(refused("f+4294967296").contains("32 bits"));
}

#[test]
fn numbers_have_64_bits() {
    let printed = |text: &str| parse(&format!("f {{ print({text}) }}")).map(|p| p.actions);
    for (text, number) in [
        ("0xffff800080000000", 0xffff_8000_8000_0000),
        ("18446744073709551615", u64::MAX.into()),
        ("-9223372036854775808", i64::MIN.into()),
    ] {
        let expected = vec![Action::Print(vec![Expr::Number(number)])];
        assert_eq!(printed(text), Ok(expected), "{text}");
    }
    for text in ["0x10000000000000000", "18446744073709551616"] {
        assert!(refused(&format!("f {{ print({text}) }}")).contains("not a number"));
    }
    assert!(refused("f { print(-9223372036854775809) }").contains("64 bits"));
}

#[test]
fn a_question_mark_makes_a_probe_optional() {
    let probe = parse("? f@return { print(retval) }").unwrap();
    assert!(probe.optional && probe.site.at_return);
    assert!(!probe.instead && !parse("f").unwrap().optional);
    let probe = parse("?? f").unwrap();
    assert!(probe.optional && probe.instead);
    assert!(refused("??? f").contains("name of a guest function"));
    assert!(refused("f ?").contains("should end here"));
}

#[test]
fn conditions_bind_as_in_c() {
    let probe = parse(r#"f if dev.name == "a" && r1 != 0 || !retval { stop }"#).unwrap();
    let Some(Expr::Binary(left, Operator::Or, right)) = probe.condition else {
        panic!("{:?}", probe.condition)
    };
    assert!(matches!(*left, Expr::Binary(_, Operator::And, _)));
    assert_eq!(*right, Expr::Not(Box::new(path("retval", &[]))));
}

#[test]
fn actions_stand_in_a_row() {
    let probe =
        parse("f { set(dev.dma_ops, 0); set(r0, -EPROBE_DEFER); goto f+8; return -ENODEV; stop; }")
            .unwrap();
    assert_eq!(probe.actions.len(), 5);
    assert_eq!(
        probe.actions[1],
        Action::Set(path("r0", &[]), Expr::Number(-517))
    );
    assert_eq!(probe.actions[3], Action::Return(Some(Expr::Number(-19))));
}

#[test]
fn return_stands_alone_or_with_a_value_and_at_an_entry() {
    assert_eq!(
        parse("f { return }").unwrap().actions,
        [Action::Return(None)]
    );
    assert!(refused("f@return { return 0 }").contains("entry"));
    assert!(refused("f+4 { return 0 }").contains("entry"));
}

#[test]
fn casts_and_addresses() {
    let probe = parse("f if dev.dma_ops == &iommu_ops { print((struct device *)r4.kobj.name) }");
    let probe = probe.unwrap();
    let Some(Expr::Binary(_, Operator::Equal, right)) = probe.condition else {
        panic!()
    };
    assert_eq!(*right, Expr::AddressOf("iommu_ops".into()));
    let [Action::Print(values)] = &probe.actions[..] else {
        panic!()
    };
    let [Expr::Path(path)] = &values[..] else {
        panic!()
    };
    assert_eq!(path.to_string(), "(struct device)r4.kobj.name");
}

#[test]
fn mistakes_are_sentences_with_a_place() {
    for (text, part) in [
        (
            "",
            "the name of a guest function is missing (at character 1)",
        ),
        ("f {", "an action"),
        ("f { print() }", "a value is missing"),
        ("f { print(a }", "`)` is missing"),
        ("f { jump }", "`jump` is no action"),
        ("f { set(1, 2) }", "only a register"),
        ("f if", "a value is missing"),
        ("f if a ==", "a value is missing"),
        ("f g", "the probe should end here (at character 3)"),
        ("f { print(\"a) }", "closing"),
        ("f { print(0x) }", "`0x` is not a number"),
        ("f § g", "means nothing"),
        ("f { print(a.) }", "the name of a field"),
    ] {
        let message = refused(text);
        assert!(message.contains(part), "{text}: {message}");
    }
    assert!(refused(&format!("f if {}1", "(".repeat(100))).contains("deeply"));
    assert!(refused(&"f".repeat(5000)).contains("4096"));
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[ -~]{0,60}") {
        let _ = parse(&text);
    }

    #[test]
    fn any_row_of_tokens_is_read_or_refused(words in proptest::collection::vec(
        proptest::sample::select(vec!["f", "if", "{", "}", "print", "(", ")", ",", ";", ".", "->", "set",
            "return", "@", "+", "1", "\"t\"", "&&", "||", "!", "-", "&", "struct", "goto", "=="]), 0..40)) {
        let _ = parse(&words.join(" "));
    }
}
