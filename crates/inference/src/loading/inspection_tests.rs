#![expect(clippy::unwrap_used, reason = "a failed test may panic")]
use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::operators::OperatorLibrary;

fn inspect(bytes: &[u8]) -> Result<Inspection, String> {
    Inspection::of(Cursor::new(bytes), bytes.len() as u64)
}

fn field(number: u64, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![(number << 3 | 2) as u8 & 0x7f];
    if number > 15 {
        bytes = vec![(number << 3 | 2) as u8 | 0x80, (number >> 4) as u8];
    }
    let mut length = content.len();
    loop {
        let more = if length >= 0x80 { 0x80 } else { 0 };
        bytes.push((length & 0x7f) as u8 | more);
        length >>= 7;
        if length == 0 {
            break;
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

/// A model whose one node has a domain, an operator and, in a constant, a reference to a file.
fn model(domain: &str, location: &str) -> Vec<u8> {
    let entry = [field(1, b"location"), field(2, location.as_bytes())].concat();
    let constant = field(5, &field(5, &field(13, &entry)));
    let node = [field(4, b"Add"), field(7, domain.as_bytes()), constant].concat();
    field(7, &field(1, &node))
}

#[test]
fn a_reference_is_found_wherever_a_tensor_may_stand() {
    let entry = [field(1, b"location"), field(2, b"w.bin")].concat();
    let tensor = field(13, &entry);
    let attribute = |inner: Vec<u8>| field(7, &field(1, &field(5, &inner)));
    let graph = |graph: Vec<u8>| field(7, &graph);
    for bytes in [
        graph(field(5, &tensor)),
        graph(field(15, &field(1, &tensor))),
        attribute(field(5, &tensor)),
        attribute(field(10, &tensor)),
        attribute(field(6, &field(5, &tensor))),
        attribute(field(11, &field(5, &tensor))),
        attribute(field(22, &field(2, &tensor))),
        field(20, &field(1, &field(5, &tensor))),
        field(25, &field(7, &field(5, &field(5, &tensor)))),
    ] {
        assert_eq!(inspect(&bytes).unwrap().external, ["w.bin".to_owned()].into());
    }
    let here = field(13, &[field(1, b"location"), field(2, b"./a/./w.bin")].concat());
    assert_eq!(inspect(&graph(field(5, &here))).unwrap().external, ["a/w.bin".to_owned()].into());
}

#[test]
fn files_outside_of_the_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("1")).unwrap();
    for name in ["secret", "1/weights.bin"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    std::os::unix::fs::symlink("../secret", folder.path().join("1/link")).unwrap();
    std::os::unix::fs::symlink("..", folder.path().join("1/up")).unwrap();
    let version = folder.path().join("1");
    let check =
        |location: &str| inspect(&model("", location)).unwrap().check(&version, &Libraries::default());
    assert_eq!(check("weights.bin"), Ok(()));
    for location in ["../secret", "/etc/passwd", "link", "up/secret", "./../secret", "..\\secret", "", "."] {
        assert!(check(location).unwrap_err().contains("not a file in"), "{location}");
    }
    assert!(check("none.bin").unwrap_err().contains("missing"));
}

#[test]
fn operators_of_libraries_are_refused_and_functions_of_the_file_are_not() {
    let read = |bytes: &[u8]| {
        let mut inspection = inspect(bytes).unwrap();
        inspection.leave_out_functions(&Libraries::default());
        inspection
    };
    let check = |bytes: &[u8]| read(bytes).check(Path::new("."), &Libraries::default());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.so");
    fs::write(&path, "a program").unwrap();
    let library = OperatorLibrary::parse(path.to_str().unwrap()).unwrap();
    let own = |domain| field(7, &field(1, &[field(4, b"Add"), field(7, domain)].concat()));
    assert_eq!(check(&own(b"com.microsoft")), Ok(()));
    assert!(check(&own(b"com.example")).unwrap_err().contains("com.example"));
    let function = |name: &[u8], domain: &[u8]| field(25, &[field(1, name), field(10, domain)].concat());
    let brought = [own(b"com.example"), function(b"Add", b"com.example")].concat();
    assert_eq!(check(&brought), Ok(()));
    assert_eq!(read(&brought).operators.len(), 0, "its own nodes count");
    assert!(check(&[own(b"com.example"), function(b"Sub", b"com.example")].concat()).is_err());
    let mut with_library = inspect(&brought).unwrap();
    with_library.leave_out_functions(&Libraries::of(&[library], &["own.so".to_owned()]).unwrap());
    assert_eq!(with_library.operators.len(), 1, "and so may a library");
    let hidden = [own(b"com.microsoft"), function(b"Add", b"com.microsoft")].concat();
    assert_eq!(read(&hidden).operators.len(), 1, "the runtime may have that one, too");
}

#[test]
fn depth_and_lengths_are_bounded() {
    let mut deep = Vec::new();
    for _ in 0..200 {
        deep = field(1, &field(5, &field(6, &deep)));
    }
    assert!(inspect(&field(7, &deep)).unwrap_err().contains("too many"));
    assert!(inspect(&model(&"x".repeat(5000), "w")).unwrap_err().contains("too long"));
    assert!(inspect(&[0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).is_err());
    assert!(inspect(b"this is no model").is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_wait(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = inspect(&bytes);
    }

    #[test]
    fn a_damaged_model_is_read_or_refused(at in 0usize..60, byte in any::<u8>(), cut in 0usize..60) {
        let mut bytes = model("com.example", "weights.bin");
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(bytes.len().saturating_sub(cut));
        let _ = inspect(&bytes);
    }
}
