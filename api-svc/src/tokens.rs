//! Bearer tokens: who may call.
//!
//! A file with one token a line, and a name behind it if you like; `#` begins a comment. It is looked
//! at every second, so a token comes and goes without a restart.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::time::{MissedTickBehavior, interval};

use crate::failure::{Code, Failure};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// What is shorter could be guessed.
const SHORTEST: usize = 16;

/// Who may call.
#[derive(Debug)]
pub(crate) enum Tokens {
    /// Everybody: somebody said so plainly.
    Nobody,
    /// Whoever has a token of the file.
    File(TokenFile),
}

#[derive(Debug)]
pub(crate) struct TokenFile {
    path: PathBuf,
    known: Mutex<Known>,
}

/// What the file said last.
#[derive(Debug)]
struct Known {
    text: String,
    list: Arc<[Token]>,
}

/// A token by its digest, so that comparing takes the same time whatever is compared.
#[derive(Debug)]
struct Token {
    digest: [u8; 32],
    name: Arc<str>,
}

impl Tokens {
    /// Reads the file for the first time.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|e| e.to_string())?;
        let list = parse(&text)?;
        if list.is_empty() {
            return Err("there is no token in it".into());
        }
        Ok(Self::File(TokenFile {
            path: path.to_owned(),
            known: Mutex::new(Known { text, list }),
        }))
    }

    /// The name of whoever calls.
    pub(crate) fn allow(&self, headers: &HeaderMap) -> Result<Arc<str>, Failure> {
        let Self::File(file) = self else {
            return Ok("anybody".into());
        };
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let token = given
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        let Some(token) = token else {
            return Err(Failure::new(
                Code::Unauthorized,
                "send the header `Authorization: Bearer` with a token",
            ));
        };
        file.find(token)
            .ok_or_else(|| Failure::new(Code::Unauthorized, "the token is not known"))
    }

    /// Takes in what changes in the file, for ever.
    pub(crate) async fn follow(&self) {
        let Self::File(file) = self else {
            return std::future::pending().await;
        };
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut troubled = false;
        loop {
            ticks.tick().await;
            match file.look() {
                Ok(None) => troubled = false,
                Ok(Some(many)) => {
                    troubled = false;
                    tracing::info!(tokens = many, "the token file has changed");
                }
                Err(why) if !troubled => {
                    troubled = true;
                    let path = file.path.display();
                    tracing::error!("{path}: {why}; the tokens stay as they were");
                }
                Err(_) => {}
            }
        }
    }
}

impl TokenFile {
    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, token: &str) -> Option<Arc<str>> {
        let digest = digest(token);
        let list = self.lock().list.clone();
        // All of them, always: the time says nothing of where the right one stands.
        let mut found = None;
        for known in list.iter() {
            if bool::from(known.digest.ct_eq(&digest)) {
                found = Some(known.name.clone());
            }
        }
        found
    }

    /// How many tokens there are, if the file is another than before.
    fn look(&self) -> Result<Option<usize>, String> {
        let text = fs::read_to_string(&self.path).map_err(|e| e.to_string())?;
        let mut known = self.lock();
        if known.text == text {
            return Ok(None);
        }
        let list = parse(&text)?;
        let many = list.len();
        *known = Known { text, list };
        Ok(Some(many))
    }
}

fn parse(text: &str) -> Result<Arc<[Token]>, String> {
    let mut list = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (token, name) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let at = n + 1;
        if token.len() < SHORTEST {
            return Err(format!(
                "line {at}: a token has at least {SHORTEST} characters"
            ));
        }
        if !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(format!("line {at}: a token is made of visible ASCII"));
        }
        let name = match name.trim() {
            "" => format!("line {at}"),
            name => name.to_owned(),
        };
        list.push(Token {
            digest: digest(token),
            name: name.into(),
        });
    }
    Ok(list.into())
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_token_and_its_name() {
        let list = parse("# shop\n\n0123456789abcdef the shop\n  fedcba9876543210\n").unwrap();
        let names: Vec<_> = list.iter().map(|t| &*t.name).collect();
        assert_eq!(names, ["the shop", "line 4"]);
        assert_eq!(list[0].digest, digest("0123456789abcdef"));
    }

    #[test]
    fn nobody_is_let_in_once_the_last_token_is_taken_out() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(Tokens::read(file.path()).is_err(), "not at the start");
        fs::write(file.path(), "0123456789abcdef\n").unwrap();
        let Ok(Tokens::File(known)) = Tokens::read(file.path()) else {
            panic!("a good file");
        };
        assert!(known.find("0123456789abcdef").is_some());
        fs::write(file.path(), "# nobody\n").unwrap();
        assert_eq!(known.look(), Ok(Some(0)));
        assert!(known.find("0123456789abcdef").is_none());
    }

    #[test]
    fn a_file_without_a_good_token_is_an_error_that_does_not_show_it() {
        for bad in ["short", "0123456789abcdé0"] {
            let error = parse(bad).unwrap_err();
            assert!(
                !error.contains("short") && !error.contains("0123"),
                "{error}"
            );
        }
    }
}
