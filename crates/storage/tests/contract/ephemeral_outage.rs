//! Redis gone, deaf or talking nonsense: an operation ends soon and says that the store is not available.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use storage::{Check, Clock, Ephemeral, EphemeralConfig, Error};

const TIMEOUT: Duration = Duration::from_millis(100);

fn connect(address: SocketAddr) -> Ephemeral {
    let config = EphemeralConfig::Redis { url: format!("redis://{address}/").into(), timeout: TIMEOUT };
    Ephemeral::connect(config, Clock::system()).unwrap()
}

/// Asserts that every operation fails as it should, and that all of them together take no longer than an outage may.
async fn assert_down(store: &Ephemeral) {
    let start = Instant::now();
    for _ in 0..20 {
        assert!(store.decide(&[Check::Absent { key: "k" }]).await.unwrap_err().is_unavailable());
    }
    assert!(store.raise("k", 1, TIMEOUT).await.unwrap_err().is_unavailable());
    assert!(store.put_if_absent("k", "", TIMEOUT).await.unwrap_err().is_unavailable());
    assert!(store.get("k").await.unwrap_err().is_unavailable());
    assert!(store.forget("k").await.unwrap_err().is_unavailable());
    assert!(store.ping().await.unwrap_err().is_unavailable());
    // One call pays the time-out; the breaker answers for the rest. Without it, 25 would take 2.5 seconds.
    assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
}

#[tokio::test]
async fn the_cause_is_told_and_the_password_is_not() {
    let real = crate::world::redis_url();
    let wrong = real.replacen("redis://", "redis://someone:hunter2@", 1);
    for (url, cause) in [(wrong.as_str(), "auth"), ("redis://someone:hunter2@127.0.0.1:1", "refused")] {
        let config = EphemeralConfig::Redis { url: url.into(), timeout: Duration::from_secs(2) };
        let error = Ephemeral::connect(config, Clock::system()).unwrap().ping().await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.to_lowercase().contains(cause) && !text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn nobody_listens() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let store = connect(address);
    assert!(store.is_redis());
    assert_down(&store).await;
}

#[tokio::test]
async fn somebody_listens_and_says_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_down(&connect(listener.local_addr().unwrap())).await;
}

#[tokio::test]
async fn somebody_speaks_another_language() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = { stream }.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let error = connect(address).get("k").await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_) | Error::Inconsistent { .. }), "{error:?}");
}

#[tokio::test]
async fn an_address_that_cannot_be_used_is_refused_and_never_shown() {
    let config = EphemeralConfig::Redis { url: "http://:hunter2@x".into(), timeout: TIMEOUT };
    assert!(!format!("{config:?}").contains("hunter2"));
    let error = Ephemeral::connect(config, Clock::system()).unwrap_err();
    assert!(matches!(error, Error::Refused(_)) && !format!("{error:?}").contains("hunter2"), "{error:?}");
}

/// The one test that needs real time: the breaker guards against a real outage, whatever the clock says.
#[tokio::test]
async fn it_works_again_once_somebody_answers() {
    let url = crate::world::redis_url();
    let (_, server) = url.rsplit_once('@').or_else(|| url.split_once("://")).unwrap();
    let real = server.split('/').next().unwrap().to_owned();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let store = connect(address);
    assert!(store.ping().await.is_err());
    tokio::spawn(forward(address, real));
    let deadline = Instant::now() + Duration::from_secs(20);
    while store.ping().await.is_err() {
        assert!(Instant::now() < deadline, "still refused");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(store.put_if_absent(&format!("back:{address}"), "x", TIMEOUT).await.is_ok());
}

async fn forward(from: SocketAddr, to: String) {
    let listener = tokio::net::TcpListener::bind(from).await.unwrap();
    while let Ok((mut near, _)) = listener.accept().await {
        let mut far = tokio::net::TcpStream::connect(&to).await.unwrap();
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
    }
}
