//! The program with settings that make no sense.

use std::process::Command;

#[test]
fn a_bad_setting_is_one_line_that_names_it_and_exit_code_2() {
    for (variable, value) in [
        ("GATEBUS_CHAT_PAGE", "8080"),
        ("GATEBUS_LOG", "gatebus=loud"),
        ("NATS_URL", "http://127.0.0.1"),
        ("GATEBUS_PREFIX", "a b"),
        ("GATEBUS_CONCURRENCY", "none"),
        ("NATS_TOKEN_FILE", "no/such/file"),
        ("NATS_CA_FILE", "no/such/file"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_gatebus-chat"))
            .env_clear()
            .env(variable, value)
            .output()
            .expect("the program runs");
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(2), "{variable}: {said}");
        assert_eq!(said.lines().count(), 1, "{variable}: {said}");
        assert!(said.contains(variable), "{said}");
        if value == "no/such/file" {
            assert!(said.contains("No such file"), "and why: {said}");
        }
    }
}
