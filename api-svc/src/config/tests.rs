//! Tests of the options that need no process.

use super::*;

/// Reads options, and no variable of whoever runs the test.
fn read(args: &[&str]) -> Result<Config, String> {
    let args = ["api-svc"].iter().chain(args).map(Into::into).collect();
    let options = Options::read(args, |_| true).map_err(|e| complaint(&e))?;
    options.check()
}

fn complaint_about(args: &[&str]) -> String {
    read(args).expect_err("it is wrong")
}

#[test]
fn nobody_is_let_in_unless_somebody_says_who() {
    let said = complaint_about(&[]);
    assert!(
        said.contains("--tokens-file") && said.contains("--no-auth"),
        "{said}"
    );
    assert!(read(&["--no-auth"]).unwrap().is_open());
    let said = complaint_about(&["--no-auth", "--tokens-file", "x"]);
    assert!(said.contains("exclude each other"), "{said}");
    let said = complaint_about(&["--tokens-file", "no/such/file"]);
    assert!(
        said.contains("GATEBUS_API_TOKENS_FILE") && said.contains("no/such/file"),
        "{said}"
    );
}

#[test]
fn a_bad_value_is_told_by_the_names_of_flag_and_variable_and_without_a_password() {
    for (args, names) in [
        (
            ["--nats", "nats://me:s3cret@host:99999"],
            ["--nats", "NATS_URL"],
        ),
        (["--nats", "http://me:s3cret@host"], ["--nats", "NATS_URL"]),
        (["--prefix", "a b"], ["--prefix", "GATEBUS_PREFIX"]),
        (["--max-body", "0"], ["--max-body", "GATEBUS_API_MAX_BODY"]),
        (
            ["--max-batch", "0"],
            ["--max-batch", "GATEBUS_API_MAX_BATCH"],
        ),
        (
            ["--request-timeout", "0s"],
            ["--request-timeout", "GATEBUS_API_REQUEST_TIMEOUT"],
        ),
        (
            ["--drain-deadline", "5s"],
            ["--drain-deadline", "GATEBUS_API_DRAIN_DEADLINE"],
        ),
        (["--nats-user", "me"], ["--nats-user", "NATS_PASSWORD_FILE"]),
        (
            ["--nats-ca-file", "no/such"],
            ["--nats-ca-file", "NATS_CA_FILE"],
        ),
        (["--listen", "here"], ["--listen", "GATEBUS_API_LISTEN"]),
    ] {
        let said = complaint_about(&[&["--no-auth"], &args[..]].concat());
        assert!(names.iter().all(|name| said.contains(name)), "{said}");
        assert!(!said.contains("s3cret") && !said.contains('\n'), "{said}");
    }
    // The second of two addresses, with a space between them.
    let said = complaint_about(&["--no-auth", "--nats", "nats://a", "nats://me:s3cret@b"]);
    assert!(!said.contains("s3cret"), "{said}");
}

#[test]
fn a_time_may_be_short_but_never_nothing() {
    for option in ["--idle-timeout", "--head-timeout", "--answer-timeout"] {
        assert!(read(&["--no-auth", option, "1ms"]).is_ok());
        for wrong in ["0s", "10", "off", "366d"] {
            let said = complaint_about(&["--no-auth", option, wrong]);
            let variable = option
                .trim_start_matches("--")
                .replace('-', "_")
                .to_uppercase();
            let names = [option.to_owned(), format!("GATEBUS_API_{variable}")];
            assert!(names.iter().all(|name| said.contains(name)), "{said}");
        }
    }
}
