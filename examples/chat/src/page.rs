//! The page: a small HTTP server for the files in `page/`, which are part of the program.
//!
//! `/config.json` tells the page where the gateway is and what the limits are:
//! `{"gateway":null,"limits":{"name":24,"room":32,"content":2000}}`. Without a gateway the page
//! connects to port 7272 of the host that it came from.

use std::net::SocketAddr;

use anyhow::Context;
use axum::{
    Router,
    http::{Uri, header},
    routing::get,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use crate::{Failure, limits, variable};

/// Where to serve the page; without it the program is a worker.
const PAGE: &str = "GATEBUS_CHAT_PAGE";
/// The WebSocket address of the gateway, as browsers reach it.
const GATEWAY: &str = "GATEBUS_CHAT_GATEWAY";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const JSON: &str = "application/json";

macro_rules! script {
    ($name:literal) => {
        (
            concat!("/", $name),
            SCRIPT,
            include_str!(concat!("../page/", $name)),
        )
    };
}

/// Path, type and text of every file.
const FILES: [(&str, &str, &str); 12] = [
    ("/", HTML, include_str!("../page/index.html")),
    ("/chat.css", CSS, include_str!("../page/chat.css")),
    script!("chat.js"),
    script!("balance.js"),
    script!("composer.js"),
    script!("connection.js"),
    script!("element.js"),
    script!("limits.js"),
    script!("log.js"),
    script!("memory.js"),
    script!("people.js"),
    script!("room.js"),
];

/// Where the page is served and what it connects to.
#[derive(Debug, PartialEq)]
pub(crate) struct Page {
    listen: SocketAddr,
    gateway: Option<String>,
}

impl Page {
    /// Reads the environment; `None` where no page is asked for.
    pub(crate) fn from_env() -> Result<Option<Self>, Failure> {
        Self::new(variable(PAGE)?, variable(GATEWAY)?)
    }

    fn new(listen: Option<String>, gateway: Option<String>) -> Result<Option<Self>, Failure> {
        let Some(listen) = listen else {
            return Ok(None);
        };
        let listen = listen.parse().map_err(|_| {
            let why = format!("{listen:?} is not an address like 127.0.0.1:8080");
            Failure::setting(PAGE, why)
        })?;
        if let Some(url) = &gateway {
            let uri = url.parse::<Uri>().ok();
            let socket = uri.filter(|u| matches!(u.scheme_str(), Some("ws" | "wss")));
            // These end a source in the page's policy, and no such address needs them.
            if socket.is_none() || url.contains([';', ',', '\'', '#']) {
                let why = format!("{url:?} is not an address like ws://127.0.0.1:7272");
                return Err(Failure::setting(GATEWAY, why));
            }
        }
        Ok(Some(Self { listen, gateway }))
    }

    /// Serves the page until the process is told to stop.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.listen)
            .await
            .with_context(|| format!("cannot serve the page on {}", self.listen))?;
        tracing::info!("page on http://{}", listener.local_addr()?);
        let mut stop = signal(SignalKind::terminate())?;
        tokio::select! {
            served = axum::serve(listener, self.router()) => served?,
            _ = stop.recv() => {}
            pressed = tokio::signal::ctrl_c() => pressed?,
        }
        Ok(())
    }

    fn router(&self) -> Router {
        // Nothing but our own files runs, and nothing but the gateway is talked to.
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
             connect-src 'self' {}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            self.gateway.as_deref().unwrap_or("ws: wss:")
        );
        let config = serde_json::json!({
            "gateway": self.gateway,
            "limits": {
                "name": limits::NAME,
                "room": limits::ROOM,
                "content": limits::CONTENT,
            },
        })
        .to_string();

        let mut router = Router::new();
        let files = FILES.map(|(path, kind, text)| (path, kind, text.to_owned()));
        for (path, kind, text) in files.into_iter().chain([("/config.json", JSON, config)]) {
            let headers = [
                (header::CONTENT_TYPE, kind.to_owned()),
                (header::CONTENT_SECURITY_POLICY, policy.clone()),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
                (header::REFERRER_POLICY, "no-referrer".to_owned()),
                (header::CACHE_CONTROL, "no-cache".to_owned()),
            ];
            router = router.route(path, get(async move || (headers, text)));
        }
        router
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn page(listen: &str, gateway: Option<&str>) -> Result<Option<Page>, Failure> {
        Page::new(Some(listen.to_owned()), gateway.map(ToOwned::to_owned))
    }

    #[test]
    fn without_an_address_there_is_no_page() {
        assert_eq!(Page::new(None, None), Ok(None));
    }

    #[test]
    fn a_bad_value_is_one_line_that_names_its_variable() {
        let bad = [
            (page("8080", None), PAGE),
            (page("127.0.0.1:8080", Some("localhost:7272")), GATEWAY),
            (
                page("127.0.0.1:8080", Some("http://localhost:7272")),
                GATEWAY,
            ),
            (page("127.0.0.1:8080", Some("ws://a;script-src *")), GATEWAY),
        ];
        for (page, variable) in bad {
            let Err(Failure::Setting(line)) = page else {
                panic!("{variable} was taken: {page:?}");
            };
            assert!(line.starts_with(variable) && !line.contains('\n'), "{line}");
        }
    }

    /// Serves a page on a free port, and asks it.
    async fn ask(gateway: Option<&str>, path: &str) -> String {
        let page = page("127.0.0.1:0", gateway).unwrap().unwrap();
        let listener = TcpListener::bind(page.listen).await.unwrap();
        let mut socket = tokio::net::TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let server = tokio::spawn(axum::serve(listener, page.router()).into_future());
        let request = format!("GET {path} HTTP/1.1\r\nHost: chat\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        server.abort();
        answer
    }

    #[tokio::test]
    async fn the_page_learns_where_the_gateway_is_and_may_talk_to_nobody_else() {
        let answer = ask(Some("wss://chat.example.org/ws"), "/config.json").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(
            answer.contains(r#""gateway":"wss://chat.example.org/ws""#),
            "{answer}"
        );
        assert!(
            answer.contains("connect-src 'self' wss://chat.example.org/ws;"),
            "{answer}"
        );
        let answer = ask(None, "/config.json").await;
        assert!(answer.contains(r#""gateway":null"#), "{answer}");
    }

    #[tokio::test]
    async fn every_file_that_the_page_names_is_served() {
        for (path, kind, text) in FILES {
            let answer = ask(None, path).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
            assert!(answer.contains(kind) && answer.ends_with(text), "{path}");
            for named in text.split('"').filter_map(|t| t.strip_prefix("./")) {
                assert!(
                    FILES.iter().any(|(path, ..)| path[1..] == *named),
                    "{named}"
                );
            }
        }
        assert!(ask(None, "/other").await.starts_with("HTTP/1.1 404"));
    }
}
