//! Resource requests: HTTP to [`client::Request`], the core's answer to HTTP.

use std::borrow::Cow;
use std::sync::Arc;

use auth::UserInfo;
use bytes::Bytes;
use client::{Body as Sent, Patch, Request, Response, Verb};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use schema::Status;

use super::answer::{Answer, Body, answer, warn};
use super::negotiate::{self, Encoding, Wanted};
use super::query::Query;
use super::route::Asked;
use super::shape::{Include, Shaper};
use super::{Face, watch};
use crate::admission::Annotations;

/// Upstream's limit of a request's body.
pub const BODY_MAX: usize = 3 << 20;

/// One resource request with its body still unread.
pub struct Exchange<'a, B> {
    pub face: &'a Face,
    pub user: &'a Arc<UserInfo>,
    pub asked: Asked,
    pub query: &'a Query,
    pub headers: &'a HeaderMap,
    /// What admission has to say for the audit log.
    pub annotations: Arc<Annotations>,
    pub body: B,
}

impl<B> Exchange<'_, B>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: std::fmt::Display,
{
    /// The answer, or why there is none and what the caller is warned of all the same.
    pub async fn answer(self) -> Result<Answer, (Status, Vec<String>)> {
        let mut warnings = Vec::new();
        let answered = match self.asked.verb {
            None => self.refuse_method().await,
            Some(Verb::Watch) => self.watch().await,
            Some(Verb::List) => self.list().await,
            Some(verb) => self.call(verb, &mut warnings).await,
        };
        match answered {
            Ok(mut answer) => {
                warn(&mut answer, &warnings);
                Ok(answer)
            }
            Err(status) => Err((status, warnings)),
        }
    }

    fn wanted(&self, listed: bool) -> Result<Wanted, Status> {
        let accepted = self.accepted()?;
        negotiate::resource(&accepted, self.query, listed)
    }

    /// The headers as far as they ask for what there is: custom kinds have no protobuf form. 406 where nothing is left.
    fn accepted(&self) -> Result<Cow<'_, HeaderMap>, Status> {
        let target = &self.asked.target;
        let kind = self.face.core.registry().resource(&target.group, &target.version, &target.resource);
        if kind.is_none_or(|kind| kind.custom.is_none()) || target.subresource == "scale" {
            return Ok(Cow::Borrowed(self.headers));
        }
        negotiate::without_protobuf(self.headers)
    }

    /// 403 for who may not, then 405.
    async fn refuse_method(self) -> Result<Answer, Status> {
        self.face.authorize(self.user, &self.asked).await?;
        Err(method_not_allowed())
    }

    async fn list(self) -> Result<Answer, Status> {
        let wanted = self.wanted(true)?;
        let include = Include::of(self.query)?;
        let options = self.query.options(Verb::List)?;
        let (kind, list) = self.face.core.list(self.user, &self.asked.target, &options).await?;
        let mut answer = self.face.shaper(&kind, wanted, include).list(list)?;
        warn_of_age(&mut answer, &kind);
        Ok(answer)
    }

    async fn watch(self) -> Result<Answer, Status> {
        let accepted = self.accepted()?;
        let wanted = negotiate::watch(&accepted, self.query)?;
        drop(accepted);
        let include = Include::of(self.query)?;
        let options = self.query.options(Verb::Watch)?;
        let body = match self.face.core.watch(self.user, &self.asked.target, &options).await {
            Ok(cursor) => Body::stream(watch::stream(cursor, wanted, include, Arc::clone(&self.face.encodings))),
            // The client asked for a stream, so it is told inside the stream.
            Err(status) if status.is_expired() => Body::Bytes(watch::failed(&status, wanted)),
            Err(status) => return Err(status),
        };
        let content_type = match wanted.encoding {
            Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
            _ => negotiate::JSON,
        };
        let mut answer = answer(200, content_type, body);
        let target = &self.asked.target;
        if let Some(kind) = self.face.core.registry().resource(&target.group, &target.version, &target.resource) {
            warn_of_age(&mut answer, &kind);
        }
        Ok(answer)
    }

    async fn call(self, verb: Verb, warnings: &mut Vec<String>) -> Result<Answer, Status> {
        let wanted = self.wanted(false)?;
        let include = Include::of(self.query)?;
        let mut options = self.query.options(verb)?;
        if verb == Verb::Patch {
            self.query.check_patch(patch_kind(content_type(self.headers))?, &options)?;
        }
        if options.field_manager.is_empty() {
            options.field_manager = user_agent_manager(self.headers);
        }
        if verb != Verb::Get {
            // Before the body is read: who may not write cannot fill our memory either.
            self.face.authorize(self.user, &self.asked).await?;
        }
        let sent = body(verb, self.headers, self.body).await?;
        let target = self.asked.target;
        let request = Request { verb, target: target.clone(), options, body: sent };
        // Before the call: it may end the last thing that kept a custom kind.
        let kind = self.face.core.registry().resource(&target.group, &target.version, &target.resource);
        let made = self.face.core.call_warned(self.user, request, &self.annotations, warnings).await;
        if made.is_ok() || verb != Verb::Get {
            // Who may not even read is told nothing; all others are known to be allowed by now.
            warnings.splice(0..0, kind.as_ref().and_then(|kind| kind.deprecation()).map(str::to_owned));
        }
        let answer = match (made?, &kind) {
            (Response::Object { object, created }, Some(kind)) => {
                let code = if created { 201 } else { 200 };
                self.face.shaper(kind, wanted, include).object(&object, code)?
            }
            (Response::Value { value, code }, Some(kind)) => self.face.shaper(kind, wanted, include).plain(&value, code)?,
            _ => return Err(Status::internal("the core answered something else than was asked for")),
        };
        Ok(answer)
    }
}

impl Face {
    fn shaper<'a>(&'a self, kind: &'a kinds::KindRef, wanted: Wanted, include: Include) -> Shaper<'a> {
        Shaper { kind, env: &self.env, wanted, include, kept: &self.encodings }
    }
}

/// Says so where the version asked for is deprecated.
fn warn_of_age(answer: &mut Answer, kind: &kinds::Descriptor) {
    if let Some(text) = kind.deprecation() {
        warn(answer, &[text.to_owned()]);
    }
}

/// What upstream calls a caller that names no manager: the program of its User-Agent.
fn user_agent_manager(headers: &HeaderMap) -> String {
    let agent = headers.get(http::header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    agent.split('/').next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(128).collect()
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

async fn body<B>(verb: Verb, headers: &HeaderMap, body: B) -> Result<Sent, Status>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: std::fmt::Display,
{
    if matches!(verb, Verb::Get) {
        return Ok(Sent::None);
    }
    let content_type = content_type(headers);
    // Before the body: a client with the wrong type need not send it.
    let patch = if verb == Verb::Patch { Some(patch_kind(content_type)?) } else { None };
    let bytes = read(headers, body).await?;
    Ok(match patch {
        Some(kind) => Sent::Patch { kind, bytes },
        None if bytes.is_empty() && matches!(verb, Verb::Delete | Verb::DeleteCollection) => Sent::None,
        None => Sent::Encoded { content_type: if content_type.is_empty() { negotiate::JSON.into() } else { content_type.into() }, bytes },
    })
}

/// The whole body; 413 above the limit, as soon as it is known.
pub async fn read<B>(headers: &HeaderMap, body: B) -> Result<Bytes, Status>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: std::fmt::Display,
{
    let too_large = || Status::too_large(format!("Request entity too large: limit is {BODY_MAX}"));
    let declared =
        headers.get(http::header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<u64>().ok());
    if declared.is_some_and(|length| length > BODY_MAX as u64) {
        return Err(too_large());
    }
    let mut body = std::pin::pin!(body);
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::bad_request(format!("reading the request's body: {error}")))?;
        let Ok(bytes) = frame.into_data() else { continue };
        length += bytes.len();
        if length > BODY_MAX {
            return Err(too_large());
        }
        pieces.push(bytes);
    }
    Ok(match pieces.len() {
        1 => pieces.swap_remove(0),
        _ => pieces.concat().into(),
    })
}

fn patch_kind(content_type: &str) -> Result<Patch, Status> {
    match content_type.split(';').next().unwrap_or_default().trim() {
        "application/json-patch+json" => Ok(Patch::Json),
        "application/merge-patch+json" => Ok(Patch::Merge),
        "application/strategic-merge-patch+json" => Ok(Patch::Strategic),
        "application/apply-patch+yaml" => Ok(Patch::Apply),
        _ => Err(Status::unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, \
             application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml",
        )),
    }
}

/// 405 of a method that the path does not know.
pub fn method_not_allowed() -> Status {
    let mut status = Status::failure(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
    status.details = Some(schema::status::Details::default());
    status
}
