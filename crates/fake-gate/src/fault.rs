//! What may go wrong with an answer, by script.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::Call;
use crate::http::Answer;

/// What becomes of one answer.
#[derive(Clone)]
pub struct Fault(pub(crate) Kind);

#[derive(Clone)]
pub(crate) enum Kind {
    /// This answer in place of the right one; nothing is changed.
    Instead(Answer),
    /// The right answer after a while.
    Slow(Duration),
    /// No answer until the server ends.
    Silent,
    /// The connection is closed in place of an answer.
    Closed,
    /// The right answer's length, half of its octets, then the end of the connection.
    CutOff,
    /// Half of the right answer as if it were all of it.
    Truncated,
    /// The right answer, changed.
    Changed(Arc<dyn Fn(&mut Value) + Send + Sync>),
}

impl Fault {
    /// This status with the API's own form of an error.
    #[must_use]
    pub fn status(status: u16) -> Fault {
        let body =
            json!({ "code": format!("FAKE{status:04}"), "message": format!("scripted fault {status}") });
        Fault(Kind::Instead(Answer::json(status, &body)))
    }

    /// 429, with a `Retry-After` (seconds or an HTTP date) or without.
    #[must_use]
    pub fn too_many(retry_after: Option<&str>) -> Fault {
        let fault = Fault::status(429);
        match retry_after {
            Some(value) => fault.with_header("Retry-After", value),
            None => fault,
        }
    }

    /// This status and text, which need be no JSON.
    #[must_use]
    pub fn text(status: u16, body: &str) -> Fault {
        Fault(Kind::Instead(Answer::new(status, "text/html", body)))
    }

    /// A redirect.
    #[must_use]
    pub fn redirect(status: u16, location: &str) -> Fault {
        Fault::text(status, "").with_header("Location", location)
    }

    /// The right answer after this long.
    #[must_use]
    pub fn slow(delay: Duration) -> Fault {
        Fault(Kind::Slow(delay))
    }

    /// No answer at all, while the connection stays open.
    #[must_use]
    pub fn silent() -> Fault {
        Fault(Kind::Silent)
    }

    /// The connection is closed in place of an answer.
    #[must_use]
    pub fn closed() -> Fault {
        Fault(Kind::Closed)
    }

    /// The connection is closed after half of the answer.
    #[must_use]
    pub fn cut_off() -> Fault {
        Fault(Kind::CutOff)
    }

    /// A whole answer of HTTP that holds half of its JSON.
    #[must_use]
    pub fn truncated() -> Fault {
        Fault(Kind::Truncated)
    }

    /// The right answer after `change` has had it: a wrong type, a null netmask, an entry twice.
    #[must_use]
    pub fn changed(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Fault {
        Fault(Kind::Changed(Arc::new(change)))
    }

    /// The same with one more header, where the fault is an answer of its own.
    #[must_use]
    pub fn with_header(self, name: &str, value: &str) -> Fault {
        match self.0 {
            Kind::Instead(answer) => Fault(Kind::Instead(answer.with_header(name, value))),
            other @ (Kind::Slow(_)
            | Kind::Silent
            | Kind::Closed
            | Kind::CutOff
            | Kind::Truncated
            | Kind::Changed(_)) => Fault(other),
        }
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Instead(_) => "Instead",
            Kind::Slow(_) => "Slow",
            Kind::Silent => "Silent",
            Kind::Closed => "Closed",
            Kind::CutOff => "CutOff",
            Kind::Truncated => "Truncated",
            Kind::Changed(_) => "Changed",
        })
    }
}

/// The faults still to come, in the order in which they were scripted.
#[derive(Debug, Default)]
pub(crate) struct Script(Vec<(Call, u32, Fault)>);

impl Script {
    pub(crate) fn add(&mut self, call: Call, times: u32, fault: Fault) {
        self.0.push((call, times, fault));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault of the next answer to this call.
    pub(crate) fn next(&mut self, call: Call) -> Option<Kind> {
        let (_, left, fault) =
            self.0.iter_mut().find(|(of, left, _)| *left > 0 && (*of == call || *of == Call::Any))?;
        *left -= 1;
        Some(fault.0.clone())
    }
}
