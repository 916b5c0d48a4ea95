//! Sends a body that can be read only once, so there is one try.

use http::StatusCode;
use tokio::time::Instant;

use super::exchange::with_empty_body;
use super::{Failed, Origin};
use crate::http::retry;
use crate::metrics::WindowKind;
use crate::registry::answer::Answer;
use crate::registry::body;
use crate::registry::call::{Call, MAX_ERROR_BODY};
use crate::registry::failure;
use crate::repository::{BlobBody, Cause, Result, Traffic};

impl Origin {
    /// The wait ends when nothing moves for the idle time-out, or when the answer does not follow
    /// the last byte in time.
    pub async fn send_body(&self, call: &Call<'_>, body: BlobBody) -> Result<Answer> {
        self.check_outage(call)?;
        let _pending = self.settings.limits.activity.begin(Traffic::Write);
        let permit = loop {
            self.until_let_in(call).await.map_err(|cause| call.error(cause))?;
            // Not a permit for requests: that would be held for as long as the source takes, and a
            // source in the same registry needs permits to go on.
            let permit = self.settings.limits.uploads.acquire(call.flow).await;
            self.settings.limits.requests.turn(call.flow).await;
            if self.held(call).is_none() {
                break permit;
            }
        };
        let in_flight = self.metrics.begin(WindowKind::Uploads);
        // Last, because a token could end while others upload.
        let (mut request, authorization) =
            self.prepare(call, &call.url).await.map_err(|cause| call.error(cause))?;
        if body.length == 0 {
            request = with_empty_body(request, &call.method);
        }
        let sent = Instant::now();
        let (body, progress) = body::streamed(
            body,
            call.open_ended,
            self.metrics.clone(),
            self.settings.limits.activity.pulse(Traffic::Write),
        );
        let sending = async {
            tokio::select! {
                sent = request.body(body).send() => match sent {
                    Ok(response) => {
                        self.metrics.answered(&call.method, response.status());
                        self.note_network(&response);
                        self.read(response, MAX_ERROR_BODY).await
                    }
                    // That the source ended early is not this registry's failure.
                    Err(error) if failure::is_of_body(&error) => {
                        Err(Failed::Connection(failure::cause(&error)))
                    }
                    Err(error) => Err(self.broke_off(failure::cause(&error))),
                },
                waited = progress.stalled(self.settings.timeouts) => Err(self.broke_off(Cause::TimedOut(waited))),
            }
        };
        let (mut sending, mut permit) = (std::pin::pin!(sending), Some(permit));
        let answer = tokio::select! {
            biased;
            answer = &mut sending => answer,
            () = progress.starves() => {
                // The source may be stuck, and other uploads to this registry are not.
                permit = None;
                sending.await
            }
        };
        drop(in_flight);
        let answer = match answer {
            Ok(answer) | Err(Failed::Status(answer)) => answer,
            Err(Failed::Unsent(cause) | Failed::Connection(cause) | Failed::Final(cause)) => {
                return Err(call.error(cause));
            }
        };
        let limits = &self.settings.limits;
        match answer.status {
            // An overload counts also without a permit.
            StatusCode::TOO_MANY_REQUESTS => {
                limits.uploads.overloaded();
                limits.requests.refused(sent);
            }
            StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => limits.uploads.overloaded(),
            _ => {
                if let Some(permit) = permit.take() {
                    permit.good(call.latency_class());
                }
                limits.requests.taken(sent);
            }
        }
        drop(permit);
        self.note_answered(call, answer.status, sent);
        self.metrics.window(WindowKind::Uploads, self.settings.limits.uploads.window());
        if retry::is_transient(answer.status) {
            self.heed(call, &answer, &call.refusal(&answer));
        } else {
            self.settings.pulses.progress(call.flow);
            self.settings.limits.activity.progress(Traffic::Write);
        }
        if let Some(authorization) = authorization {
            // The next try, by whoever can read the body again, gets a new token.
            let _ =
                self.is_worth_another(call, authorization, answer.status, &answer.headers).await;
        }
        Ok(answer)
    }
}
