//! The query string.

use percent_encoding::percent_decode_str;

use crate::failure::{Code, Failure};

/// What stands in a query string and was not taken out yet.
#[derive(Debug, Default)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(crate) fn parse(query: &str) -> Result<Self, Failure> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        });
        Ok(Self(pairs.collect::<Result<_, Failure>>()?))
    }

    /// Takes out a parameter, which may stand there once.
    pub(crate) fn take(&mut self, name: &str) -> Result<Option<String>, Failure> {
        let Some(at) = self.0.iter().position(|(n, _)| n == name) else {
            return Ok(None);
        };
        let (_, value) = self.0.remove(at);
        if self.0.iter().any(|(n, _)| n == name) {
            let says = format!("`{name}` stands there twice");
            return Err(Failure::new(Code::BadQuery, says));
        }
        Ok(Some(value))
    }

    /// What is left is not known.
    pub(crate) fn end(self) -> Result<(), Failure> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(Failure::new(
                Code::BadQuery,
                format!("there is no parameter `{name}` here"),
            )),
        }
    }
}

fn decode(text: &str) -> Result<String, Failure> {
    let text = text.replace('+', " ");
    let decoded = percent_decode_str(&text).decode_utf8();
    match decoded {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(Failure::new(
            Code::BadQuery,
            "the query string is not UTF-8",
        )),
    }
}
