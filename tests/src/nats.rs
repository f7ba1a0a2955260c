//! NATS servers, alone or two in a cluster.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    eventually, http,
    identity::{Clients, Tls},
    port, process,
    process::Process,
    within,
};

/// How the server lets clients in.
#[derive(Debug, Default)]
enum Access {
    /// Everybody.
    #[default]
    Open,
    /// Lines of the `authorization` block, or of an operator's set-up.
    Guarded(String),
    /// Everybody, and it keeps streams in its folder.
    JetStream,
    /// The users and permissions that operators are given as an example, and JetStream.
    Roles,
    /// By TLS, with a certificate of an authority of its own.
    Tls(Box<Tls>),
}

/// Where a client's certificate and its key stand.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    /// The certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// The password of every role.
const PASSWORD: &str = "s3cret";

/// The example, as it is given.
const ROLES: &str = include_str!("../../helm/examples/nats-server.conf");

/// A NATS server on a port of its own. It can be stopped and started again on the same port.
#[derive(Debug)]
pub struct Nats {
    folder: TempDir,
    port: u16,
    prefix: String,
    process: Option<Process>,
    access: Access,
}

impl Nats {
    /// Starts a server that lets everybody in.
    pub async fn start() -> Self {
        Self::new(Access::Open, "").await
    }

    /// Starts a server whose configuration holds these lines, which say who may come in.
    pub async fn start_guarded(lines: &str) -> Self {
        Self::new(Access::Guarded(lines.to_owned()), "").await
    }

    /// Starts a server that lets everybody in, and has JetStream.
    pub async fn start_jetstream() -> Self {
        Self::new(Access::JetStream, "").await
    }

    /// Starts a server with a user for each role, as `helm/examples/nats-server.conf` has them.
    pub async fn start_roles() -> Self {
        Self::new(Access::Roles, "").await
    }

    /// Starts a server that speaks TLS only.
    pub async fn start_tls() -> Self {
        Self::start_tls_for(Clients::Any).await
    }

    /// Starts a server that speaks TLS only, and looks so at its clients.
    pub async fn start_tls_for(clients: Clients) -> Self {
        Self::new(Access::Tls(Box::new(Tls::new(clients))), "").await
    }

    async fn new(access: Access, cluster: &str) -> Self {
        let mut nats = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            port: 0,
            prefix: format!("test-{:08x}", rand::random::<u32>()),
            process: None,
            access,
        };
        // Somebody may take the port between our look and the server's.
        for _ in 0..5 {
            nats.port = port::free();
            nats.configure(cluster);
            nats.spawn();
            if nats.is_up().await {
                return nats;
            }
        }
        panic!("nats-server does not start on five ports that were free")
    }

    fn configure(&self, cluster: &str) {
        let access = match &self.access {
            Access::Open => String::new(),
            Access::Guarded(lines) => lines.clone(),
            Access::JetStream => {
                let folder = self.folder.path().join("jetstream");
                format!("jetstream {{ store_dir: {folder:?}, max_memory_store: 0 }}")
            }
            Access::Roles => {
                let folder = self.folder.path().join("jetstream");
                let mut lines = ROLES.replace(
                    "jetstream {}",
                    &format!("jetstream {{ store_dir: {folder:?} }}"),
                );
                lines = lines.replace("gatebus.", &format!("{}.", self.prefix));
                lines = lines.replace("gatebus-leases", &format!("{}-leases", self.prefix));
                lines
            }
            Access::Tls(tls) => tls.configuration(self.folder.path()),
        };
        let lines = format!("listen: \"127.0.0.1:{}\"\n{access}\n{cluster}\n", self.port);
        std::fs::write(self.configuration(), lines).expect("a temporary file");
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("nats.conf")
    }

    fn spawn(&mut self) {
        let mut command = Command::new(binary());
        command.arg("--config").arg(self.configuration());
        for role in ["GATEWAY", "WORKER", "API", "OPERATOR"] {
            command.env(format!("{role}_PASSWORD"), PASSWORD);
        }
        command.stdout(Stdio::null());
        self.process = Some(Process::start(format!("nats {}", self.port), command));
    }

    /// Waits until it takes clients; `false` if it gave up, because its port is taken.
    async fn is_up(&self) -> bool {
        let log = &self.process().log;
        let pick = |line: &str| {
            let up = line.contains("Server is ready");
            (up || line.contains("address already in use")).then_some(up)
        };
        log.find("Server is ready", pick).await
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("the server runs")
    }

    /// The URL for gateways and workers.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = match self.access {
            Access::Tls(_) => "tls",
            _ => "nats",
        };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// The URL for a user of [`start_roles`](Self::start_roles).
    #[must_use]
    pub fn url_of(&self, role: &str) -> String {
        self.url().replace("://", &format!("://{role}:{PASSWORD}@"))
    }

    /// A plain NATS client of a role of [`start_roles`](Self::start_roles).
    ///
    /// # Panics
    /// When the server does not take it.
    pub async fn client_of(&self, role: &str) -> async_nats::Client {
        let options = async_nats::ConnectOptions::new();
        let options = options.user_and_password(role.to_owned(), PASSWORD.to_owned());
        let client = Box::pin(options.connect(self.url())).await;
        client.expect("the role is let in")
    }

    /// What the server says of something that a user was not allowed.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let mut lines = self.process().log.lines();
        lines.retain(|line| line.contains(" Violation - "));
        lines
    }

    /// Waits until the server says that a user was not allowed this.
    pub async fn wait_violation(&self, user: &str, subject: &str) {
        // older servers say it in another way
        let users = [format!("/user:{user}\""), format!("User {user:?}")];
        let subject = format!("Subject {subject:?}");
        let pick = |line: &str| {
            let is_it = line.contains(" Violation - ") && line.contains(&subject);
            (is_it && users.iter().any(|user| line.contains(user))).then_some(())
        };
        let what = format!("a violation by {user}, {subject}");
        self.process().log.find(&what, pick).await;
    }

    /// The prefix of this test's subjects.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A subject under the prefix.
    #[must_use]
    pub fn subject(&self, rest: &str) -> String {
        format!("{}.{rest}", self.prefix)
    }

    /// A folder for files of this test, such as passwords.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the certificate of the server's authority stands, if it speaks TLS.
    #[must_use]
    pub fn authority(&self) -> Option<PathBuf> {
        match &self.access {
            Access::Tls(_) => Some(Tls::authority_file(self.folder.path())),
            _ => None,
        }
    }

    /// Writes a certificate for a client of this name, and its key, in the place of earlier ones.
    ///
    /// # Panics
    /// When the server does not speak TLS.
    #[must_use]
    pub fn certify_client(&self, name: &str) -> CertificateFiles {
        let Access::Tls(tls) = &self.access else {
            panic!("the server does not speak TLS");
        };
        let files = CertificateFiles {
            cert: self.folder.path().join("client.pem"),
            key: self.folder.path().join("client.key"),
        };
        let new = tls.certify_client(name);
        std::fs::write(&files.cert, new.certificate).expect("a temporary file");
        std::fs::write(&files.key, new.key).expect("a temporary file");
        files
    }

    /// The environment of a gateway or worker of this test.
    #[must_use]
    pub fn environment(&self) -> [(String, String); 2] {
        [
            ("NATS_URL".into(), self.url()),
            ("GATEBUS_PREFIX".into(), self.prefix.clone()),
        ]
    }

    /// A plain NATS client: what any program in any language could do.
    ///
    /// # Panics
    /// When the server does not take it.
    pub async fn client(&self) -> async_nats::Client {
        // Boxed: their futures are many kilobytes, and tests hold several.
        let client = Box::pin(async_nats::connect(self.url())).await;
        client.expect("the server takes clients")
    }

    /// The SDK's handle, as a back end has it.
    ///
    /// # Panics
    /// When the server does not take it.
    pub async fn handle(&self) -> worker_sdk::Gateway {
        let builder = worker_sdk::Gateway::builder();
        let handle = builder.nats_url(self.url()).prefix(&self.prefix).connect();
        within("the handle to connect", Box::pin(handle))
            .await
            .expect("the server takes clients")
    }

    /// Stops the server and waits until it is gone.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn stop(&mut self) {
        let mut process = self.process.take().expect("the server runs");
        process.signal(Signal::INT);
        process.wait().await;
    }

    /// Tells the server that it is to stop soon, as `nats-server --signal ldm` does: it tells its
    /// clients, takes no new ones, and lets go of them after ten seconds.
    ///
    /// # Panics
    /// When it does not run.
    pub fn lame_duck(&self) {
        self.process().signal(Signal::USR2);
    }

    /// Kills the server.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn kill(&mut self) {
        self.process.take().expect("the server runs").kill().await;
    }

    /// Lets others in from the next start on, as these lines say.
    pub fn guard_anew(&mut self, lines: &str) {
        self.access = Access::Guarded(lines.to_owned());
        self.configure("");
    }

    /// Has another authority from the next start on, which vouches for server and clients.
    pub fn renew_authority(&mut self, clients: Clients) {
        self.access = Access::Tls(Box::new(Tls::new(clients)));
        self.configure("");
    }

    /// Starts it again on the same port, after [`stop`](Self::stop) or [`kill`](Self::kill).
    ///
    /// # Panics
    /// When the port is taken.
    pub async fn start_again(&mut self) {
        self.spawn();
        assert!(self.is_up().await, "port {} is taken", self.port);
    }
}

/// Servers that form one cluster. All of them serve the same prefix.
#[derive(Debug, Default)]
pub struct NatsCluster {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    server: Nats,
    /// Where it tells of its routes.
    monitor: u16,
    /// Where the others reach it.
    route: u16,
}

impl NatsCluster {
    /// Starts so many servers, and waits until each has its routes to all others.
    pub async fn start(size: usize) -> Self {
        let mut cluster = Self::default();
        for _ in 0..size {
            cluster.grow().await;
        }
        cluster
    }

    /// Starts one more, and waits until each has its routes to all others.
    pub async fn grow(&mut self) {
        let (monitor, route) = (port::free(), port::free());
        let routes = self.members.iter().map(|m| m.route);
        let routes: Vec<_> = routes
            .map(|port| format!("\"nats://127.0.0.1:{port}\""))
            .collect();
        let lines = format!(
            "http: \"127.0.0.1:{monitor}\"\n\
             cluster {{ name: tests, listen: \"127.0.0.1:{route}\", routes: [{}] }}",
            routes.join(", ")
        );
        let mut server = Nats::new(Access::Open, &lines).await;
        if let Some(first) = self.members.first() {
            server.prefix.clone_from(&first.server.prefix);
        }
        self.members.push(Member {
            server,
            monitor,
            route,
        });
        for member in &self.members {
            eventually("the servers to find each other", || async {
                let routes = http::get(member.monitor, "/routez").await.body;
                let routes: serde_json::Value = serde_json::from_str(&routes).ok()?;
                let others = routes["routes"].as_array()?.iter();
                let others: std::collections::HashSet<_> =
                    others.filter_map(|r| r["remote_id"].as_str()).collect();
                (others.len() == self.members.len() - 1).then_some(())
            })
            .await;
        }
    }

    /// The URLs of all servers, for gateways and workers.
    #[must_use]
    pub fn urls(&self) -> String {
        let urls: Vec<_> = self.members.iter().map(|m| m.server.url()).collect();
        urls.join(",")
    }
}

impl std::ops::IndexMut<usize> for NatsCluster {
    fn index_mut(&mut self, at: usize) -> &mut Nats {
        &mut self.members[at].server
    }
}

impl std::ops::Index<usize> for NatsCluster {
    type Output = Nats;
    fn index(&self, at: usize) -> &Nats {
        &self.members[at].server
    }
}

/// The server's program: `NATS_SERVER_BIN`, or `nats-server` on the `PATH`, or the one that
/// `cargo xtask` put into `target/tools`.
///
/// # Panics
/// When there is none: a test that needs a server must not pass without one.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("NATS_SERVER_BIN") {
        let named = PathBuf::from(named);
        assert!(
            named.is_file(),
            "NATS_SERVER_BIN is {}, and that is no file",
            named.display()
        );
        return named;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let tools = process::target_folder().join("tools");
    std::env::split_paths(&path)
        .chain([tools.clone(), tools.join("bin")])
        .map(|folder| folder.join("nats-server"))
        .find(|file| file.is_file())
        .expect(
            "no nats-server: set NATS_SERVER_BIN, put it on the PATH, \
             or run `cargo xtask test`, which fetches it",
        )
}
