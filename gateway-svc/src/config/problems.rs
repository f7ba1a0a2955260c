//! What is wrong with a configuration: all of it, a line for each.

use std::fmt;

/// Complaints, each a line that names option and remedy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(Vec<String>);

impl Problems {
    /// The outcome, if it is one; a complaint is kept.
    pub(super) fn ok<T>(&mut self, outcome: Result<T, impl Into<Self>>) -> Option<T> {
        outcome.map_err(|e| self.0.extend(e.into().0)).ok()
    }

    /// Keeps the complaint if that is so.
    pub(super) fn when(&mut self, wrong: bool, complaint: impl Into<String>) {
        if wrong {
            self.0.push(complaint.into());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Says them on stderr, as the program of this name.
    pub(crate) fn say(&self, program: &str) {
        for complaint in &self.0 {
            eprintln!("{program}: {complaint}");
        }
    }
}

impl From<String> for Problems {
    fn from(complaint: String) -> Self {
        Self(vec![complaint])
    }
}

impl FromIterator<String> for Problems {
    fn from_iter<I: IntoIterator<Item = String>>(complaints: I) -> Self {
        Self(complaints.into_iter().collect())
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}
