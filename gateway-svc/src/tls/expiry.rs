//! Until when a certificate is good (RFC 5280, section 4.1.2.5): the one field of it that an
//! operator wants to watch.

/// The end of a certificate's validity, in seconds since 1970; `None` where it is no certificate.
pub(super) fn not_after(certificate: &[u8]) -> Option<u64> {
    let (SEQUENCE, outer, _) = element(certificate)? else {
        return None;
    };
    let (SEQUENCE, mut signed, _) = element(outer)? else {
        return None;
    };
    // what was added after the first version
    if let (VERSION, _, rest) = element(signed)? {
        signed = rest;
    }
    // serial number, signature algorithm, issuer
    for _ in 0..3 {
        signed = element(signed)?.2;
    }
    let (SEQUENCE, validity, _) = element(signed)? else {
        return None;
    };
    let (_, _, validity) = element(validity)?;
    let (kind, text, _) = element(validity)?;
    time(kind, str::from_utf8(text).ok()?)
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The first element of some DER: its tag, what it holds, and what comes behind it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        long @ 0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            let length = digits.iter().fold(0_u32, |n, d| n << 8 | u32::from(*d));
            (usize::try_from(length).ok()?, rest)
        }
        _ => return None,
    };
    let (held, rest) = rest.split_at_checked(length)?;
    Some((*tag, held, rest))
}

/// `YYMMDDHHMMSSZ`, or with four digits of the year.
fn time(kind: u8, text: &str) -> Option<u64> {
    let digits = text.strip_suffix('Z')?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match kind {
        UTC_TIME => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year: u64 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = digits.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let part = |n: usize| rest.get(2 * n..2 * n + 2)?.parse::<u64>().ok();
    if rest.len() != 10 {
        return None;
    }
    let (month, day) = (part(0)?, part(1)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let seconds = part(2)? * 3600 + part(3)? * 60 + part(4)?;
    Some(days(year, month, day)?.checked_mul(86_400)? + seconds)
}

/// Days since 1970-01-01, in the calendar of Gregory; years begin in March, so that the leap day is
/// the last.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year.checked_sub(1)?, month + 9)
    };
    let leaps = year / 4 - year / 100 + year / 400;
    let since_year_0 = year * 365 + leaps + (153 * month + 2) / 5 + day - 1;
    since_year_0.checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn the_end_of_a_certificates_validity_is_read() {
        for ((year, month, day), expected) in [
            ((2026, 11, 24), 1_795_478_400),
            ((2000, 2, 29), 951_782_400),
            ((1999, 12, 31), 946_598_400),
            // beyond the two digits
            ((2051, 1, 1), 2_556_144_000),
            ((9999, 12, 31), 253_402_214_400),
        ] {
            let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
            params.not_after = date_time_ymd(year, month, day);
            let key = KeyPair::generate().expect("a key");
            let certificate = params.self_signed(&key).expect("a certificate");
            assert_eq!(not_after(certificate.der()), Some(expected), "{year}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        for length in 0..certificate.der().len() {
            assert_eq!(not_after(&certificate.der()[..length]), None);
        }
        assert_eq!(not_after(b"hello"), None);
        for text in [
            "",
            "Z",
            "261124000000",
            "261324000000Z",
            "26112400000Z",
            "2611240000xxZ",
        ] {
            assert_eq!(time(UTC_TIME, text), None, "{text}");
        }
        assert_eq!(time(GENERALIZED_TIME, "00000101000000Z"), None);
    }
}
