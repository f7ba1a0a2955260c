//! Logins: who is at which browser, by a cookie.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use axum::http::{HeaderMap, HeaderValue, header};
use subtle::ConstantTimeEq;
use worker_sdk::ClientId;

use crate::visit::secret;

/// The users and their passwords. An application of your own keeps hashes, in a database.
const USERS: [(&str, &str); 2] = [("ann", "tulip"), ("bob", "maple")];

/// Logins that are kept; at more, all are forgotten, and people log in again.
const MOST: usize = 1000;
/// Pages of a login that are remembered.
const MOST_PAGES: usize = 50;

/// Everybody who is logged in, by the value of their cookie.
#[derive(Default)]
pub(crate) struct Logins(Mutex<HashMap<String, Login>>);

struct Login {
    user: &'static str,
    /// The connections that were bound by it.
    clients: Vec<ClientId>,
}

impl Logins {
    /// The cookie of a new login; `None` if name or password is wrong.
    pub(crate) fn enter(&self, name: &str, password: &str) -> Option<HeaderValue> {
        let right = |(user, known): &&(&str, &str)| {
            let same = known.as_bytes().ct_eq(password.as_bytes());
            *user == name && bool::from(same)
        };
        let (user, _) = USERS.iter().find(right)?;
        let id = secret();
        // Other sites cannot have it sent along, and no script reads it.
        let cookie = format!("login-rust={id}; Path=/; HttpOnly; SameSite=Strict");
        let mut logins = self.lock();
        if logins.len() >= MOST {
            logins.clear();
        }
        let clients = Vec::new();
        logins.insert(id, Login { user, clients });
        HeaderValue::from_str(&cookie).ok()
    }

    /// Who is logged in where this request comes from.
    pub(crate) fn user(&self, headers: &HeaderMap) -> Option<&'static str> {
        self.lock().get(cookie(headers)?).map(|login| login.user)
    }

    /// A connection belongs to the login of this request. False: that has ended.
    pub(crate) fn remember(&self, headers: &HeaderMap, client: ClientId) -> bool {
        let mut logins = self.lock();
        let Some(login) = cookie(headers).and_then(|id| logins.get_mut(id)) else {
            return false;
        };
        if login.clients.len() >= MOST_PAGES {
            login.clients.remove(0);
        }
        login.clients.push(client);
        true
    }

    /// Ends the login of this request, and says which connections it had.
    pub(crate) fn leave(&self, headers: &HeaderMap) -> Vec<ClientId> {
        let login = cookie(headers).and_then(|id| self.lock().remove(id));
        login.map(|login| login.clients).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Login>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get(header::COOKIE)?.to_str().ok()?;
    let mut cookies = cookies.split("; ");
    cookies.find_map(|cookie| cookie.strip_prefix("login-rust="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_known_by_its_cookie_until_it_ends() {
        let logins = Logins::default();
        assert!(logins.enter("ann", "maple").is_none());
        assert!(logins.enter("eve", "").is_none());
        let cookie = logins.enter("ann", "tulip").unwrap();
        let cookie = cookie.to_str().unwrap().split(';').next().unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(logins.user(&headers), None);
        let both = format!("theme=dark; {cookie}");
        headers.insert(header::COOKIE, both.parse().unwrap());
        assert_eq!(logins.user(&headers), Some("ann"));

        let client: ClientId = "0a1b2c3d4e5f00c0ffee".parse().unwrap();
        logins.remember(&headers, client);
        assert_eq!(logins.leave(&headers), [client]);
        assert_eq!(logins.user(&headers), None);
    }
}
