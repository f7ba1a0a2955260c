//! The service: what becomes of a request.
//!
//! In this order: is the caller known, is there such a call, is there room, what is in the body, is
//! NATS there, and then the call, within its time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use crate::{
    batch,
    bus::Bus,
    call::{Call, Done, find},
    failure::{Code, Failure},
    metrics::Metrics,
    openapi,
    parameters::Parameters,
    target::{Kind, Target},
    tokens::Tokens,
};

/// What one request may take.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is the option of its name")]
pub struct Limits {
    pub max_body: usize,
    pub max_batch: usize,
    pub concurrency: usize,
    pub request_timeout: Duration,
}

/// Everything that requests share.
pub(crate) struct Service {
    pub(crate) bus: Bus,
    pub(crate) tokens: Tokens,
    limits: Limits,
    room: Semaphore,
    pub(crate) metrics: Arc<Metrics>,
    document: String,
    stopping: AtomicBool,
}

/// Where a request goes.
enum Route {
    Batch,
    Call(&'static Call, Target),
}

impl Service {
    pub(crate) fn new(tokens: Tokens, limits: Limits) -> Self {
        Self {
            bus: Bus::default(),
            tokens,
            room: Semaphore::new(limits.concurrency),
            document: openapi::text(&limits),
            limits,
            metrics: Arc::new(Metrics::new()),
            stopping: AtomicBool::new(false),
        }
    }

    pub(crate) fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/openapi.json", any(document))
            .route("/v1/{*rest}", any(answer))
            .fallback(elsewhere)
            .with_state(self)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.bus.is_up() && !self.stopping.load(Relaxed)
    }

    /// Not ready from now on.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Relaxed);
    }

    pub(crate) fn metrics_text(&self) -> String {
        self.metrics.text(self.bus.is_up())
    }

    async fn answer(&self, request: Request) -> Result<Done, Failure> {
        let until = Instant::now() + self.limits.request_timeout;
        let caller = self.tokens.allow(request.headers())?;
        let route = route(request.method(), request.uri().path())?;
        tracing::debug!(%caller, method = %request.method(), "a request");
        let _room = self.room.try_acquire().map_err(|_| Code::Busy)?;
        let _at_work = self.metrics.at_work();
        match route {
            Route::Batch => {
                let batch = batch::read(self.body(request, until).await?, self.limits.max_batch)?;
                let gateway = self.bus.gateway()?;
                Ok(batch::run(batch, gateway, &self.metrics, until).await)
            }
            Route::Call(call, target) => {
                let kind = target.kind();
                let outcome = self.call(call, target, request, until).await;
                let code = outcome.as_ref().err().map(|failure| failure.code);
                self.metrics.call(call.name, kind, code);
                outcome
            }
        }
    }

    async fn call(
        &self,
        call: &'static Call,
        target: Target,
        request: Request,
        until: Instant,
    ) -> Result<Done, Failure> {
        let ready = if call.is_command() {
            Parameters::parse(request.uri().query().unwrap_or_default())?.end()?;
            call.read_body(target, self.body(request, until).await?)?
        } else {
            let query = request.uri().query().unwrap_or_default();
            call.read_query(target, Parameters::parse(query)?)?
        };
        let gateway = self.bus.gateway()?;
        let done = timeout_at(until, ready.run(gateway)).await;
        match done.unwrap_or_else(|_| Err(Code::Timeout.into())) {
            // Whoever was asked may be there all the same: it is we who cannot hear.
            Err(failure) if failure.code == Code::Timeout && !self.bus.is_up() => {
                let says = "the connection to NATS was lost meanwhile; it may have been done";
                Err(Failure::new(Code::Timeout, says))
            }
            outcome => outcome,
        }
    }

    /// The body, which must be a JSON object; nothing is an empty one.
    async fn body(&self, request: Request, until: Instant) -> Result<Map<String, Value>, Failure> {
        let (parts, body) = request.into_parts();
        let limited = Limited::new(body, self.limits.max_body).collect();
        let body = match timeout_at(until, limited).await {
            Err(_) => return Err(Code::SlowRequest.into()),
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(e)) if e.is::<LengthLimitError>() => {
                let says = format!("a body has at most {} bytes", self.limits.max_body);
                return Err(Failure::new(Code::TooLarge, says));
            }
            Ok(Err(e)) => return Err(Failure::new(Code::MalformedJson, e.to_string())),
        };
        if body.is_empty() {
            return Ok(Map::new());
        }
        if !is_json(&parts.headers) {
            return Err(Code::ContentType.into());
        }
        match serde_json::from_slice(&body) {
            Ok(Value::Object(map)) => Ok(map),
            Ok(_) => Err(Code::MalformedJson.into()),
            Err(e) => Err(Failure::new(Code::MalformedJson, e.to_string())),
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// Finds the call that a path names; a name in it is percent-decoded, so it may hold anything.
fn route(method: &Method, path: &str) -> Result<Route, Failure> {
    let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (found, kind, name) = match words[..] {
        ["v1", "batch"] => {
            return if *method == Method::POST {
                Ok(Route::Batch)
            } else {
                Err(Code::MethodNotAllowed.into())
            };
        }
        ["v1", "all", call] => (find(call, Kind::All), Kind::All, ""),
        ["v1", kind, name, call] => {
            let kind = Kind::named(kind).ok_or(Code::NotFound)?;
            (find(call, kind), kind, name)
        }
        _ => return Err(Code::NotFound.into()),
    };
    let call = found.ok_or(Code::NotFound)?;
    let expected = if call.is_command() {
        Method::POST
    } else {
        Method::GET
    };
    if *method != expected {
        return Err(Code::MethodNotAllowed.into());
    }
    let name = percent_decode_str(name)
        .decode_utf8()
        .map_err(|_| Failure::new(Code::BadQuery, "the name in the path is not UTF-8"))?;
    Ok(Route::Call(call, Target::new(kind, &name)?))
}

async fn answer(State(service): State<Arc<Service>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let begin = Instant::now();
    let outcome = service.answer(request).await;
    service.metrics.took(begin.elapsed());
    let code = outcome.as_ref().err().map(|failure| failure.code);
    service.metrics.request(code);
    match outcome {
        Ok(done) => {
            let status = StatusCode::from_u16(done.status).expect("a status code");
            json(status, done.body.to_string())
        }
        Err(failure) => refuse(failure, &path),
    }
}

async fn document(State(service): State<Arc<Service>>, request: Request) -> Response {
    if request.method() == Method::GET {
        service.metrics.request(None);
        return json(StatusCode::OK, service.document.clone());
    }
    service.metrics.request(Some(Code::MethodNotAllowed));
    refuse(Code::MethodNotAllowed.into(), request.uri().path())
}

async fn elsewhere(State(service): State<Arc<Service>>) -> Response {
    service.metrics.request(Some(Code::NotFound));
    Failure::from(Code::NotFound).into_response()
}

/// An error; where the method was wrong, with the right one.
fn refuse(failure: Failure, path: &str) -> Response {
    let wrong_method = failure.code == Code::MethodNotAllowed;
    let mut response = failure.into_response();
    if wrong_method {
        let posts = route(&Method::POST, path).is_ok();
        let right = HeaderValue::from_static(if posts { "POST" } else { "GET" });
        response.headers_mut().insert(header::ALLOW, right);
    }
    response
}

fn json(status: StatusCode, text: String) -> Response {
    let kind = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, kind)], Body::from(text)).into_response()
}
