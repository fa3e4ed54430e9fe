use proptest::prelude::*;

use super::*;
use crate::config::keys::{Key, Kind};

const OWN: Section = Section {
    name: "prog",
    strict: true,
    keys: &[
        Key::new("ip_bind_port", Kind::Integer, "port").or("bind_port"),
        Key::new("ip_listen_address", Kind::Text, "address"),
        Key::new("secret", Kind::Text, "a text"),
        Key::new("receive", Kind::Switch, "a switch"),
        Key::new("devices", Kind::List, "a list"),
    ],
    shared: &[],
};

static PROGRAM: Program = Program {
    name: "prog",
    about: "",
    version: "0",
    once: "",
    section: &OWN,
    other_sections: &[&keys::PATTOO],
    listen: ("0.0.0.0", 5000),
};

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
struct Own {
    ip_bind_port: Option<u16>,
    secret: Option<String>,
    receive: bool,
}

fn read(
    files: &[(&str, &str)],
    environment: &[(&str, &str)],
    mode: Mode,
) -> Result<Configuration, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let get =
        |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    Configuration::read_from(&PROGRAM, mode, folder.path().to_owned(), get)
}

#[test]
fn the_own_file_wins_over_pattoo_yaml_and_the_environment_over_both() {
    let files = [
        ("pattoo.yaml", "prog:\n  ip_bind_port: 1\n  secret: a\npattoo_server: {x: 1}\n3: odd\n"),
        ("prog.yaml", "prog:\n  bind_port: 2\n"),
        ("other.yaml", "prog: [bad"),
    ];
    let own: Own = read(&files, &[], Mode::Foreground).unwrap().own().unwrap();
    assert_eq!(own, Own { ip_bind_port: Some(2), secret: Some("a".into()), receive: false });
    let environment = [
        ("PROG__IP_BIND_PORT", "3"),
        ("PROG__SECRET", "0123456"),
        ("PROG__RECEIVE", "true"),
        ("PROG_PORT", "tcp://x"),
    ];
    let own: Own = read(&files, &environment, Mode::Foreground).unwrap().own().unwrap();
    assert_eq!(own, Own { ip_bind_port: Some(3), secret: Some("0123456".into()), receive: true });
}

#[test]
fn a_fault_names_file_section_and_key() {
    let cases = [
        (
            "prog:\n  ip_bind_prt: 1\n",
            vec!["prog.yaml", "section prog", "unknown key ip_bind_prt", "did you mean ip_bind_port?"],
        ),
        ("prog:\n  ip_bind_port: 70000\n", vec!["prog.yaml", "section prog", "key ip_bind_port", "70000"]),
        ("prog:\n  ip_bind_port: x\n", vec!["prog.yaml", "key ip_bind_port"]),
        ("prog: [1]\n", vec!["prog.yaml", "section prog"]),
        ("prog:\n  bind_port: 1\n  ip_bind_port: 2\n", vec!["prog.yaml", "given twice"]),
        ("- a\n", vec!["prog.yaml", "not a YAML mapping"]),
        ("a: [\n", vec!["prog.yaml", "line"]),
    ];
    for (text, wanted) in cases {
        let error = read(&[("prog.yaml", text)], &[], Mode::Foreground)
            .and_then(|read| read.own::<Own>())
            .unwrap_err();
        for part in wanted {
            assert!(error.to_string().contains(part), "{text:?}: {error}");
        }
    }
}

#[test]
fn an_environment_value_that_does_not_fit_names_its_variable() {
    for (name, value) in [("PROG__IP_BIND_PORT", "x"), ("PROG__RECEIVE", "maybe"), ("PROG__DEVICES", "a")] {
        let error = read(&[], &[(name, value)], Mode::Foreground).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn a_daemon_wants_its_files_and_directories() {
    assert!(matches!(read(&[], &[], Mode::Daemon), Err(ConfigError::File { .. })));
    let read = read(&[("pattoo.yaml", ""), ("prog.yaml", "")], &[], Mode::Daemon).unwrap();
    assert!(read.pattoo().unwrap_err().to_string().contains("daemon_directory"));
}

#[test]
fn an_unknown_key_of_a_shared_section_is_a_warning() {
    let read = read(&[("pattoo.yaml", "pattoo:\n  log_levle: info\n")], &[], Mode::Foreground).unwrap();
    assert_eq!(read.warnings.len(), 1);
    assert!(read.warnings[0].contains("did you mean log_level?"), "{:?}", read.warnings);
}

#[test]
fn one_of_a_few_words_is_answered_with_the_one_that_is_meant() {
    let read = read(&[("pattoo.yaml", "pattoo:\n  log_level: inf\n")], &[], Mode::Foreground).unwrap();
    let error = read.pattoo().unwrap_err().to_string();
    for part in ["pattoo.yaml", "key log_level", "is expected, found \"inf\"; did you mean info?"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn listening_defaults_to_the_programs_own() {
    assert_eq!(read(&[], &[], Mode::Foreground).unwrap().listen().unwrap().to_string(), "0.0.0.0:5000");
    let ipv6 =
        read(&[("prog.yaml", "prog:\n  ip_listen_address: \"0::\"\n")], &[], Mode::Foreground).unwrap();
    assert_eq!(ipv6.listen().unwrap().to_string(), "[::]:5000");
    let bad = read(&[("prog.yaml", "prog:\n  ip_listen_address: 1.2.3\n")], &[], Mode::Foreground).unwrap();
    let error = bad.listen().unwrap_err().to_string();
    assert!(error.contains("prog.yaml") && error.contains("ip_listen_address"), "{error}");
}

#[test]
fn a_text_is_written_so_that_it_reads_back() {
    for (text, wanted) in [
        ("spoke-1.example.com", "spoke-1.example.com"),
        ("a: b", "\"a: b\""),
        ("12", "\"12\""),
        ("null", "\"null\""),
    ] {
        assert_eq!(written(text), wanted);
    }
    for text in [
        "",
        " ",
        "a #b",
        "~",
        "1e5",
        "- x",
        "\"\\",
        "a\nb\r",
        "\u{7f}\u{85}\u{2028}\u{feff}\u{1f980}",
        "yes",
        "{a",
    ] {
        let read: serde_yaml::Value = serde_yaml::from_str(&format!("key: {} # b\n", written(text))).unwrap();
        assert_eq!(read["key"], serde_yaml::Value::from(text), "{}", written(text));
    }
}

#[test]
fn every_key_is_documented() {
    let document = include_str!("../../../../docs/configuration.md");
    let table = keys::PATTOO.table();
    assert!(document.contains(&table), "docs/configuration.md lacks:\n{table}");
}

proptest! {
    #[test]
    fn whatever_a_file_holds_it_is_read_or_refused_with_its_name(
        text in "\\PC{0,80}|(prog:|  (ip_bind_port|receive|secret): (1|x|true|\\[|\\{|&a|\\*a|!!int x|\\|)|- 1|\n|\t){0,12}"
    ) {
        match read(&[("prog.yaml", &text)], &[], Mode::Foreground).and_then(|read| read.own::<Own>()) {
            Ok(_) => {}
            Err(error) => prop_assert!(error.to_string().contains("prog.yaml"), "{error}"),
        }
    }
}
