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
    /// The cookie of a new login; `None` if name or password is wrong.
    ///
    /// Where one has to go for it, `end` ends its connections, and if that fails all is as it was: so
    /// in the others below, so that no connection is forgotten that is still shown something.
    pub(crate) fn enter<E>(
        &self,
        name: &str,
        password: &str,
        end: impl FnOnce(&[ClientId]) -> Result<(), E>,
    ) -> Result<Option<HeaderValue>, E> {
        let right = |(user, known): &&(&str, &str)| {
            let same = known.as_bytes().ct_eq(password.as_bytes());
            *user == name && bool::from(same)
        };
        let Some((user, _)) = USERS.iter().find(right) else {
            return Ok(None);
        };
        let id = secret();
        // Other sites cannot have it sent along, and no script reads it.
        let cookie = format!("login-rust={id}; Path=/; HttpOnly; SameSite=Strict");
        let Ok(cookie) = HeaderValue::from_str(&cookie) else {
            return Ok(None);
        };
        let mut logins = self.lock();
        let theirs = logins.iter().filter(|(_, login)| login.user == *user);
        if theirs.clone().count() >= MOST
            && let Some((id, oldest)) = theirs.min_by_key(|(_, login)| login.since)
        {
            end(&oldest.clients)?;
            let id = id.clone();
            logins.remove(&id);
        }
        let login = Login {
            user,
            since: Instant::now(),
            clients: Vec::new(),
        };
        logins.insert(id, login);
        Ok(Some(cookie))
    }

    /// Who is logged in where this request comes from.
    pub(crate) fn user(&self, headers: &HeaderMap) -> Option<&'static str> {
        self.lock().get(cookie(headers)?).map(|login| login.user)
    }

    /// A connection belongs to the login of this request from now on, and the oldest give way to it;
    /// false if the login has ended.
    pub(crate) fn remember<E>(
        &self,
        headers: &HeaderMap,
        client: ClientId,
        end: impl FnOnce(&[ClientId]) -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut logins = self.lock();
        let Some(login) = cookie(headers).and_then(|id| logins.get_mut(id)) else {
            return Ok(false);
        };
        let too_many = (login.clients.len() + 1).saturating_sub(MOST_PAGES);
        if too_many > 0 {
            end(&login.clients[..too_many])?;
            login.clients.drain(..too_many);
        }
        login.clients.push(client);
        Ok(true)
    }

    /// Whether a connection belongs to the login of this request.
    pub(crate) fn has(&self, headers: &HeaderMap, client: ClientId) -> bool {
        let logins = self.lock();
        let login = cookie(headers).and_then(|id| logins.get(id));
        login.is_some_and(|login| login.clients.contains(&client))
    }

    /// Ends the login of this request with its connections.
    pub(crate) fn leave<E>(
        &self,
        headers: &HeaderMap,
        end: impl FnOnce(&[ClientId]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut logins = self.lock();
        if let Some(id) = cookie(headers)
            && let Some(login) = logins.get(id)
        {
            end(&login.clients)?;
            logins.remove(id);
        }
        Ok(())
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

    /// Ends them, and notes whom.
    fn note(ended: &mut Vec<ClientId>) -> impl FnOnce(&[ClientId]) -> Result<(), ()> {
        |clients| {
            ended.extend(clients);
            Ok(())
        }
    }

    /// Ann, logged in once more, and whom that ended.
    fn enter(logins: &Logins) -> (HeaderMap, Vec<ClientId>) {
        let mut ended = Vec::new();
        let entered = logins.enter("ann", "tulip", note(&mut ended));
        (headers(&entered.unwrap().unwrap()), ended)
    }

    fn headers(cookie: &HeaderValue) -> HeaderMap {
        let cookie = cookie.to_str().unwrap().split(';').next().unwrap();
        let both = format!("theme=dark; {cookie}");
        HeaderMap::from_iter([(header::COOKIE, both.parse().unwrap())])
    }

    /// Whether it is remembered, and whom that ended.
    fn remember(logins: &Logins, of: &HeaderMap, client: ClientId) -> (bool, Vec<ClientId>) {
        let mut ended = Vec::new();
        let kept = logins.remember(of, client, note(&mut ended));
        (kept.unwrap(), ended)
    }

    /// Whom it ended.
    fn leave(logins: &Logins, of: &HeaderMap) -> Vec<ClientId> {
        let mut ended = Vec::new();
        logins.leave(of, note(&mut ended)).unwrap();
        ended
    }

    fn client(n: usize) -> ClientId {
        format!("0a1b2c3d4e5f{n:08x}").parse().unwrap()
    }

    #[test]
    fn a_login_is_known_by_its_cookie_until_it_ends() {
        let logins = Logins::default();
        let enter_as = |name, password| logins.enter(name, password, |_| Err(()));
        assert_eq!(enter_as("ann", "maple"), Ok(None));
        assert_eq!(enter_as("eve", ""), Ok(None));
        assert_eq!(logins.user(&HeaderMap::new()), None);
        let (ann, _) = enter(&logins);
        assert_eq!(logins.user(&ann), Some("ann"));

        assert_eq!(remember(&logins, &ann, client(1)), (true, vec![]));
        assert!(logins.has(&ann, client(1)) && !logins.has(&ann, client(2)));
        assert_eq!(leave(&logins, &ann), [client(1)]);
        assert_eq!(logins.user(&ann), None);
        assert!(!logins.has(&ann, client(1)));
        assert_eq!(remember(&logins, &ann, client(2)), (false, vec![]));
    }

    #[test]
    fn one_login_too_many_ends_the_users_oldest_and_nobody_elses() {
        let logins = Logins::default();
        let bob = logins.enter("bob", "maple", |_| Err(()));
        let bob = headers(&bob.unwrap().unwrap());
        let (first, _) = enter(&logins);
        remember(&logins, &first, client(1));
        for _ in 1..MOST {
            assert_eq!(enter(&logins).1, []);
        }
        assert_eq!(logins.user(&first), Some("ann"));
        assert_eq!(enter(&logins).1, [client(1)], "its pages are told");
        assert_eq!(logins.user(&first), None);
        assert_eq!(logins.user(&bob), Some("bob"));
    }

    #[test]
    fn one_page_too_many_takes_the_place_of_the_oldest() {
        let logins = Logins::default();
        let (ann, _) = enter(&logins);
        for n in 0..MOST_PAGES {
            assert_eq!(remember(&logins, &ann, client(n)), (true, vec![]));
        }
        let late = remember(&logins, &ann, client(MOST_PAGES));
        assert_eq!(late, (true, vec![client(0)]));
        assert_eq!(leave(&logins, &ann).len(), MOST_PAGES);
    }

    #[test]
    fn who_cannot_be_ended_is_not_forgotten() {
        let logins = Logins::default();
        let (ann, _) = enter(&logins);
        for n in 0..MOST_PAGES {
            remember(&logins, &ann, client(n));
        }
        for _ in 1..MOST {
            enter(&logins);
        }
        let fail = |_: &[ClientId]| Err(());
        assert_eq!(logins.enter("ann", "tulip", fail), Err(()));
        assert_eq!(logins.remember(&ann, client(MOST_PAGES), fail), Err(()));
        assert_eq!(logins.leave(&ann, fail), Err(()));
        assert_eq!(logins.user(&ann), Some("ann"), "who may try again");
        assert_eq!(leave(&logins, &ann).len(), MOST_PAGES);
    }
}
