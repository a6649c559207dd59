//! Stream to a server: TCP, or TLS over TCP. Owns how the server's certificate is checked; never knows what is sent.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_rustls::TlsConnector;
use futures_rustls::client::TlsStream;
use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use smol::io::{AsyncRead, AsyncWrite};
use smol::net::TcpStream;

use super::account::{Distrust, ServerAddress, ServerTrust, UntrustedCertificate};
use super::error::REPLY;
use crate::fingerprint::Fingerprint;
use crate::limits::SERVER_REPLY_S_MAX;
use crate::tcp_state;
use crate::timeout::timeout;

/// Stream to a server.
pub(super) enum ServerStream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Error of opening a stream.
pub(super) enum OpenError {
    /// The server cannot be reached, or the handshake failed.
    Io(io::Error),
    /// The server's certificate is not trusted.
    Untrusted(UntrustedCertificate),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        OpenError::Io(error)
    }
}

impl ServerStream {
    /// Connects to a server, and checks its certificate if the address asks for TLS.
    pub(super) async fn open(server: &ServerAddress, trust: &ServerTrust) -> Result<Self, OpenError> {
        let tcp = TcpStream::connect(server.host_and_port()).await?;
        // A line leaves at once, whether or not the line before it is acknowledged.
        tcp.set_nodelay(true)?;
        tcp_state::keep_alive(&tcp, SERVER_REPLY_S_MAX)?;
        if !server.is_encrypted() {
            return Ok(ServerStream::Tcp(tcp));
        }
        let verifier = Arc::new(Verifier::new(trust)?);
        let name = ServerName::try_from(server.host().to_owned()).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::new(client_config(verifier.clone())));
        match connector.connect(name, tcp).await {
            Ok(stream) => Ok(ServerStream::Tls(Box::new(stream))),
            Err(error) => {
                let untrusted = verifier.untrusted.lock().take();
                Err(untrusted.map_or_else(|| OpenError::Io(explained(error)), OpenError::Untrusted))
            }
        }
    }

    /// Returns the socket under the stream.
    pub(super) fn socket(&self) -> TcpStream {
        match self {
            ServerStream::Tcp(tcp) => tcp.clone(),
            ServerStream::Tls(tls) => tls.get_ref().0.clone(),
        }
    }
}

/// Explains the end of a stream in the handshake, as of a server without a certificate.
fn explained(error: io::Error) -> io::Error {
    match error.kind() {
        kind @ io::ErrorKind::UnexpectedEof => {
            io::Error::new(kind, "the server ended the connection in the TLS handshake; perhaps it has no [tls]")
        }
        _ => error,
    }
}

fn client_config(verifier: Arc<Verifier>) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(verifier.provider.clone());
    let builder = builder.with_safe_default_protocol_versions().expect("ring supports these versions");
    builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
}

/// Check of a server's certificate: by its fingerprint, or by the roots of the system.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    check: CertificateCheck,
    /// Certificate that was refused.
    untrusted: Mutex<Option<UntrustedCertificate>>,
}

#[derive(Debug)]
enum CertificateCheck {
    Pin(Fingerprint),
    Roots(Arc<WebPkiServerVerifier>),
    /// The system has no roots.
    Nothing,
}

impl Verifier {
    fn new(trust: &ServerTrust) -> io::Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let check = match trust {
            ServerTrust::Pin(fingerprint) => CertificateCheck::Pin(*fingerprint),
            ServerTrust::SystemRoots => {
                let mut roots = RootCertStore::empty();
                // Some of a system's files may be damaged; the others count.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    CertificateCheck::Nothing
                } else {
                    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
                    CertificateCheck::Roots(builder.build().map_err(io::Error::other)?)
                }
            }
        };
        Ok(Verifier { provider, check, untrusted: Mutex::new(None) })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let fingerprint = Fingerprint::of(certificate);
        let result = match &self.check {
            CertificateCheck::Pin(pin) if *pin == fingerprint => return Ok(ServerCertVerified::assertion()),
            CertificateCheck::Pin(_) => {
                Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
            }
            CertificateCheck::Roots(roots) => {
                roots.verify_server_cert(certificate, intermediates, name, ocsp_response, now)
            }
            CertificateCheck::Nothing => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        };
        if let Err(error) = &result {
            *self.untrusted.lock() = Some(UntrustedCertificate { fingerprint, distrust: distrust(&self.check, error) });
        }
        result
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Returns why a certificate is not trusted.
fn distrust(check: &CertificateCheck, error: &Error) -> Distrust {
    let reason = match (check, error) {
        (CertificateCheck::Pin(expected), _) => return Distrust::Another(*expected),
        (CertificateCheck::Nothing, _) => "this system has no root certificates".to_owned(),
        (_, Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "nobody whom this system trusts has signed its certificate".to_owned()
        }
        (_, error) => error.to_string(),
    };
    Distrust::Unproven(reason)
}

impl AsyncRead for ServerStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            ServerStream::Tcp(tcp) => Pin::new(tcp).poll_read(context, bytes),
            ServerStream::Tls(tls) => Pin::new(tls).poll_read(context, bytes),
        }
    }
}

impl AsyncWrite for ServerStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            ServerStream::Tcp(tcp) => Pin::new(tcp).poll_write(context, bytes),
            ServerStream::Tls(tls) => Pin::new(tls).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            ServerStream::Tcp(tcp) => Pin::new(tcp).poll_flush(context),
            ServerStream::Tls(tls) => Pin::new(tls).poll_flush(context),
        }
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            ServerStream::Tcp(tcp) => Pin::new(tcp).poll_close(context),
            ServerStream::Tls(tls) => Pin::new(tls).poll_close(context),
        }
    }
}

/// Connects to a server that speaks TLS, and returns its certificate if the system's roots do not vouch for it. `None`: they do, or the
/// server cannot be reached.
pub async fn untrusted_certificate(server: &ServerAddress) -> Option<UntrustedCertificate> {
    let opened = timeout(REPLY, ServerStream::open(server, &ServerTrust::SystemRoots)).await.ok()?;
    match opened {
        Err(OpenError::Untrusted(certificate)) => Some(certificate),
        _ => None,
    }
}
