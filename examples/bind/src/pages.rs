//! The files of the page, which are part of the program.

use serde_json::json;

/// Path, type and text of every file. Without a gateway's address the page connects to port 7272 of
/// the host that it came from.
pub(crate) fn all(gateway: Option<String>) -> [(&'static str, &'static str, String); 4] {
    let config = json!({"gateway": gateway, "backend": "Rust"}).to_string();
    let html = "text/html; charset=utf-8";
    let css = "text/css; charset=utf-8";
    let script = "text/javascript; charset=utf-8";
    [
        ("/", html, include_str!("../page/index.html").to_owned()),
        (
            "/bind.css",
            css,
            include_str!("../page/bind.css").to_owned(),
        ),
        (
            "/bind.js",
            script,
            include_str!("../page/bind.js").to_owned(),
        ),
        ("/config.json", "application/json", config),
    ]
}
