//! The address of the database from a URL, and the credentials. The password is read apart and
//! never shown.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The credential that holds the password, in `$CREDENTIALS_DIRECTORY`.
const CREDENTIAL: &str = "journal-password";

/// The port that is meant where none is named.
const PORT: u16 = 5432;

/// After so long without a word, the system asks whether the other end is there. Firewalls and
/// address translation forget a connection that is silent for a minute, and some after thirty
/// seconds.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);

/// Between two such questions, and how many without an answer end the connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

/// A connection on which data stays unacknowledged for this long is ended.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(15);

/// One of several servers is given up after this time, so that the next one is tried within the
/// time that connecting has.
const NEXT_SERVER: Duration = Duration::from_secs(3);

/// The driver's own time before the first question.
const DRIVERS_IDLE: Duration = Duration::from_secs(2 * 60 * 60);

/// A database, with all that is needed to enter it.
#[derive(Clone)]
pub struct PostgresAddress {
    pub(super) config: tokio_postgres::Config,
    roots: Roots,
    shown: String,
}

/// The authorities that vouch for the server's certificate.
#[derive(Clone)]
enum Roots {
    /// The platform.
    Platform(MakeRustlsConnect),
    /// A file, which is read again for each connection: a certificate that is renewed counts at
    /// once.
    File(PathBuf),
}

/// Why a text is no such address. No error repeats any of the URL: a password may be in it.
#[derive(Debug, thiserror::Error)]
pub enum PostgresAddressError {
    /// Another scheme, or none.
    #[error("a journal's URL begins with postgres://, as in postgres://stackcron@db.example/stackcron")]
    NoUrl,
    /// The part of the URL behind the scheme cannot be read.
    #[error(
        "the journal's URL cannot be read: {0}; it is postgres://USER@HOST[:PORT]/DATABASE[?sslmode=…&sslrootcert=FILE]"
    )]
    Malformed(String),
    /// A word for `sslmode` that nobody knows.
    #[error("sslmode is one of disable, prefer, require, verify-ca and verify-full")]
    SslMode,
    /// The file of roots cannot be read.
    #[error("the certificates of sslrootcert={}, cannot be used: {detail}", path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// The fault.
        detail: String,
    },
    /// The platform's roots cannot be used.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// The credential exists and cannot be read.
    #[error("the credential `{CREDENTIAL}` cannot be read: {0}")]
    Credential(std::io::Error),
}

impl fmt::Display for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for PostgresAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.shown)
    }
}

impl FromStr for PostgresAddress {
    type Err = PostgresAddressError;

    /// Reads a URL as libpq has it. The password is its own, or else the credential's, or else
    /// `$PGPASSWORD`.
    fn from_str(text: &str) -> Result<PostgresAddress, PostgresAddressError> {
        let (url, own) = without_own_keys(text)?;
        let mut config: tokio_postgres::Config = url
            .parse()
            .map_err(|error: tokio_postgres::Error| PostgresAddressError::Malformed(told(&error)))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(PostgresAddressError::Malformed("it names no host".to_owned()));
        }
        if config.get_password().is_none()
            && let Some(password) = password()?
        {
            config.password(password);
        }
        config.ssl_mode(match own.mode {
            Some(mode) => mode,
            None if is_local(&config) => SslMode::Disable,
            None => SslMode::Require,
        });
        if config.get_hosts().len() > 1 {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        config.application_name("stackcron");
        keep_alive(&mut config);
        let shown = shown(&config);
        let tls = tls(own.roots.as_deref())?;
        let roots = own.roots.map_or(Roots::Platform(tls), Roots::File);
        Ok(PostgresAddress { config, roots, shown })
    }
}

impl PostgresAddress {
    /// Returns the TLS settings for a connection that is made now.
    pub(super) fn tls(&self) -> Result<MakeRustlsConnect, PostgresAddressError> {
        match &self.roots {
            Roots::Platform(tls) => Ok(tls.clone()),
            Roots::File(path) => tls(Some(path)),
        }
    }
}

/// Sets what notices that a connection is dead, where the URL does not say it.
fn keep_alive(config: &mut tokio_postgres::Config) {
    if config.get_keepalives_idle() == DRIVERS_IDLE {
        config.keepalives_idle(KEEPALIVE_IDLE);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(KEEPALIVE_INTERVAL);
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(KEEPALIVE_RETRIES);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(ACKNOWLEDGED_WITHIN);
    }
    let servers = config.get_hosts().len().max(config.get_hostaddrs().len());
    if servers > 1 && config.get_connect_timeout().is_none() {
        config.connect_timeout(NEXT_SERVER);
    }
}

/// The settings that the driver does not know, or reads differently.
#[derive(Default)]
struct OwnSettings {
    mode: Option<SslMode>,
    roots: Option<PathBuf>,
}

/// Takes this program's own keys out of a URL. In every mode a certificate is either verified
/// together with its name, or not asked for.
fn without_own_keys(text: &str) -> Result<(String, OwnSettings), PostgresAddressError> {
    if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
        return Err(PostgresAddressError::NoUrl);
    }
    let mut own = OwnSettings::default();
    let Some((place, query)) = text.split_once('?') else {
        return Ok((text.to_owned(), own));
    };
    let mut others = Vec::new();
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("sslmode", mode)) => {
                own.mode = Some(match mode {
                    "disable" => SslMode::Disable,
                    "allow" | "prefer" => SslMode::Prefer,
                    "require" | "verify-ca" | "verify-full" => SslMode::Require,
                    _ => return Err(PostgresAddressError::SslMode),
                });
            }
            Some(("sslrootcert", path)) => {
                let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned();
                // `system` stands for the platform's roots, as in libpq.
                own.roots = (path != "system").then(|| PathBuf::from(path));
            }
            // The driver takes several for one in a URL.
            Some(("host", hosts)) => {
                let hosts = hosts.replace("%2C", ",").replace("%2c", ",");
                others.extend(hosts.split(',').map(|host| format!("host={host}")));
            }
            _ => others.push(pair.to_owned()),
        }
    }
    let url = if others.is_empty() { place.to_owned() } else { format!("{place}?{}", others.join("&")) };
    Ok((url, own))
}

fn told(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn password() -> Result<Option<Vec<u8>>, PostgresAddressError> {
    if let Some(directory) = std::env::var_os("CREDENTIALS_DIRECTORY") {
        match std::fs::read(Path::new(&directory).join(CREDENTIAL)) {
            Ok(mut password) => {
                while password.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
                    password.pop();
                }
                return Ok(Some(password));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(PostgresAddressError::Credential(error)),
        }
    }
    Ok(std::env::var("PGPASSWORD").ok().filter(|text| !text.is_empty()).map(String::into_bytes))
}

/// Returns true when the connection stays within the machine.
fn is_local(config: &tokio_postgres::Config) -> bool {
    config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        }
    }) && config.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback)
}

fn tls(roots: Option<&Path>) -> Result<MakeRustlsConnect, PostgresAddressError> {
    let error = |error: rustls::Error| PostgresAddressError::Tls(error.to_string());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(error)?;
    let config = match roots {
        None => builder.with_platform_verifier().map_err(error)?.with_no_client_auth(),
        Some(path) => {
            let unusable = |detail: String| PostgresAddressError::Roots { path: path.to_owned(), detail };
            let mut store = RootCertStore::empty();
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
                store.add(certificate).map_err(|error| unusable(error.to_string()))?;
            }
            if store.is_empty() {
                return Err(unusable("no certificate is in it".to_owned()));
            }
            builder.with_root_certificates(store).with_no_client_auth()
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

/// The address without what is secret or of no interest.
fn shown(config: &tokio_postgres::Config) -> String {
    let ports = config.get_ports();
    let port = |index: usize| ports.get(index).or(ports.first()).copied().unwrap_or(PORT);
    let hosts = config.get_hosts().iter().enumerate().map(|(index, host)| match (host, port(index)) {
        (Host::Tcp(name), PORT) => name.clone(),
        (Host::Tcp(name), port) => format!("{name}:{port}"),
        (Host::Unix(path), PORT) => path.display().to_string(),
        (Host::Unix(path), port) => format!("{}:{port}", path.display()),
    });
    let hosts: Vec<String> = match config.get_hosts().is_empty() {
        true => config.get_hostaddrs().iter().map(ToString::to_string).collect(),
        false => hosts.collect(),
    };
    let user = config.get_user().map_or(String::new(), |user| format!("{user}@"));
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    format!("postgres://{user}{}/{database}", hosts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(url: &str) -> PostgresAddress {
        url.parse().unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        for (url, shown) in [
            ("postgres://me:s3cret@db.example/jobs", "postgres://me@db.example/jobs"),
            ("postgresql://me@db.example:6432/jobs?password=s3cret", "postgres://me@db.example:6432/jobs"),
            ("postgres://me:s3cret@a,b:7/jobs", "postgres://me@a:5432,b:7/jobs"),
            ("postgres://me:s3cret@%2Frun%2Fpostgresql/jobs", "postgres://me@/run/postgresql/jobs"),
            ("postgres:///jobs?host=/tmp/pg&user=me&password=s3cret", "postgres://me@/tmp/pg/jobs"),
            ("postgres://me@db.example?sslmode=verify-full", "postgres://me@db.example/me"),
        ] {
            let address = address(url);
            assert_eq!(address.to_string().replace("a:5432", "a"), shown.replace("a:5432", "a"), "{url}");
            assert!(!format!("{address:?}").contains("s3cret"), "{address:?}");
        }
    }

    #[test]
    fn several_hosts_are_several_wherever_they_stand() {
        for url in [
            "postgres://me@a,b/jobs",
            "postgres:///jobs?user=me&host=a,b",
            "postgres:///jobs?user=me&host=a%2Cb",
        ] {
            let address = address(url);
            assert_eq!(address.config.get_hosts(), [Host::Tcp("a".into()), Host::Tcp("b".into())], "{url}");
            assert_eq!(
                address.config.get_connect_timeout(),
                Some(&NEXT_SERVER),
                "a dead one leaves time for the other"
            );
        }
    }

    #[test]
    fn every_connection_is_kept_alive_unless_told_otherwise() {
        let plain = address("postgres://me@db.example/jobs");
        assert!(
            plain.config.get_keepalives() && plain.config.get_keepalives_idle() < Duration::from_secs(30)
        );
        assert_eq!(plain.config.get_tcp_user_timeout(), Some(&ACKNOWLEDGED_WITHIN));
        let own = address("postgres://me@db.example/jobs?keepalives_idle=7");
        assert_eq!(own.config.get_keepalives_idle(), Duration::from_secs(7));
    }

    #[test]
    fn the_roots_of_the_system_are_no_file() {
        address("postgres://me@db.example/jobs?sslmode=verify-full&sslrootcert=system");
    }

    #[test]
    fn no_error_repeats_a_password() {
        for url in [
            "mysql://me:s3cret@db.example/jobs",
            "postgres://me:s3cret@db.example:port/jobs",
            "postgres://me:s3cret@db.example/jobs?sslmode=s3cret",
            "postgres://me:s3cret@db.example/jobs?s3cret",
            "postgres://me:s3cret@db.example/jobs?sslmode=require&sslrootcert=/nowhere",
            "s3cret",
            "postgres://",
        ] {
            let error = url.parse::<PostgresAddress>().expect_err(url);
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{url}: {error}");
        }
    }

    #[test]
    fn what_leaves_the_machine_is_encrypted_unless_told_otherwise() {
        let mode = |url: &str| address(url).config.get_ssl_mode();
        assert_eq!(mode("postgres://me@db.example/jobs"), SslMode::Require);
        assert_eq!(mode("postgres://me@127.0.0.1/jobs"), SslMode::Disable);
        assert_eq!(mode("postgres://me@localhost,db.example/jobs"), SslMode::Require);
        assert_eq!(mode("postgres://me@%2Frun%2Fpostgresql/jobs"), SslMode::Disable);
        assert_eq!(mode("postgres://me@db.example/jobs?sslmode=disable"), SslMode::Disable);
        assert_eq!(
            mode("postgres://me@localhost/jobs?connect_timeout=3&sslmode=verify-full"),
            SslMode::Require
        );
    }
}
