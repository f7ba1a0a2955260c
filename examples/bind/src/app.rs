//! The back end of the bind example: an ordinary web application that is no worker.
//!
//! It has its own login and its own data, and uses the SDK's [`Gateway`] to reach its users' pages.
//! `bind.php` next to it is the same in PHP, over the HTTP API.

mod login;
mod orders;
mod pages;
mod visit;

use std::{io::IsTerminal, sync::Arc};

use anyhow::Context;
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::json;
use subtle::ConstantTimeEq;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::EnvFilter;
use worker_sdk::{ClientId, Close, ErrorKind, Gateway, Message};

use crate::{login::Logins, orders::Orders, visit::Visit};

/// Everything that requests share.
struct App {
    gateway: Gateway,
    logins: Logins,
    orders: Orders,
}

/// Close codes of the application's own, with their reasons; the page knows them.
const LOGGED_OUT: (u16, &str) = (4001, "logged out");
const TOO_MANY_PAGES: (u16, &str) = (4002, "open in too many pages");

impl App {
    /// Ends what these connections are shown.
    fn end(&self, clients: &[ClientId], why: (u16, &str)) -> Result<(), worker_sdk::Error> {
        let clients = self.gateway.clients(clients);
        clients.unbind_uid()?;
        clients.close_with(Close::new(why.0, why.1))
    }
}

/// Why a request is refused.
enum Refusal {
    NotLoggedIn,
    WrongPassword,
    NotYourClient,
    NoSuchOrder,
    Gatebus(worker_sdk::Error),
}

type Done<T = StatusCode> = Result<T, Refusal>;

#[derive(Deserialize)]
struct Credentials {
    name: String,
    password: String,
}

async fn login(
    State(app): State<Arc<App>>,
    Json(given): Json<Credentials>,
) -> Done<impl IntoResponse> {
    let end = |clients: &[ClientId]| app.end(clients, LOGGED_OUT);
    let entered = app.logins.enter(&given.name, &given.password, end)?;
    let cookie = entered.ok_or(Refusal::WrongPassword)?;
    Ok(([(header::SET_COOKIE, cookie)], StatusCode::NO_CONTENT))
}

/// Ends the login, and what its pages are shown.
async fn logout(State(app): State<Arc<App>>, headers: HeaderMap) -> Done {
    let end = |clients: &[ClientId]| app.end(clients, LOGGED_OUT);
    app.logins.leave(&headers, end)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who is logged in, if anybody is.
async fn me(State(app): State<Arc<App>>, headers: HeaderMap) -> Json<serde_json::Value> {
    Json(json!({"name": app.logins.user(&headers)}))
}

/// What a page has heard from the worker.
#[derive(Deserialize)]
struct Init {
    client_id: ClientId,
    secret: String,
}

/// Binds a page's connection to whoever is logged in on the page, and sends what is theirs.
///
/// *Who* it is stands in the login's cookie and never in the body. *Which* connection stands in the
/// body, where anybody could write anybody's client id: so it must come with the secret that only
/// this connection was told, and that its session holds.
async fn bind(State(app): State<Arc<App>>, headers: HeaderMap, Json(init): Json<Init>) -> Done {
    let user = app.logins.user(&headers).ok_or(Refusal::NotLoggedIn)?;
    let client = app.gateway.client(init.client_id);
    let mut found = client.list().session::<Visit>().stream().await?;
    let found = found.next().await.transpose()?;
    let found = found.ok_or(Refusal::NotYourClient)?;
    let secret = found.session.secret.unwrap_or_default();
    let is_theirs = bool::from(secret.as_bytes().ct_eq(init.secret.as_bytes()));
    if secret.is_empty() || !is_theirs {
        return Err(Refusal::NotYourClient);
    }
    // It opens one door, once: of two who come with it at the same time one takes it.
    let taken = client.update_session_if(found.version, &Visit { secret: None });
    match taken.await {
        Err(e) if e.kind() == ErrorKind::Conflict => return Err(Refusal::NotYourClient),
        taken => taken?,
    };
    // Remembered before it is bound: whatever becomes of this request, a logout ends the connection.
    let end = |oldest: &[ClientId]| app.end(oldest, TOO_MANY_PAGES);
    if !app.logins.remember(&headers, init.client_id, end)? {
        return Err(Refusal::NotLoggedIn);
    }
    client.bind_uid(user).await?;
    if !app.logins.has(&headers, init.client_id) {
        // logged out meanwhile, before there was anything to unbind
        app.end(&[init.client_id], LOGGED_OUT)?;
        return Err(Refusal::NotLoggedIn);
    }
    client.send(Message::json_of(&app.orders.of(user))?)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct Advance {
    order: u32,
}

/// Something happens to an order: all pages of its owner hear of it, wherever they are.
async fn advance(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Json(given): Json<Advance>,
) -> Done {
    let user = app.logins.user(&headers).ok_or(Refusal::NotLoggedIn)?;
    let change = app.orders.advance(user, given.order);
    let change = change.ok_or(Refusal::NoSuchOrder)?;
    app.gateway.uid(user).send(Message::json_of(&change)?)?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<worker_sdk::Error> for Refusal {
    fn from(error: worker_sdk::Error) -> Self {
        Self::Gatebus(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, says) = match self {
            Self::NotLoggedIn => (StatusCode::UNAUTHORIZED, "log in first"),
            Self::WrongPassword => (StatusCode::FORBIDDEN, "name or password is wrong"),
            Self::NotYourClient => (
                StatusCode::FORBIDDEN,
                "this is not the connection of your page",
            ),
            Self::NoSuchOrder => (StatusCode::NOT_FOUND, "you have no such order"),
            Self::Gatebus(error) => {
                tracing::warn!(?error, "Gatebus could not do it");
                (StatusCode::SERVICE_UNAVAILABLE, "try again in a moment")
            }
        };
        (status, Json(json!({"error": says}))).into_response()
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_env("GATEBUS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let listen = variable("GATEBUS_BIND_PAGE").unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let app = Arc::new(App {
        gateway: Gateway::from_env().await?,
        logins: Logins::default(),
        orders: Orders::default(),
    });
    let mut router = Router::new()
        .route("/me", get(me))
        .route("/login", post(login))
        .route("/logout", post(logout))
        .route("/bind", post(bind))
        .route("/advance", post(advance))
        .with_state(app.clone());
    for (path, kind, text) in pages::all(variable("GATEBUS_BIND_GATEWAY")) {
        let headers = [(header::CONTENT_TYPE, kind)];
        router = router.route(path, get(async move || (headers, text)));
    }
    let router = router.layer(axum::middleware::map_response(guard));
    let listener = TcpListener::bind(&listen).await;
    let listener = listener.with_context(|| format!("cannot serve the page on {listen}"))?;
    tracing::info!("page on http://{}", listener.local_addr()?);
    let mut stop = signal(SignalKind::terminate())?;
    tokio::select! {
        served = axum::serve(listener, router) => served?,
        _ = stop.recv() => {}
        pressed = tokio::signal::ctrl_c() => pressed?,
    }
    app.gateway.flush().await?;
    Ok(())
}

/// What every answer says: nothing runs in the page but its own files.
async fn guard(mut response: Response) -> Response {
    const HEADERS: [(HeaderName, &str); 4] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
             connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in HEADERS {
        let value = header::HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

/// A variable of the environment; an empty one is as good as none.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
