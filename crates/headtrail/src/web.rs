//! What the daemon answers: `/metrics`, `/healthz` and `/api/status` over HTTP on a loopback address, and the same status on
//! the Unix socket `status.sock` of the data directory.
//!
//! One thread with a runtime of its own, which only reads what the main loop put on the [`Board`]. Whoever asks may be
//! hostile: a page in a browser that had its name resolved to 127.0.0.1 (so the `Host` must be a loopback name), a client
//! that sends slowly or without end, or many of them. Each has a limit, and behind it the connection is closed.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use crate::exit::Failure;
use crate::metrics;
use crate::snapshot::Board;

/// Connections at one time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// Request line and fields, together.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Field lines of a request.
const FIELD_LINES_MAX: usize = 64;
/// A request's head has come by then, or the connection ends; also between two requests.
const HEAD_TIME_MAX: Duration = Duration::from_secs(5);
/// A connection ends by then, whatever it does.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(60);
/// A client of the Unix socket has taken its answer by then.
const STATUS_TIME_MAX: Duration = Duration::from_secs(2);
/// Pause after an accept that failed, for want of descriptors for instance.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The Unix socket, in the data directory.
pub(crate) const STATUS_SOCKET: &str = "status.sock";

/// Binds the address of the page. Call it before privileges are given up.
pub(crate) fn bind(address: SocketAddr) -> Result<std::net::TcpListener, Failure> {
    if !address.ip().is_loopback() {
        return Err(Failure::usage(format_args!(
            "--web {address}: not a loopback address; beyond this host put a server with TLS in front of it"
        )));
    }
    let bound = std::net::TcpListener::bind(address);
    bound.map_err(|error| Failure::refused(format_args!("--web {address}: {error}")))
}

/// Binds the Unix socket. Call it after privileges are given up, so that it belongs to whom the daemon is; root and its
/// group may ask, too. One that a killed daemon left is replaced: the journal's lock says that no other is running.
pub(crate) fn bind_status(data_dir: &Path) -> Result<StatusListener, Failure> {
    let path = data_dir.join(STATUS_SOCKET);
    let bound = match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => StdUnixListener::bind(&path),
    };
    let listener = bound
        .and_then(|listener| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660))?;
            Ok(listener)
        })
        .map_err(|error| Failure::refused(format_args!("{}: {error}", path.display())))?;
    Ok(StatusListener { listener, path })
}

/// The Unix socket; its file goes with it.
pub(crate) struct StatusListener {
    listener: StdUnixListener,
    path: PathBuf,
}

impl Drop for StatusListener {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The thread that answers. It ends when this is dropped.
pub(crate) struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts the thread. Call it after privileges are given up: it has what its starter has.
pub(crate) fn start(
    http: Option<std::net::TcpListener>,
    status: Option<StatusListener>,
    board: &Board,
) -> io::Result<Server> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let board = board.clone();
    let (stop, stopped) = oneshot::channel();
    let (http, unix) = {
        let _inside = runtime.enter();
        let http = http
            .map(|listener| listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener)));
        let unix = status.as_ref().map(|status| {
            let listener = status.listener.try_clone()?;
            listener.set_nonblocking(true)?;
            UnixListener::from_std(listener)
        });
        (http.transpose()?, unix.transpose()?)
    };
    let thread = std::thread::Builder::new().name("headtrail-web".to_owned()).spawn(move || {
        runtime.block_on(async move {
            if let Some(unix) = unix {
                tokio::spawn(serve_status(unix, board.clone()));
            }
            if let Some(http) = http {
                tokio::spawn(serve_http(http, router(board)));
            }
            let _ = stopped.await;
        });
        // Connections that are open end with the runtime, which ends here.
        drop(status);
    })?;
    Ok(Server { stop: Some(stop), thread: Some(thread) })
}

fn router(board: Board) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/api/status", get(status))
        .layer(middleware::from_fn(guard))
        .with_state(board)
}

async fn metrics(State(board): State<Board>) -> Response {
    match board.get() {
        Some(snapshot) => {
            ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::expose(&snapshot)).into_response()
        }
        None => starting(),
    }
}

async fn status(State(board): State<Board>) -> Response {
    match json(&board) {
        Some(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        None => starting(),
    }
}

async fn healthz(State(board): State<Board>) -> Response {
    if board.is_alive() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "the main loop does not turn\n").into_response()
}

fn starting() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response()
}

fn json(board: &Board) -> Option<Vec<u8>> {
    board.get().and_then(|snapshot| serde_json::to_vec(&*snapshot).ok())
}

/// Only requests that name this host as itself, and headers that keep browsers from making anything of the answers.
async fn guard(request: Request, next: Next) -> Response {
    let mut response = if names_loopback(&request) {
        next.run(request).await
    } else {
        (StatusCode::MISDIRECTED_REQUEST, "the Host of a request must be localhost or a loopback address\n")
            .into_response()
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether all that a request says about its host is a loopback name: the `Host`, of which there is one, and the target
/// where it is absolute.
fn names_loopback(request: &Request<Body>) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    host.to_str().is_ok_and(is_loopback) && request.uri().authority().is_none_or(|a| is_loopback(a.as_str()))
}

/// A loopback name or address, with or without a port.
fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    if host.contains('@') {
        return false;
    }
    let name = authority.host();
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

async fn serve_http(listener: TcpListener, router: Router) -> Infallible {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    let _ = timeout(CONNECTION_TIME_MAX, serve_connection(stream, router)).await;
                    drop(place);
                });
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Router) {
    let service = TowerToHyperService::new(router);
    // What goes wrong here is the client's.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(FIELD_LINES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Whoever connects gets the status and the end.
async fn serve_status(listener: UnixListener, board: Board) -> Infallible {
    loop {
        match listener.accept().await {
            Ok((mut stream, _)) => {
                let body = json(&board).unwrap_or_else(|| b"{}".to_vec());
                let _ = timeout(STATUS_TIME_MAX, stream.write_all(&body)).await;
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

#[cfg(test)]
#[path = "web_tests.rs"]
mod tests;
