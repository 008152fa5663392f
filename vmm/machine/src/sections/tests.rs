use super::*;

static FORM: Form = Form {
    magic: b"a file of tests\n",
    version: 3,
    name: "test",
    limit: |kind| (1..=2).contains(&kind).then(|| kind * 100),
};

fn good() -> Vec<u8> {
    let mut writer = Writer::new(&FORM, Vec::new()).unwrap();
    writer.add(1, &[b"one", b"two"]).unwrap();
    writer.add(2, &[&[7; 200]]).unwrap();
    writer.add(1, &[]).unwrap();
    assert!(writer.add(1, &[&[0; 101]]).is_err());
    assert!(writer.add(3, &[b"x"]).is_err());
    writer.finish().unwrap()
}

fn all(bytes: &[u8]) -> Result<Vec<(u32, Vec<u8>)>, ReadError> {
    let mut reader = Reader::new(&FORM, bytes)?;
    let mut sections = Vec::new();
    while let Some(section) = reader.section()? {
        sections.push(section);
    }
    Ok(sections)
}

#[test]
fn what_is_written_is_read() {
    let sections = all(&good()).unwrap();
    assert_eq!(sections.len(), 3);
    assert_eq!(sections[0], (1, b"onetwo".to_vec()));
    assert_eq!(sections[2], (1, Vec::new()));
}

#[test]
fn every_changed_bit_and_every_cut_is_seen() {
    let good = good();
    for length in 0..good.len() {
        let error = all(&good[..length]).unwrap_err();
        let right = if length == 0 {
            matches!(error, ReadError::Foreign("test"))
        } else {
            matches!(error, ReadError::Truncated)
        };
        assert!(right, "{length}: {error}");
    }
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(all(&bad).is_err(), "{bit}");
    }
    let mut long = good.clone();
    long.push(0);
    assert!(matches!(all(&long), Err(ReadError::Damaged(_))));
    // A section that is gone, one that is there twice.
    let section = 20..20 + 12 + 6;
    let gone = [&good[..section.start], &good[section.end..]].concat();
    let twice = [&good[..section.end], &good[section.start..]].concat();
    assert!(all(&gone).is_err() && all(&twice).is_err());
}

#[test]
fn other_files_and_versions_are_told_apart() {
    assert!(matches!(all(b"ELF"), Err(ReadError::Foreign("test"))));
    let mut newer = good();
    newer[16] = 4;
    let error = all(&newer).unwrap_err().to_string();
    assert_eq!(
        error,
        "it has version 4 of the form of a test, but this program reads version 3 only"
    );
}
