//! Tests of the options that need no process.

use super::*;

/// Reads options, and no variable of whoever runs the test.
fn read(args: &[&str]) -> Result<Options, Problems> {
    let args = ["gateway-svc"].iter().chain(args).map(Into::into).collect();
    Options::read(args, |_| true, &Protocols::default()).map_err(|e| match e {
        Unread::Wrong(problems) => problems,
        Unread::Asked(e) => panic!("{e}"),
    })
}

fn complaint_about(args: &[&str]) -> String {
    let config = read(args).and_then(|options| options.check(1024, Protocols::default()));
    config.expect_err("it is wrong").to_string()
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let values = [
        "--shards=0",
        "--slow-client=scold",
        "--ack-wait=10",
        "--nats=http://me:s3cret@h",
        "--listen=x",
    ];
    let said = complaint_about(&values);
    assert_eq!(said.lines().count(), values.len(), "{said}");
    for value in values {
        let name = value.split('=').next().expect("a name");
        assert_eq!(said.matches(name).count(), 1, "{name}: {said}");
    }
    assert!(!said.contains("s3cret"), "{said}");

    let rules = [
        "--nats-token-file=/nowhere/a",
        "--nats-ca-file=/nowhere/b",
        "--listen=ftp://0.0.0.0:1?service=a",
        "--listen=tcp://0.0.0.0:1?service=a&cert=/nowhere/c&key=/nowhere/d",
        "--max-message=9MiB",
        "--drain-deadline=1s",
        "--reconnect-max=0s",
    ];
    let said = complaint_about(&rules);
    assert_eq!(said.lines().count(), rules.len(), "{said}");
    assert_eq!(complaint_about(&["--shards"]).lines().count(), 1);
}

#[test]
fn the_effective_configuration_says_what_counts_and_from_where_and_no_password() {
    let urls = "tls://me:s3cret@a,nats://t0ken@b:4333,c";
    let args = ["--nats", urls, "--ack-wait=3s", "--ping-data", "a\nb"];
    let config = read(&args)
        .expect("options")
        .check(1024, Protocols::default());
    let shown = config.expect("a configuration").effective.to_string();
    for line in [
        "NATS_URL=tls://***@a:4222,nats://***@b:4333,c  # --nats",
        "GATEBUS_ACK_WAIT=3s  # --ack-wait",
        "GATEBUS_MAX_MESSAGE=256KiB  # default",
        "GATEBUS_PING_DATA=a\\nb  # --ping-data",
        "# NATS_USER is not set",
    ] {
        assert!(shown.lines().any(|l| l == line), "{line}: {shown}");
    }
    assert!(shown.contains("  # the number of cores\n"), "{shown}");
    assert!(shown.contains("  # the descriptor limit\n"), "{shown}");
    assert!(
        !shown.contains("s3cret") && !shown.contains("t0ken"),
        "{shown}"
    );
}

#[test]
fn a_bad_address_never_shows_its_password() {
    for args in [
        ["--nats", "nats://me:s3cret@host:99999"].as_slice(),
        &["--nats=nats://ok:4222,nats://me:s3cret@host:99999"],
        &["--nats", "nats://ok", "nats://me:s3cret@host"],
        &["nats://me:s3cret@host"],
    ] {
        let said = complaint_about(args);
        assert!(!said.contains("s3cret") && !said.contains('\n'), "{said}");
    }
    let said = complaint_about(&["--nats", "nats://me:s3cret@host:99999"]);
    let start = "invalid value for --nats <URL> (NATS_URL): an address such as";
    assert!(said.starts_with(start), "{said}");
}

#[test]
fn a_password_without_a_user_names_both_options() {
    let said = complaint_about(&["--nats-password-file", "x"]);
    for name in [
        "--nats-password-file",
        "NATS_PASSWORD_FILE",
        "--nats-user",
        "NATS_USER",
    ] {
        assert!(said.contains(name), "{said}");
    }
}

#[test]
fn times_end_at_a_year_and_sums_of_them_do_not_overflow() {
    let year = [
        "--drain-delay",
        "364days",
        "--drain-spread",
        "12h",
        "--drain-deadline",
        "365days",
    ];
    let drain = read(&year)
        .unwrap()
        .check(1024, Protocols::default())
        .unwrap()
        .drain;
    assert_eq!(drain.delay + drain.spread, Duration::from_secs(31_492_800));
    for option in [
        "--drain-delay",
        "--drain-deadline",
        "--ack-wait",
        "--ping-interval",
    ] {
        for time in ["366days", "18446744073709551615s"] {
            let said = complaint_about(&[option, time]);
            assert!(
                said.contains(option) && said.contains("at most 365 days"),
                "{said}"
            );
        }
    }
}

#[test]
fn the_largest_message_fits_an_envelope_with_a_full_session() {
    let mailbox = ["--mailbox", "8MiB"];
    let most = [mailbox.as_slice(), &["--max-message", "8120KiB"]].concat();
    assert_eq!(
        read(&most)
            .unwrap()
            .check(1024, Protocols::default())
            .unwrap()
            .limits
            .max_message,
        MOST_MESSAGE
    );
    let more = [mailbox.as_slice(), &["--max-message", "8121KiB"]].concat();
    let said = complaint_about(&more);
    assert!(
        said.contains("--max-message") && said.contains("8120KiB"),
        "{said}"
    );
}

#[test]
fn a_file_without_a_certificate_is_no_authority() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let said = complaint_about(&["--nats-ca-file", file]);
    assert!(said.contains("--nats-ca-file (NATS_CA_FILE)"), "{said}");
}

#[test]
fn one_tls_address_is_tls_to_all() {
    let tls = |urls| {
        read(&["--nats", urls])
            .unwrap()
            .check(1024, Protocols::default())
            .unwrap()
            .tls
            .is_some()
    };
    assert!(!tls("nats://a,nats://b"));
    assert!(tls("nats://a,tls://b"));
}

#[test]
fn help_names_also_the_variables_that_are_set_to_nothing() {
    let help = ["gateway-svc", "--help"].map(Into::into).to_vec();
    let help = Options::read(help, |_| true, &Protocols::default());
    let Err(Unread::Asked(help)) = help else {
        panic!("it is help");
    };
    let help = help.to_string();
    assert!(help.contains("GATEBUS_TRUSTED_PROXIES"), "{help}");
    assert!(help.contains("websocket, text, frame, tcp"), "{help}");
}

#[test]
fn a_protocol_has_one_name() {
    for scheme in ["ws", "wss", "ftp"] {
        let said = complaint_about(&["--listen", &format!("{scheme}://0.0.0.0:7272?service=chat")]);
        let expected = format!("protocol `{scheme}` is not known; known: websocket");
        assert!(
            said.contains(&expected) && said.contains("--listen"),
            "{said}"
        );
    }
}
