//! Plain HTTP, as much of it as a test asks for.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::within;

/// The status and the body of an answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The head as it came, status line included.
    pub head: String,
    /// The body.
    pub body: String,
}

/// Gets a path from `127.0.0.1:port`; `None` where nobody answers.
pub async fn try_get(port: u16, path: &str) -> Option<Answer> {
    try_ask(port, "GET", path, &[], b"").await
}

/// Asks `127.0.0.1:port` with these lines in the head; `None` where nobody answers.
pub async fn try_ask(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Option<Answer> {
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(request.as_bytes()).await?;
        // Who refuses a body may stop reading it before it is over.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer).await
            && answer.is_empty()
        {
            return Err(error);
        }
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = within(format!("{method} {path}"), ask).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    Some(Answer {
        status: head.split(' ').nth(1)?.parse().ok()?,
        head: head.to_owned(),
        body: if chunked {
            joined(body)?
        } else {
            body.to_owned()
        },
    })
}

/// A body that came in chunks, each with its length in hex on a line before it.
fn joined(mut body: &str) -> Option<String> {
    let mut whole = String::new();
    loop {
        let (length, rest) = body.split_once("\r\n")?;
        let length = usize::from_str_radix(length, 16).ok()?;
        if length == 0 {
            return Some(whole);
        }
        whole.push_str(rest.get(..length)?);
        body = rest.get(length..)?.strip_prefix("\r\n")?;
    }
}

/// Gets a path from `127.0.0.1:port`.
///
/// # Panics
/// When nobody answers.
pub async fn get(port: u16, path: &str) -> Answer {
    let answer = try_get(port, path).await;
    answer.unwrap_or_else(|| panic!("nobody answers GET {path} on port {port}"))
}
