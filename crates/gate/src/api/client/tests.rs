//! What depends on the time, on a clock that stands still until it is told.

use vxgate_fake_gate::{Call as FakeCall, FakeGate, Fault, VPG_ID};

use super::session::TOKEN_LIFE;
use super::*;
use crate::api::cancel::Cancelled;
use crate::api::credentials::Credentials;
use crate::api::date::Utc;

/// Stands at a moment; each wait is kept and moves it on.
#[derive(Debug, Default)]
struct Standing {
    uptime: Mutex<Duration>,
    waits: Mutex<Vec<Duration>>,
}

impl Standing {
    fn pass(&self, duration: Duration) {
        *lock(&self.uptime) += duration;
    }
}

/// 2026-11-25T00:00:00Z.
const START: u64 = 1_795_564_800;

impl Clock for Standing {
    fn uptime(&self) -> Duration {
        *lock(&self.uptime)
    }

    fn wall(&self) -> Utc {
        Utc::from_seconds(START + self.uptime().as_secs())
    }

    fn wait(&self, duration: Duration, _: &Cancellation) -> Result<(), Cancelled> {
        lock(&self.waits).push(duration);
        self.pass(duration);
        Ok(())
    }
}

fn standing() -> (FakeGate, Client, Arc<Standing>, VpgId) {
    let fake = FakeGate::start().expect("a server on loopback");
    let account = fake.account();
    let credentials = Credentials::key(account.auth_key_id.into(), account.auth_key.into(), "the test's key");
    let config = ClientConfig::new(fake.endpoint().parse().expect("loopback"), credentials);
    let clock = Arc::new(Standing::default());
    let client = Client::with_clock(config, Arc::clone(&clock) as Arc<dyn Clock>);
    (fake, client, clock, VPG_ID.parse().expect("an identifier"))
}

#[test]
fn a_token_is_renewed_before_it_expires() {
    let (fake, client, clock, vpg) = standing();
    client.vpg(&vpg).unwrap();
    clock.pass(TOKEN_LIFE - Duration::from_secs(1));
    client.vpg(&vpg).unwrap();
    assert_eq!(fake.count(FakeCall::Auth), 1);
    clock.pass(Duration::from_secs(1));
    client.vpg(&vpg).unwrap();
    assert_eq!((fake.count(FakeCall::Auth), fake.count(FakeCall::Vpg)), (2, 3), "no call met a 401");
}

#[test]
fn the_vendors_schedule_is_kept_to_its_end() {
    let (fake, client, clock, vpg) = standing();
    fake.fault(FakeCall::Vpg, 99, Fault::status(503));
    let error = client.vpg(&vpg).unwrap_err();
    assert!(matches!(error, ApiError::Server { status: 503, .. }), "{error:?}");
    let waits = lock(&clock.waits).clone();
    assert_eq!((waits.len(), fake.count(FakeCall::Vpg)), (5, 6));
    for (wait, planned) in waits.iter().zip([10, 10, 20, 30, 50]) {
        let planned = Duration::from_secs(planned);
        assert!(*wait >= planned.mul_f64(0.8) && *wait <= planned.mul_f64(1.2), "{waits:?}");
    }
}

#[test]
fn retry_after_is_waited_for_in_seconds_and_as_a_date_by_the_servers_own_clock() {
    let (fake, client, clock, vpg) = standing();
    fake.fault(FakeCall::Vpg, 1, Fault::too_many(Some("40")));
    // The API's clock is an hour ahead of ours.
    let in_30_s = Fault::too_many(Some("Wed, 25 Nov 2026 01:00:30 GMT"))
        .with_header("Date", "Wed, 25 Nov 2026 01:00:00 GMT");
    fake.fault(FakeCall::Vpg, 1, in_30_s);
    client.vpg(&vpg).unwrap();
    let waits = lock(&clock.waits).clone();
    assert_eq!(waits.len(), 2);
    for (wait, asked) in waits.iter().zip([40, 30]) {
        assert!((asked..asked + 3).contains(&wait.as_secs()), "{waits:?}");
    }
}

#[test]
fn a_refused_log_in_says_where_the_clocks_are_apart() {
    let (fake, client, _, vpg) = standing();
    let refused = || Fault::status(401).with_header("Date", "Wed, 25 Nov 2026 00:04:00 GMT");
    fake.fault(FakeCall::Auth, 1, refused());
    let hint = client.vpg(&vpg).unwrap_err().hint().unwrap();
    assert!(!hint.contains("clock"), "four minutes are nothing: {hint}");
    fake.fault(FakeCall::Auth, 1, Fault::status(401).with_header("Date", "Wed, 25 Nov 2026 09:00:00 GMT"));
    let hint = client.vpg(&vpg).unwrap_err().hint().unwrap();
    assert!(
        hint.contains("this host's clock says 2026-11-25T00:00:00Z, the API's 2026-11-25T09:00:00Z"),
        "{hint}"
    );
}

#[test]
fn the_log_in_and_the_call_share_one_total() {
    let (fake, client, clock, vpg) = standing();
    fake.fault(FakeCall::Auth, 1, Fault::too_many(Some("120")));
    fake.fault(FakeCall::Auth, 1, Fault::too_many(Some("120")));
    fake.fault(FakeCall::Vpg, 9, Fault::too_many(Some("110")));
    client.vpg(&vpg).unwrap_err();
    // 120 and 120 leave no room for 110 within 300.
    assert_eq!((lock(&clock.waits).len(), fake.count(FakeCall::Vpg)), (2, 1));
}
