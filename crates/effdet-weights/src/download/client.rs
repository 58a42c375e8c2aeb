//! HTTP requests that know what a redirect may see and which failures pass.

use std::time::Duration;
use std::{fs, io};

use ureq::http::{HeaderMap, Response, Uri, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Proxy, ProxyProtocol};

use crate::Error;
use crate::store::{Retry, Variables, environment};

/// Longest chain of redirects.
const REDIRECTS: usize = 8;

/// A client for one store.
pub(super) struct Client {
    agent: Agent,
    /// A proxy that cannot be used, and the variable that names it.
    unusable: Option<(&'static str, Proxy)>,
    /// Why the certificates that the environment names cannot be used.
    uncertified: Option<String>,
    pub(super) retry: Retry,
}

/// A request that failed.
pub(super) enum Failure {
    /// Another attempt would fail as well.
    Final(Error),
    /// Another attempt may work.
    Passing {
        error: Error,
        /// How long the server asks to wait.
        wait: Option<Duration>,
        /// Whether bytes arrived, which makes it the first failure again.
        progressed: bool,
    },
}

impl Failure {
    pub(super) fn passing(error: Error) -> Self {
        Self::Passing { error, wait: None, progressed: false }
    }
}

/// What is sent beside the address.
#[derive(Clone, Copy, Default)]
pub(super) struct Ask<'a> {
    /// Only headers are wanted, and the first redirect to another host is the answer.
    pub(super) head: bool,
    /// First byte wanted.
    pub(super) from: u64,
    /// Access token, shown to the host of the first address alone.
    pub(super) token: Option<&'a str>,
}

impl Client {
    pub(super) fn new(retry: Retry) -> Self {
        let (usable, unusable) = match proxy(&environment) {
            Some((_, proxy)) if !is_socks(&proxy) => (Some(proxy), None),
            other => (None, other),
        };
        let (roots, uncertified) = match certificates(&environment) {
            Ok(roots) => (roots, None),
            Err(reason) => (RootCerts::WebPki, Some(reason)),
        };
        let config = Agent::config_builder()
            .proxy(usable)
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("effdet/", env!("CARGO_PKG_VERSION")))
            // The bytes themselves are hashed.
            .accept_encoding("identity")
            .timeout_resolve(Some(retry.silence))
            .timeout_connect(Some(retry.silence))
            .timeout_recv_response(Some(retry.silence))
            .timeout_per_read(Some(retry.silence))
            .build();
        Self { agent: config.into(), unusable, uncertified, retry }
    }

    /// Sends a request and follows redirects by hand, so that the token stays with its host.
    pub(super) fn send(&self, url: &str, ask: Ask<'_>) -> Result<(String, Response<Body>), Failure> {
        let first = authority(url);
        let mut url = url.to_owned();
        for _ in 0..REDIRECTS {
            if let Some((variable, proxy)) = &self.unusable
                && !url.parse::<Uri>().is_ok_and(|uri| proxy.is_no_proxy(&uri))
            {
                let reason = format!(
                    "{variable} names a SOCKS proxy, which cannot be used here: set HTTPS_PROXY to an HTTP proxy, or \
                     NO_PROXY to the hosts that need none"
                );
                return Err(Failure::Final(server(&url, reason)));
            }
            if let Some(reason) = &self.uncertified
                && url.starts_with("https:")
            {
                return Err(Failure::Final(server(&url, reason.clone())));
            }
            let failed = |error: ureq::Error| match error {
                ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => {
                    // The reason may repeat the address.
                    Failure::Final(server(&url, error.to_string().replace(&url, shown(&url))))
                }
                error if is_untrusted(&error) => Failure::Final(server(
                    &url,
                    format!("{error}; a file with the certificates to trust can be named in SSL_CERT_FILE"),
                )),
                error => Failure::passing(network(&url, as_io(error))),
            };
            let mut request = if ask.head { self.agent.head(&url) } else { self.agent.get(&url) };
            if ask.from > 0 {
                request = request.header(header::RANGE, format!("bytes={}-", ask.from));
            }
            if let Some(token) = ask.token.filter(|_| authority(&url) == first) {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            let response = request.call().map_err(failed)?;
            if !response.status().is_redirection() || response.status() == 304 {
                return Ok((url, response));
            }
            let Some(next) = text(response.headers(), "location") else {
                return Err(Failure::Final(server(&url, "a redirect to nowhere".into())));
            };
            let next = resolve(&url, next);
            if ask.head && authority(&next) != first {
                return Ok((url, response));
            }
            url = next;
        }
        Err(Failure::Final(server(&url, format!("more than {REDIRECTS} redirects"))))
    }

    /// Repeats what fails for a while, waiting longer each time or as long as the server asks.
    pub(super) fn persist<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, Failure>,
        mut report: impl FnMut(&Error, Duration),
    ) -> Result<T, Error> {
        let mut failures = 0;
        loop {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing { error, wait, progressed }) => {
                    failures = if progressed { 1 } else { failures + 1 };
                    if failures >= self.retry.attempts {
                        return Err(error);
                    }
                    let doubled = self.retry.first_wait.saturating_mul(1 << (failures - 1).min(16));
                    let wait = wait.unwrap_or(doubled.min(self.retry.longest_wait));
                    if wait > self.retry.longest_wait {
                        return Err(error);
                    }
                    report(&error, wait);
                    std::thread::sleep(wait);
                }
            }
        }
    }
}

/// The proxy that the environment names and the variable that does: the one for HTTPS, for HTTP, for all; one that
/// speaks HTTP before one that speaks SOCKS. What is no address is passed over.
///
/// Left alone, ureq takes `ALL_PROXY` first, and goes without any if that speaks SOCKS, for which it is not built here.
fn proxy(variable: &Variables<'_>) -> Option<(&'static str, Proxy)> {
    const NAMES: [&str; 6] =
        ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    let excepted = variable("NO_PROXY").or_else(|| variable("no_proxy")).unwrap_or_default();
    let read = |name: &'static str| {
        let named = Proxy::new(variable(name)?.trim()).ok()?;
        let mut proxy = Proxy::builder(named.protocol()).host(named.host()).port(named.port());
        if let Some(user) = named.username() {
            proxy = proxy.username(user);
        }
        if let Some(password) = named.password() {
            proxy = proxy.password(password);
        }
        for host in excepted.split(',').map(str::trim).filter(|host| !host.is_empty()) {
            proxy = proxy.no_proxy(host);
        }
        Some((name, proxy.build().ok()?))
    };
    let mut found: Vec<_> = NAMES.into_iter().filter_map(read).collect();
    // The order is kept otherwise.
    found.sort_by_key(|(_, proxy)| is_socks(proxy));
    found.into_iter().next()
}

fn is_socks(proxy: &Proxy) -> bool {
    !matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https)
}

/// The certificates that servers are trusted by: those of the file that the environment names, as OpenSSL, Python's
/// requests and curl know it, else Mozilla's, which are built in.
fn certificates(variable: &Variables<'_>) -> Result<RootCerts, String> {
    const NAMES: [&str; 3] = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
    let named = NAMES.into_iter().find_map(|name| Some((name, variable(name)?)));
    let Some((name, path)) = named else { return Ok(RootCerts::WebPki) };
    let unusable = |reason: &dyn ToString| {
        format!("{name} names {path} as the certificates to trust: {}", reason.to_string())
    };
    let text = fs::read(&path).map_err(|error| unusable(&error))?;
    let mut found = Vec::new();
    for item in parse_pem(&text) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| unusable(&error))? {
            found.push(certificate);
        }
    }
    if found.is_empty() { Err(unusable(&"there are none in it (PEM)")) } else { Ok(found.into()) }
}

/// The failure that an error status stands for.
pub(super) fn refusal(url: &str, response: &Response<Body>, token: bool) -> Failure {
    let status = response.status();
    let headers = response.headers();
    let said = text(headers, "x-error-message").map_or_else(String::new, |said| format!(": {said}"));
    let wait =
        text(headers, "retry-after").and_then(|wait| wait.trim().parse().ok()).map(Duration::from_secs);
    let meaning = match status.as_u16() {
        401 if token => " (the token is not accepted)",
        // The Hub answers so for repositories that do not exist, too.
        401 => " (a token is needed: set HF_TOKEN; or there is no such file)",
        403 => " (access is not granted)",
        404 | 410 => " (there is no such file)",
        429 => " (too many requests)",
        _ => "",
    };
    let asked = wait.map_or_else(String::new, |wait| format!(", asks to wait {} s", wait.as_secs()));
    let error = server(url, format!("status {}{meaning}{asked}{said}", status.as_u16()));
    if matches!(status.as_u16(), 408 | 425 | 429) || status.is_server_error() {
        Failure::Passing { error, wait, progressed: false }
    } else {
        Failure::Final(error)
    }
}

pub(super) fn server(url: &str, reason: String) -> Error {
    Error::Server { url: shown(url).to_owned(), reason }
}

pub(super) fn network(url: &str, source: io::Error) -> Error {
    Error::Network { url: shown(url).to_owned(), source }
}

/// An address as an error may show it: what follows the question mark of a signed one is a secret.
pub(super) fn shown(url: &str) -> &str {
    url.split('?').next().unwrap_or(url)
}

/// A header as text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether the certificate of the other side is not accepted. Other failures of TLS may pass.
fn is_untrusted(error: &ureq::Error) -> bool {
    let is_tls = match error {
        ureq::Error::Rustls(_) => true,
        // So rustls reports what it finds while it reads and writes.
        ureq::Error::Io(error) => error.kind() == io::ErrorKind::InvalidData,
        _ => false,
    };
    is_tls && error.to_string().contains("certificate")
}

fn as_io(error: ureq::Error) -> io::Error {
    match error {
        ureq::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

/// Scheme, host and port.
fn authority(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    Some(format!("{}://{}", uri.scheme_str()?, uri.authority()?))
}

/// A redirect's target, which may be another host by the same scheme, a path on the same host or a name beside it.
///
/// # Reference
/// RFC 3986, section 5.2, without the removal of dot segments, which servers do too.
fn resolve(base: &str, location: &str) -> String {
    if has_scheme(location) {
        return location.to_owned();
    }
    if let Some(host) = location.strip_prefix("//") {
        let scheme = base.split_once("://").map_or("https", |(scheme, _)| scheme);
        return format!("{scheme}://{host}");
    }
    let root = authority(base).unwrap_or_default();
    if location.starts_with('/') {
        return format!("{root}{location}");
    }
    let path = base.split(['?', '#']).next().unwrap_or(base);
    if location.starts_with('?') {
        return format!("{path}{location}");
    }
    // A host without a path has no slash of its own.
    let folder = path.rsplit_once('/').map(|(folder, _)| folder).filter(|folder| folder.len() >= root.len());
    format!("{}/{location}", folder.unwrap_or(&root))
}

/// Whether an address begins with a scheme, rather than having one further on, as in a parameter.
fn has_scheme(location: &str) -> bool {
    location.split_once("://").is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_goes_where_its_location_says() {
        let base = "https://host.example:8443/a/b?x=/c";
        for (location, target) in [
            ("https://cdn.example/x", "https://cdn.example/x"),
            ("HTTP://cdn.example/x", "HTTP://cdn.example/x"),
            ("//cdn.example/x?signature=1", "https://cdn.example/x?signature=1"),
            (
                "/file?orig=https://elsewhere.example/y",
                "https://host.example:8443/file?orig=https://elsewhere.example/y",
            ),
            (
                "file?orig=https://elsewhere.example/y",
                "https://host.example:8443/a/file?orig=https://elsewhere.example/y",
            ),
            ("?y=1", "https://host.example:8443/a/b?y=1"),
        ] {
            assert_eq!(resolve(base, location), target);
        }
        assert_eq!(resolve("http://host.example", "x"), "http://host.example/x");
        assert_eq!(resolve("http://host.example", "//cdn.example/x"), "http://cdn.example/x");
    }

    #[test]
    fn a_proxy_that_speaks_http_goes_before_one_for_all_that_speaks_socks() {
        let read = |set: &[(&str, &str)]| {
            let find = |name: &str| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            proxy(&find)
        };
        let all = ("ALL_PROXY", "socks5h://127.0.0.1:1080");
        let secure = ("HTTPS_PROXY", "http://ann:secret@proxy.example:3128");
        let (name, found) = read(&[all, ("HTTP_PROXY", "http://other.example"), secure]).unwrap();
        assert_eq!((name, found.host(), found.port()), ("HTTPS_PROXY", "proxy.example", 3128));
        assert_eq!((found.username(), found.password()), (Some("ann"), Some("secret")));

        let (name, found) = read(&[all, ("NO_PROXY", "localhost, .example.com")]).unwrap();
        assert!(name == "ALL_PROXY" && is_socks(&found));
        let is_excepted = |url: &str| found.is_no_proxy(&url.parse().unwrap());
        assert!(is_excepted("http://localhost/x") && is_excepted("https://hub.example.com/x"));
        let unusable = Some((name, found.clone()));
        let client = Client { unusable, ..Client::new(Retry::default()) };
        let Err(Failure::Final(error)) = client.send("https://hub.example.org/x", Ask::default()) else {
            panic!("it goes without the proxy");
        };
        assert!(error.to_string().contains("ALL_PROXY names a SOCKS proxy"), "{error}");
        assert!(read(&[("HTTPS_PROXY", "")]).is_none());
    }

    #[test]
    fn certificates_that_cannot_be_read_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roots.pem");
        let read = || certificates(&|name| (name == "SSL_CERT_FILE").then(|| path.display().to_string()));
        let refused = |what: &str| {
            let Err(reason) = read() else { panic!("{what} passes for certificates") };
            assert!(reason.starts_with("SSL_CERT_FILE names ") && reason.contains("roots.pem"), "{reason}");
            reason
        };
        refused("no file");
        fs::write(&path, "some text").unwrap();
        assert!(refused("text").contains("there are none in it"));
        fs::write(&path, "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n").unwrap();
        refused("what is not base64");
        let client = Client { uncertified: Some(refused("it")), ..Client::new(Retry::default()) };
        let Err(Failure::Final(error)) = client.send("https://hub.example.org/x", Ask::default()) else {
            panic!("it goes without the certificates");
        };
        assert!(error.to_string().contains("roots.pem"), "{error}");
        assert!(matches!(certificates(&|_| None), Ok(RootCerts::WebPki)));
    }

    #[test]
    fn an_address_is_shown_without_its_signature() {
        for error in [
            server("https://cdn.example/x?signature=1", String::new()),
            network("https://cdn.example/x?signature=1", io::ErrorKind::TimedOut.into()),
        ] {
            let text = format!("{error} {error:?}");
            assert!(text.contains("https://cdn.example/x") && !text.contains("signature"), "{text}");
        }
    }
}
