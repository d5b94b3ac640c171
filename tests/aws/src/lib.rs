//! An AWS that judges: S3, IAM, KMS and STS as far as the operator and its tests call them. It refuses what AWS refuses, with AWS's codes, evaluates
//! identity, trust, bucket and key policies and permissions boundaries on every call, and replicates objects under the permissions of the
//! replication role alone.
//!
//! [`Aws::serve`] answers a request; [`server`] does so on loopback, and [`connector`] in process.

pub mod calls;
pub mod cloudwatch;
pub mod connector;
pub mod decisions;
pub mod iam;
pub mod judge;
pub mod kms;
pub mod message;
pub mod principals;
pub mod query;
pub mod replicate;
pub mod s3;
pub mod server;
pub mod state;
pub mod sts;
pub mod weather;
pub mod xml;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use calls::Call;
use judge::Who;
use message::{Refusal, Request, Response};
use query::Form;
use serde_json::{Value, json};
use state::State;
use weather::{Fault, FaultKind, OutageKind, Served, Weather};

/// All of it.
#[derive(Debug)]
pub struct Aws(Mutex<Inside>);

#[derive(Debug)]
struct Inside {
    state: State,
    weather: Weather,
    calls: Vec<Call>,
    /// The requests of the calls, if they are recorded.
    requests: Option<Vec<Request>>,
    /// What was before each write, and when that came, as long as reads may lag so far.
    former: VecDeque<(u64, State)>,
    /// What was before the last write, if there was one.
    before_write: Option<State>,
    /// Calls of a second, by account and service.
    rates: BTreeMap<(String, String), (u64, u64)>,
    started: Instant,
    /// Milliseconds by which a test moved the clock.
    moved: u64,
}

impl Default for Aws {
    fn default() -> Self {
        Self(Mutex::new(Inside {
            state: State::default(),
            weather: Weather::default(),
            calls: vec![],
            requests: None,
            former: VecDeque::new(),
            before_write: None,
            rates: BTreeMap::new(),
            started: Instant::now(),
            moved: 0,
        }))
    }
}

impl Aws {
    /// Answers a request, and says after how long the answer arrives.
    #[must_use]
    pub fn serve(&self, request: &Request) -> (Duration, Served) {
        self.inside(|inside| inside.serve(request))
    }

    /// What exists, for a test that looks at it or changes it without a call.
    pub fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        self.inside(|inside| look(&mut inside.state))
    }

    /// The weather from now on.
    pub fn set_weather(&self, weather: Weather) {
        self.inside(|inside| inside.weather = weather);
    }

    /// What stale reads show from now on, until the next write; `None`: what exists.
    pub fn set_former(&self, former: Option<State>) {
        self.inside(|inside| inside.before_write = former);
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        let moved = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.inside(|inside| inside.moved += moved);
    }

    /// The calls so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.inside(|inside| inside.calls.clone())
    }

    /// The calls since the last time, which are forgotten.
    #[must_use]
    pub fn take_calls(&self) -> Vec<Call> {
        self.inside(|inside| std::mem::take(&mut inside.calls))
    }

    /// Records the requests of the calls from now on.
    pub fn record_requests(&self) {
        self.inside(|inside| inside.requests = Some(vec![]));
    }

    /// The requests since [`Aws::record_requests`], in the order of their calls; none are recorded from now on.
    #[must_use]
    pub fn take_requests(&self) -> Vec<Request> {
        self.inside(|inside| inside.requests.take().unwrap_or_default())
    }

    fn inside<T>(&self, look: impl FnOnce(&mut Inside) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inside {
    fn now(&self) -> u64 {
        let passed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        passed.saturating_add(self.moved)
    }

    fn serve(&mut self, request: &Request) -> (Duration, Served) {
        if let Some(answer) = self.control(request) {
            return (Duration::ZERO, Served::Answer(answer));
        }
        self.state.now = self.now();
        self.state.propagation = self.weather.propagation;
        let mut call = Call::of(request);
        let account = self.state.account_of(&call.key);
        let fault = self.weather.fault(&call, &account);
        let mut takes = self.weather.latency;
        if let Some(FaultKind::Delay(more)) = fault {
            takes += more;
        }
        let outage = self.weather.outage(&call.region, &account);
        if outage == Some(OutageKind::Hangs) {
            takes += 3_600_000;
        }
        let served = self.served(request, &call, &account, outage, fault);
        if let Served::Answer(answer) = &served {
            call.status = Some(answer.status);
        }
        (call.began, call.took) = (self.state.now, takes);
        self.calls.push(call);
        if let Some(requests) = &mut self.requests {
            requests.push(request.clone());
        }
        (Duration::from_millis(takes), served)
    }

    fn served(
        &mut self,
        request: &Request,
        call: &Call,
        account: &str,
        outage: Option<OutageKind>,
        fault: Option<FaultKind>,
    ) -> Served {
        let service = call
            .operation
            .split(':')
            .next()
            .unwrap_or_default()
            .to_owned();
        if matches!(outage, Some(OutageKind::Drops | OutageKind::Hangs)) {
            return Served::Dropped;
        }
        if outage == Some(OutageKind::Throttles) || self.is_too_fast(&service, call, account) {
            return Served::Answer(refused(&service, &weather::throttled(&service)));
        }
        match fault {
            Some(FaultKind::DropBefore) => Served::Dropped,
            Some(FaultKind::KillBefore(process)) => {
                weather::kill(process);
                Served::Dropped
            }
            Some(FaultKind::KillAfter(process)) => {
                self.answer(request, call);
                weather::kill(process);
                Served::Dropped
            }
            Some(FaultKind::Error(status, code)) => Served::Answer(refused(
                &service,
                &Refusal::new(status, &code, "a fault of the test"),
            )),
            Some(FaultKind::DropAfter) => {
                self.answer(request, call);
                Served::Dropped
            }
            Some(FaultKind::Truncate) => {
                let mut answer = self.answer(request, call);
                answer.body.truncate(answer.body.len() / 2);
                Served::Answer(answer)
            }
            Some(FaultKind::Stale) if call.may_lag() => {
                let mut former = self.before_write.as_ref().unwrap_or(&self.state).clone();
                let who = self.state.who(request);
                Served::Answer(answer(&mut former, who, request))
            }
            Some(FaultKind::Delay(_) | FaultKind::Stale) | None => {
                Served::Answer(self.answer(request, call))
            }
        }
    }

    /// Answers from what there is, or, if reads lag, from what there was.
    fn answer(&mut self, request: &Request, call: &Call) -> Response {
        let (lag, now) = (self.weather.lag, self.now());
        // The first state that was replaced after the moment that a read sees.
        while self
            .former
            .front()
            .is_some_and(|(replaced, _)| replaced.saturating_add(lag) <= now)
        {
            self.former.pop_front();
        }
        if call.may_lag()
            && let Some((_, former)) = self.former.front()
        {
            return answer(&mut former.clone(), self.state.who(request), request);
        }
        if call.writes() {
            let is_read_stale = |fault: &Fault| matches!(fault.kind, FaultKind::Stale);
            if self.weather.faults.iter().any(is_read_stale) {
                self.before_write = Some(self.state.clone());
            }
            if lag > 0 {
                self.former.push_back((now, self.state.clone()));
            }
        }
        let outages = self.weather.outages.iter();
        self.state.out_regions = outages.filter_map(|outage| outage.region.clone()).collect();
        let who = self.state.who(request);
        let answer = answer(&mut self.state, who, request);
        replicate::pending(&mut self.state);
        answer
    }

    /// Lets time pass, and changes the weather.
    fn change(&mut self, mut change: Value) -> Result<(), String> {
        let passed = change.as_object_mut().and_then(|all| all.remove("pass"));
        if let Some(passed) = passed {
            self.moved += passed.as_u64().ok_or("pass is a number")?;
        }
        self.weather.change(&change)
    }

    fn is_too_fast(&mut self, service: &str, call: &Call, account: &str) -> bool {
        let writes = format!("{service} writes");
        let all = self.counts_too_many(service, account);
        all || (call.writes() && self.counts_too_many(&writes, account))
    }

    /// Whether a rate is exceeded, with one more call that counts for it.
    fn counts_too_many(&mut self, counted: &str, account: &str) -> bool {
        let Some(rate) = self.weather.rates.get(counted).copied() else {
            return false;
        };
        let second = self.now() / 1_000;
        let counted = self
            .rates
            .entry((account.to_owned(), counted.to_owned()))
            .or_default();
        if counted.0 != second {
            *counted = (second, 0);
        }
        counted.1 += 1;
        counted.1 > rate
    }

    /// `POST /_control` changes the weather, and with `pass` lets so many milliseconds pass; `GET /_calls`, `GET /_failures` and `GET /_decisions` show
    /// what happened.
    fn control(&mut self, request: &Request) -> Option<Response> {
        let json = |value: &Value| Response::of("application/json", value.to_string());
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/_calls") => Some(json(&self.calls.iter().map(Call::json).collect())),
            ("GET", "/_failures") => Some(json(&replicate::failures(&self.state))),
            ("GET", "/_decisions") => Some(json(&json!(self.state.decisions.all()))),
            ("POST", "/_control") => {
                let changed = serde_json::from_slice(&request.body)
                    .map_err(|error| error.to_string())
                    .and_then(|change| self.change(change));
                Some(match changed {
                    Ok(()) => Response::empty(204),
                    Err(error) => Response {
                        status: 400,
                        ..json(&json!({"error": error}))
                    },
                })
            }
            _ => None,
        }
    }
}

/// Answers from `state`. Who calls is known at once, however far reads lag.
fn answer(state: &mut State, who: Result<Who, Refusal>, request: &Request) -> Response {
    let service = request
        .signature()
        .map_or("s3", |(_, _, service)| service)
        .to_owned();
    let region = request
        .signature()
        .map_or("us-east-1", |(_, region, _)| region)
        .to_owned();
    let answered = who.and_then(|who| match service.as_str() {
        "iam" => iam::call(state, &who, &Form::read(&request.body)),
        "sts" => sts::call(state, &who, &Form::read(&request.body)),
        "kms" => {
            let target = request.header("x-amz-target").unwrap_or_default();
            let action = target.rsplit('.').next().unwrap_or_default();
            kms::call(state, &who, &region, action, &request.body)
        }
        "monitoring" => cloudwatch::call(state, &who, &region, request),
        _ => s3::call(state, &who, &region, request),
    });
    let mut response = answered.unwrap_or_else(|refusal| refused(&service, &refusal));
    if request.method == "HEAD" {
        response.body.clear();
    }
    response
        .with("x-amz-request-id", "REQUEST")
        .with("x-amzn-requestid", "REQUEST")
}

/// A refusal in the form of the service.
fn refused(service: &str, refusal: &Refusal) -> Response {
    let (code, message) = (&refusal.code, xml::escaped(&refusal.message));
    let mut response = match service {
        "monitoring" => cloudwatch::refused(refusal),
        "kms" => Response::of(
            "application/x-amz-json-1.1",
            json!({"__type": code, "message": refusal.message}).to_string(),
        ),
        "iam" | "sts" => Response::xml(format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>REQUEST</RequestId></ErrorResponse>"
        )),
        _ => Response::xml(format!(
            "<Error><Code>{code}</Code><Message>{message}</Message><RequestId>REQUEST</RequestId></Error>"
        )),
    };
    response.status = refusal.status;
    response.headers.extend(refusal.headers.iter().cloned());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(aws: &Aws, method: &str, query: &str, body: &str) -> u16 {
        let scope =
            "AWS4-HMAC-SHA256 Credential=111111111111/20260101/us-east-1/s3/aws4_request, x";
        let request = Request {
            method: method.to_owned(),
            path: "/records".to_owned(),
            query: query.to_owned(),
            headers: [("authorization".to_owned(), scope.to_owned())].into(),
            body: body.as_bytes().to_vec(),
        };
        match aws.serve(&request).1 {
            Served::Answer(answer) => answer.status,
            Served::Dropped => 0,
        }
    }

    const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"222222222222"},"Action":"s3:ListBucket","Resource":"arn:aws:s3:::records"}]}"#;

    #[test]
    fn a_stale_read_shows_what_was_before_the_last_write() {
        let aws = Aws::default();
        let stale = |after| Weather {
            faults: vec![Fault {
                operation: "s3:GetBucketPolicy".to_owned(),
                after,
                times: 1,
                kind: FaultKind::Stale,
                ..Fault::default()
            }],
            ..Weather::default()
        };
        assert_eq!(call(&aws, "PUT", "", ""), 200);
        aws.set_weather(stale(1));
        assert_eq!(call(&aws, "PUT", "policy", POLICY), 204);
        let read: Vec<_> = (0..3).map(|_| call(&aws, "GET", "policy", "")).collect();
        assert_eq!(read, [200, 404, 200]);
    }

    fn control(aws: &Aws, change: &Value) -> u16 {
        let request = Request {
            method: "POST".to_owned(),
            path: "/_control".to_owned(),
            body: change.to_string().into_bytes(),
            ..Request::default()
        };
        match aws.serve(&request).1 {
            Served::Answer(answer) => answer.status,
            Served::Dropped => 0,
        }
    }

    #[test]
    fn reads_lag_until_time_has_passed() {
        let aws = Aws::default();
        assert_eq!(call(&aws, "PUT", "", ""), 200);
        assert_eq!(control(&aws, &json!({"lag": 5_000})), 204);
        assert_eq!(call(&aws, "PUT", "policy", POLICY), 204);
        assert_eq!(call(&aws, "GET", "policy", ""), 404);
        assert_eq!(control(&aws, &json!({"pass": 6_000})), 204);
        assert_eq!(call(&aws, "GET", "policy", ""), 200);
        assert_eq!(control(&aws, &json!({"pass": "long"})), 400);
    }
}
