//! `grpc.health.v1.Health/Check` over plain HTTP/2: the two small messages are written and read by hand.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

const ANSWER_MAX: usize = 4096;
const SERVING: u64 = 1;

pub(super) async fn check(ip: &str, port: i32, service: &str) -> Result<(), String> {
    let port = u16::try_from(port).map_err(|_| format!("grpc port {port} is no port"))?;
    let failed = |cause: &dyn std::fmt::Display| format!("timeout: failed to connect service \"{ip}:{port}\" within 1s: {cause}");
    let stream = TcpStream::connect((ip, port)).await.map_err(|cause| failed(&cause))?;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(|cause| failed(&cause))?;
    let talk = async {
        let request = Request::post(format!("http://{ip}:{port}/grpc.health.v1.Health/Check"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", "kube-probe/1.37")
            .body(Full::new(request(service)))
            .map_err(|cause| cause.to_string())?;
        let answer = sender.send_request(request).await.map_err(|cause| cause.to_string())?;
        let early = answer.headers().get("grpc-status").cloned();
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await.map_err(|cause| cause.to_string())?;
        let status = early.or_else(|| body.trailers().and_then(|trailers| trailers.get("grpc-status").cloned()));
        verdict(service, status.as_ref().and_then(|status| status.to_str().ok()), &body.to_bytes())
    };
    tokio::pin!(connection);
    tokio::pin!(talk);
    tokio::select! {
        result = &mut talk => result,
        ended = &mut connection => match ended {
            Ok(()) => talk.await,
            Err(cause) => Err(failed(&cause)),
        },
    }
}

/// A length-prefixed `HealthCheckRequest{service}`.
fn request(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        put_varint(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend(message);
    framed.into()
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn verdict(service: &str, status: Option<&str>, body: &[u8]) -> Result<(), String> {
    match status {
        None | Some("0") => {}
        Some("12") => return Err("error: this server does not implement the grpc health protocol (grpc.health.v1.Health)".into()),
        Some(code) => return Err(format!("error: health rpc probe failed with status code {code}")),
    }
    match body.get(5..).map(serving) {
        Some(SERVING) => Ok(()),
        Some(other) => Err(format!("service unhealthy (responded with {:?})", name(other))),
        None => Err(format!("error: health rpc for service {service:?} was answered with nothing")),
    }
}

/// Field 1 of `HealthCheckResponse`, a varint.
fn serving(message: &[u8]) -> u64 {
    match message {
        [0x08, status, ..] if *status < 0x80 => u64::from(*status),
        _ => 0,
    }
}

fn name(status: u64) -> &'static str {
    match status {
        1 => "SERVING",
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        assert_eq!(&request("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&request("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert!(verdict("", Some("0"), &[0, 0, 0, 0, 2, 8, 1]).is_ok());
        assert!(verdict("", Some("0"), &[0, 0, 0, 0, 2, 8, 2]).unwrap_err().contains("NOT_SERVING"));
        assert!(verdict("", Some("12"), &[]).unwrap_err().contains("does not implement"));
        assert!(verdict("", None, &[]).is_err());
    }
}
