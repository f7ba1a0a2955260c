//! Logins: who is at which browser, by a cookie.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use axum::http::{HeaderMap, HeaderValue, header};
use subtle::ConstantTimeEq;
use worker_sdk::ClientId;

use crate::visit::secret;

/// The users and their passwords. An application of your own keeps hashes, in a database.
const USERS: [(&str, &str); 2] = [("ann", "tulip"), ("bob", "maple")];

/// Logins of one user at the same time; one more ends the oldest.
const MOST: usize = 20;
/// Pages of one login; one more takes the place of the oldest.
const MOST_PAGES: usize = 50;

/// Everybody who is logged in, by the value of their cookie.
#[derive(Default)]
pub(crate) struct Logins(Mutex<HashMap<String, Login>>);

struct Login {
    user: &'static str,
    since: Instant,
    /// The connections that were bound by it, oldest first. Some may be gone.
    clients: Vec<ClientId>,
}

impl Logins {
    /// The cookie of a new login, and the connections of the one that had to end for it; `None` if
    /// name or password is wrong.
    pub(crate) fn enter(&self, name: &str, password: &str) -> Option<(HeaderValue, Vec<ClientId>)> {
        let right = |(user, known): &&(&str, &str)| {
            let same = known.as_bytes().ct_eq(password.as_bytes());
            *user == name && bool::from(same)
        };
        let (user, _) = USERS.iter().find(right)?;
        let id = secret();
        // Other sites cannot have it sent along, and no script reads it.
        let cookie = format!("login-rust={id}; Path=/; HttpOnly; SameSite=Strict");
        let cookie = HeaderValue::from_str(&cookie).ok()?;
        let login = Login {
            user,
            since: Instant::now(),
            clients: Vec::new(),
        };
        let mut logins = self.lock();
        logins.insert(id, login);
        let theirs = logins.iter().filter(|(_, login)| login.user == *user);
        let ended = match theirs.clone().count() {
            0..=MOST => None,
            _ => theirs.min_by_key(|(_, login)| login.since),
        };
        let ended = ended.map(|(id, _)| id.clone());
        let ended = ended.and_then(|id| logins.remove(&id));
        Some((cookie, ended.map_or_else(Vec::new, |login| login.clients)))
    }

    /// Who is logged in where this request comes from.
    pub(crate) fn user(&self, headers: &HeaderMap) -> Option<&'static str> {
        self.lock().get(cookie(headers)?).map(|login| login.user)
    }

    /// A connection belongs to the login of this request, and which others have to give way to it;
    /// `None` if the login has ended.
    pub(crate) fn remember(&self, headers: &HeaderMap, client: ClientId) -> Option<Vec<ClientId>> {
        let mut logins = self.lock();
        let login = logins.get_mut(cookie(headers)?)?;
        login.clients.push(client);
        let too_many = login.clients.len().saturating_sub(MOST_PAGES);
        Some(login.clients.drain(..too_many).collect())
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

    /// Ann, logged in once more.
    fn enter(logins: &Logins) -> (HeaderMap, Vec<ClientId>) {
        let (cookie, ended) = logins.enter("ann", "tulip").unwrap();
        let cookie = cookie.to_str().unwrap().split(';').next().unwrap();
        let both = format!("theme=dark; {cookie}");
        let headers = [(header::COOKIE, both.parse().unwrap())];
        (HeaderMap::from_iter(headers), ended)
    }

    fn client(n: usize) -> ClientId {
        format!("0a1b2c3d4e5f{n:08x}").parse().unwrap()
    }

    #[test]
    fn a_login_is_known_by_its_cookie_until_it_ends() {
        let logins = Logins::default();
        assert!(logins.enter("ann", "maple").is_none());
        assert!(logins.enter("eve", "").is_none());
        assert_eq!(logins.user(&HeaderMap::new()), None);
        let (ann, _) = enter(&logins);
        assert_eq!(logins.user(&ann), Some("ann"));

        assert_eq!(logins.remember(&ann, client(1)), Some(vec![]));
        assert_eq!(logins.leave(&ann), [client(1)]);
        assert_eq!(logins.user(&ann), None);
        assert_eq!(logins.remember(&ann, client(2)), None);
    }

    #[test]
    fn one_login_too_many_ends_the_users_oldest_and_nobody_elses() {
        let logins = Logins::default();
        let (bob, _) = logins.enter("bob", "maple").unwrap();
        let (first, _) = enter(&logins);
        logins.remember(&first, client(1));
        for _ in 1..MOST {
            assert_eq!(enter(&logins).1, []);
        }
        assert_eq!(logins.user(&first), Some("ann"));
        assert_eq!(enter(&logins).1, [client(1)], "its pages are told");
        assert_eq!(logins.user(&first), None);
        let bob = HeaderMap::from_iter([(header::COOKIE, bob)]);
        assert_eq!(logins.user(&bob), Some("bob"));
    }

    #[test]
    fn one_page_too_many_takes_the_place_of_the_oldest() {
        let logins = Logins::default();
        let (ann, _) = enter(&logins);
        for n in 0..MOST_PAGES {
            assert_eq!(logins.remember(&ann, client(n)), Some(vec![]));
        }
        let late = logins.remember(&ann, client(MOST_PAGES));
        assert_eq!(late, Some(vec![client(0)]));
        assert_eq!(logins.leave(&ann).len(), MOST_PAGES);
    }
}
