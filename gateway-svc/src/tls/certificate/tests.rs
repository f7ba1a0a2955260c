//! The watcher, look by look.

use std::{os::unix::fs::symlink, path::Path};

use tempfile::TempDir;

use super::*;
use crate::tls::testing::{Pair, pair};

fn files(folder: &Path) -> CertificateFiles {
    CertificateFiles {
        cert: folder.join("tls.crt"),
        key: folder.join("tls.key"),
    }
}

fn write(folder: &Path, cert: &str, key: &str) {
    let files = files(folder);
    fs::write(files.cert, cert).expect("a file");
    fs::write(files.key, key).expect("a file");
}

/// A certificate from a folder, and who watches it.
fn watched(Pair { cert, key }: &Pair) -> (TempDir, Watcher) {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), cert, key);
    let certificate = Certificate::load(files(folder.path()), &[]).expect("a pair");
    (folder, Watcher::new(Arc::new(certificate)))
}

/// Which configuration is the newest: a new one is another.
fn newest(watcher: &Watcher) -> *const ServerConfig {
    Arc::as_ptr(&watcher.certificate.config())
}

#[test]
fn a_change_counts_when_it_has_stood_for_a_look() {
    let (folder, mut watcher) = watched(&pair());
    let first = watcher.certificate.config();
    assert_eq!(watcher.look(), Look::Nothing);
    let next = pair();
    write(folder.path(), &next.cert, &next.key);
    assert_eq!(watcher.look(), Look::Nothing);
    assert_eq!(watcher.look(), Look::Renewed);
    assert_ne!(newest(&watcher), Arc::as_ptr(&first));
    assert_eq!(watcher.look(), Look::Nothing);
}

#[test]
fn files_that_are_still_being_written_are_no_change() {
    let (folder, mut watcher) = watched(&pair());
    let next = pair();
    let half = &next.cert[..next.cert.len() / 2];
    write(folder.path(), half, "");
    assert_eq!(watcher.look(), Look::Nothing);
    write(folder.path(), &next.cert, &next.key);
    assert_eq!(watcher.look(), Look::Nothing);
    assert_eq!(watcher.look(), Look::Renewed);
}

#[test]
fn what_is_broken_is_told_once_and_the_old_one_stays_until_it_is_mended() {
    let old = pair();
    let (folder, mut watcher) = watched(&old);
    let first = newest(&watcher);
    let next = pair();
    let cases = [
        (
            next.cert.as_str(),
            old.key.as_str(),
            "do not belong together",
        ),
        ("", &next.key, "no certificate in it"),
        (&next.cert, "", "no private key in it"),
        (
            "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
            &next.key,
            "not PEM",
        ),
        (
            "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n",
            &next.key,
            "not an X.509 certificate",
        ),
    ];
    for (cert, key, why) in cases {
        write(folder.path(), cert, key);
        assert_eq!(watcher.look(), Look::Nothing);
        match watcher.look() {
            Look::Broken(said) => assert!(said.contains(why), "{said}"),
            other => panic!("{why}: {other:?}"),
        }
        assert_eq!(watcher.look(), Look::Nothing, "once");
    }
    fs::remove_file(files(folder.path()).key).expect("it was there");
    assert_eq!(watcher.look(), Look::Nothing);
    let said = watcher.look();
    assert!(
        matches!(&said, Look::Broken(why) if why.contains("tls.key")),
        "{said:?}"
    );
    assert_eq!(watcher.look(), Look::Nothing, "once");
    assert_eq!(newest(&watcher), first);
    write(folder.path(), &next.cert, &next.key);
    assert_eq!(watcher.look(), Look::Nothing);
    assert_eq!(watcher.look(), Look::Renewed);
}

/// As Kubernetes changes a secret: the files are links through a link, which is what changes.
#[test]
fn a_link_that_leads_elsewhere_is_a_change() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    for name in ["one", "two"] {
        let Pair { cert, key } = pair();
        fs::create_dir(root.join(name)).expect("a folder");
        write(&root.join(name), &cert, &key);
    }
    symlink("one", root.join("..data")).expect("a link");
    for name in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(name), root.join(name)).expect("a link");
    }
    let certificate = Certificate::load(files(root), &[]).expect("a pair");
    let mut watcher = Watcher::new(Arc::new(certificate));
    assert_eq!(watcher.look(), Look::Nothing);
    symlink("two", root.join("..new")).expect("a link");
    fs::rename(root.join("..new"), root.join("..data")).expect("links");
    assert_eq!(watcher.look(), Look::Nothing);
    assert_eq!(watcher.look(), Look::Renewed);
}

#[test]
fn a_certificate_that_cannot_be_used_names_its_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let Pair { cert, key } = pair();
    for (cert, key, file) in [
        ("", key.as_str(), "tls.crt"),
        (&cert, "", "tls.key"),
        (&cert, &pair().key, "tls.crt"),
    ] {
        write(folder.path(), cert, key);
        let said = Certificate::load(files(folder.path()), &[]).err();
        let said = said.expect("no pair");
        assert!(said.contains(file) && !said.contains('\n'), "{said}");
    }
    fs::remove_file(files(folder.path()).cert).expect("it was there");
    let said = Certificate::load(files(folder.path()), &[]).err();
    assert!(said.expect("no file").contains("tls.crt"));
}
